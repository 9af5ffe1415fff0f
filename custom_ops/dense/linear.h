// A dense layer on any number of rows: cuts them into tiles for the kernel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blast/schedule.h"
#include "dense/kernel.h"
#include "dense/layout.h"

namespace blast_deploy::dense {

using blast::Tiling;

struct Linear {
  Layout layout;
  const Kernel* kernel;

  // Bytes of scratch memory for one tile, with room to align it.
  std::size_t scratch_bytes(const Tiling& tiling) const;

  // Computes one tile of y (rows x out_features) from x (rows x in_features), all of the kernel's element
  // type.
  void multiply(const Tiling& tiling, std::int64_t tile, const void* packed, const void* bias, const void* x,
                void* y, void* scratch) const;
};

}  // namespace blast_deploy::dense
