// The kernel of a BLAST layer: Y_i = U_i sum_j S_ij * (V_j X_j) + bias_i for a tile of rows.
//
// Per chunk of the rank (see layout.h) it computes z_j = V_j x_j for all block columns, then for a few block
// rows at a time w_i = sum_j S_ij * z_j and adds U_i w_i to y_i, so that only small tiles of z and w exist.
// Values of 16 bits are computed with as floats, and rounded once, when Y is written.
// It is a pure function: no state, no allocation. Every value of a row of Y comes from the same operations in
// the same order whatever rows are computed beside it, so results do not depend on how rows are split.
#pragma once

#include <cstdint>

#include "blast/layout.h"
#include "runtime/element_type.h"
#include "runtime/instruction_set.h"

namespace blast_deploy::blast {

// What the kernel reads and writes, all of its element type but the scratch memory; nothing overlaps. Rows of
// x and y are contiguous.
struct Tile {
  const void* packed;  // layout.size values, best aligned to 64 bytes
  const void* bias;    // out_features values
  const void* x;       // rows x in_features values
  std::int64_t rows;
  void* y;        // rows x out_features values
  void* scratch;  // scratch_bytes(layout, rows) bytes, aligned to 8, best to 64
};

struct Kernel {
  InstructionSet instruction_set;
  ElementType element_type;
  std::int64_t (*scratch_bytes)(const Layout& layout, std::int64_t rows);
  void (*multiply)(const Layout& layout, const Tile& tile);
};

// Throws std::invalid_argument if this library was not compiled for it.
const Kernel& kernel_for(InstructionSet set, ElementType type);

}  // namespace blast_deploy::blast
