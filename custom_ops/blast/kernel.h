// The kernel of a BLAST layer: Y_i = U_i sum_j S_ij * (V_j X_j) + bias_i for a tile of rows.
//
// Per chunk of the rank (see layout.h) it computes z_j = V_j x_j for all block columns, then for a few block
// rows at a time w_i = sum_j S_ij * z_j and adds U_i w_i to y_i, so that only small tiles of z and w exist.
// It is a pure function: no state, no allocation. Every value of a row of Y comes from the same operations in
// the same order whatever rows are computed beside it, so results do not depend on how rows are split.
#pragma once

#include <cstdint>

#include "blast/layout.h"
#include "runtime/instruction_set.h"

namespace blast_deploy::blast {

// What the kernel reads and writes; nothing overlaps. Rows of x and y are contiguous.
struct Tile {
  const float* packed;  // layout.size floats, best aligned to 64 bytes
  const float* bias;    // out_features floats
  const float* x;       // rows x in_features floats
  std::int64_t rows;
  float* y;        // rows x out_features floats
  float* scratch;  // scratch_size(layout, rows) floats, best aligned to 64 bytes
};

struct Kernel {
  InstructionSet instruction_set;
  std::int64_t (*scratch_size)(const Layout& layout, std::int64_t rows);
  void (*multiply)(const Layout& layout, const Tile& tile);
};

// Throws std::invalid_argument if this library was not compiled for it.
const Kernel& kernel_for(InstructionSet set);

}  // namespace blast_deploy::blast
