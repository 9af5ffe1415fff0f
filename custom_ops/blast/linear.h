// A BLAST layer on any number of rows, in pieces that a schedule names.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blast/kernel.h"
#include "blast/layout.h"
#include "blast/schedule.h"

namespace blast_deploy::blast {

// What a layer computes on: all of its kernel's element type.
struct Operands {
  const void* packed;
  const void* bias;
  const void* x;         // rows x in_features
  const void* residual;  // rows x out_features, or nullptr
  void* y;               // rows x out_features
};

struct Linear {
  Layout layout;
  const Kernel* kernel;
  Activation activation = Activation::kNone;
  Limits limits{};

  // Bytes of scratch memory for one tile, with room to align it.
  std::size_t scratch_bytes(const Schedule& schedule) const;

  // Chunks of the rank are computed in steps of two phases each.
  std::int64_t steps(const Schedule& schedule) const;

  // One share of one phase of one tile; see Kernel for what may run at the same time.
  void project(const Schedule& schedule, std::int64_t tile, std::int64_t share, std::int64_t step,
               const Operands& operands, void* scratch) const;
  void combine(const Schedule& schedule, std::int64_t tile, std::int64_t share, std::int64_t step,
               const Operands& operands, void* scratch) const;

  // A whole tile on this thread.
  void multiply(const Schedule& schedule, std::int64_t tile, const Operands& operands, void* scratch) const;
};

}  // namespace blast_deploy::blast
