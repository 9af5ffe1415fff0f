// A BLAST layer on any number of rows: cuts them into tiles for the kernel.
#pragma once

#include <cstdint>

#include "blast/kernel.h"
#include "blast/layout.h"

namespace blast_deploy::blast {

// Rows in tiles of equal size, but the last.
struct Tiling {
  std::int64_t rows;
  std::int64_t tile_rows;
  std::int64_t tiles;

  std::int64_t rows_of(std::int64_t tile) const { return smaller(tile_rows, rows - tile * tile_rows); }
};

Tiling tile_rows(std::int64_t rows);

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

}  // namespace blast_deploy::blast
