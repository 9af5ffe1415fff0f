// The kernel of a BLAST layer: Y_i = U_i sum_j S_ij * (V_j X_j) + bias_i for a tile of rows,
// and what a model does to Y next: an activation function, and a residual that is added.
//
// Per chunk of the rank (see layout.h) a tile is computed in two phases. `project` gives z_j = V_j x_j for
// all block columns; `combine` gives, for a few block rows at a time, w_i = sum_j S_ij * z_j and adds U_i w_i
// to y_i, so that only small tiles of z and w exist. Each phase can be cut into shares that run at the same
// time. Values of 16 bits are computed with as floats, and rounded once, when Y is written. The functions are
// pure: no state, no allocation. Every value of a row of Y comes from the same operations in the same order
// whatever rows are computed beside it, so results depend neither on how rows are cut into tiles nor on how a
// tile is cut into shares.
#pragma once

#include <cstdint>

#include "blast/layout.h"
#include "runtime/activation.h"
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
  std::int64_t all_rows;  // of the whole X: a kernel may have a path of its own for few
  Activation activation;
  const void* residual;  // rows x out_features values that are added to Y last; nullptr if there are none
  void* y;               // rows x out_features values
  void* scratch;         // scratch_bytes(...) bytes, aligned to 8, best to 64
};

// How a tile is cut: the chunks of one phase, and the shares that may run at the same time.
struct Cut {
  std::int64_t chunks;  // of the rank that a phase covers, at least 1
  std::int64_t shares;  // at least 1
};

// One share of one phase: of the chunks from `first_chunk` on, as many as the cut says.
struct Share {
  Cut cut;
  std::int64_t index;
  std::int64_t first_chunk;
};

struct Kernel {
  InstructionSet instruction_set;
  ElementType element_type;
  std::int64_t few_rows;  // so many take a path of their own: several panels at once

  // Bytes of scratch memory for one tile of that many rows.
  std::int64_t (*scratch_bytes)(const Layout& layout, std::int64_t rows, const Cut& cut);

  // Phases alternate: every share of `project` must have ended before any of `combine` begins, and the other
  // way round before the next chunks. All calls of a tile share its scratch memory, and need the same cut.
  void (*project)(const Layout& layout, const Tile& tile, const Share& share);
  void (*combine)(const Layout& layout, const Tile& tile, const Share& share);
};

// Throws std::invalid_argument if this library was not compiled for it.
const Kernel& kernel_for(InstructionSet set, ElementType type);

}  // namespace blast_deploy::blast
