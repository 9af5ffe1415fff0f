// The kernel of a quantised BLAST layer for a tile of rows (QBlastLinear in structures/contract.py, with int8
// activations), and what a model does to Y next. X, Y, bias and residual are floats.
//
// A tile is computed in two phases, as that of blast/kernel.h is, and in steps of some groups of the rank.
// `project` quantises X_j and gives z_j = V_j x_j; `combine` gives w_i = sum_j S_ij * z_j, quantised, and
// with the last step y_i = U_i w_i. Each phase can be cut into shares that run at the same time; a tile that
// is not cut is best computed by `multiply`, whose z need no memory but that of one group. The functions are
// pure: no state, no allocation. Every value of a row of Y comes from the same operations in the same order
// whatever rows are computed beside it, so results depend neither on how rows are cut into tiles nor on how a
// tile is cut into shares.
#pragma once

#include <cstdint>
#include <vector>

#include "blast/kernel.h"
#include "quantized/layout.h"
#include "runtime/instruction_set.h"

namespace blast_deploy::quantized {

using blast::Cut;  // its chunks are groups of the rank
using blast::Share;
using blast::Tile;  // scratch memory aligned to 64 bytes

// What a kernel needs beside its instruction set: sums of products of bytes as the instructions give them.
enum class Extension { kNone, kAvxVnni, kAvx512Vnni, kDotProduct };

struct Kernel {
  InstructionSet instruction_set;
  Extension extension;

  // Bytes of scratch memory for one tile of that many rows.
  std::int64_t (*scratch_bytes)(const Layout& layout, std::int64_t rows, const Cut& cut);

  // Phases alternate as those of blast::Kernel do.
  void (*project)(const Layout& layout, const Tile& tile, const Share& share);
  void (*combine)(const Layout& layout, const Tile& tile, const Share& share);

  // A whole tile, with scratch memory for one share.
  void (*multiply)(const Layout& layout, const Tile& tile);
};

// Those that this machine can run at an instruction set, best first.
std::vector<const Kernel*> kernels_for(InstructionSet set);

// The best of them; throws std::invalid_argument if this library was not compiled for the set.
const Kernel& kernel_for(InstructionSet set);

}  // namespace blast_deploy::quantized
