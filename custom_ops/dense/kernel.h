// The kernel of a dense layer: Y = X W^T + bias for a tile of rows, by the product of the BLAST kernel
// (blast/kernel/product.h). It is there to be compared with: what a BLAST layer gains over it is the
// structure's doing, and what it gains over other dense kernels is the product's.
// It is a pure function: no state, no allocation. Every value of a row of Y comes from the same operations in
// the same order whatever rows are computed beside it, so results do not depend on how rows are split.
#pragma once

#include <cstdint>

#include "dense/layout.h"
#include "runtime/element_type.h"
#include "runtime/instruction_set.h"

namespace blast_deploy::dense {

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

}  // namespace blast_deploy::dense
