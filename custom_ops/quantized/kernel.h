// The kernels of a quantised BLAST layer (QBlastLinear in structures/contract.py, with int8 activations) and
// of its dense twin, for a tile of rows, and what a model does to Y next. X, Y, bias and residual are floats.
//
// A tile is computed in two phases, as that of blast/kernel.h is, and in steps of some groups of the rank.
// `project` quantises X_j and gives z_j = V_j x_j; `combine` gives w_i = sum_j S_ij * z_j, quantised, and
// with the last step y_i = U_i w_i. Of a dense layer, `project` quantises X and `combine` multiplies it. Each
// phase can be cut into shares that run at the same time. The functions are pure: no state, no allocation.
// Every value of a row of Y comes from the same operations in the same order whatever rows are computed
// beside it, so results depend neither on how rows are cut into tiles nor on how a tile is cut into shares.
#pragma once

#include <cstdint>
#include <vector>

#include "blast/kernel.h"
#include "quantized/dense_layout.h"
#include "quantized/layout.h"
#include "runtime/element_type.h"
#include "runtime/instruction_set.h"

namespace blast_deploy::quantized {

using blast::Cut;  // its chunks are groups of the rank
using blast::Share;
using blast::Tile;  // scratch memory is aligned to 64 bytes

// See blast::Kernel.
template <typename Layout>
struct KernelOf {
  static constexpr ElementType element_type = ElementType::kFloat;

  std::int64_t (*scratch_bytes)(const Layout& layout, std::int64_t rows, const Cut& cut);
  void (*project)(const Layout& layout, const Tile& tile, const Share& share);
  void (*combine)(const Layout& layout, const Tile& tile, const Share& share);
};

using Kernel = KernelOf<Layout>;
using DenseKernel = KernelOf<DenseLayout>;

// What a processor may have beside its instruction set: sums of products of bytes in one instruction.
enum class Extension { kNone, kAvxVnni, kAvx512Vnni, kDotProduct };

// All kernels that were compiled with the same instructions.
struct Kernels {
  InstructionSet instruction_set;
  Extension extension;
  Kernel blast;
  DenseKernel dense;
};

// Those that this machine can run at an instruction set, best first; at least one. Throws
// std::invalid_argument if this library was not compiled for the set.
std::vector<const Kernels*> kernels_for(InstructionSet set);

}  // namespace blast_deploy::quantized
