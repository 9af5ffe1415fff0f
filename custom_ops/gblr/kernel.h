// The kernel of a GBLR layer: y = sum_k u_k (v_k . x) + bias for a tile of rows, and what a model does to Y
// next: an activation function, and a residual that is added.
//
// A tile is computed in two phases: `project` gives t_k = v_k . x for all components, `combine` gives y. Each
// phase can be cut into shares that run at the same time (see blast/kernel.h). The functions are pure: no
// state, no allocation. Every t_k and every value of Y comes from the same operations in the same order
// whatever rows are computed beside it, but that `Tile::all_rows` may be few (see kernel/few.h), so results
// depend neither on how rows are cut into tiles nor on how a tile is cut into shares.
#pragma once

#include <cstdint>

#include "blast/kernel.h"
#include "gblr/layout.h"

namespace blast_deploy::gblr {

using blast::Cut;
using blast::Share;
using blast::Tile;

// Values of x, bias, residual and y are floats; `Tile::packed` is what `pack` wrote, and best aligned to 64
// bytes.
struct Kernel {
  InstructionSet instruction_set;
  ElementType element_type;
  std::int64_t (*scratch_bytes)(const Layout& layout, std::int64_t rows, const Cut& cut);
  void (*project)(const Layout& layout, const Tile& tile, const Share& share);
  void (*combine)(const Layout& layout, const Tile& tile, const Share& share);
};

// Throws std::invalid_argument if this library was not compiled for it.
const Kernel& kernel_for(InstructionSet set);

}  // namespace blast_deploy::gblr
