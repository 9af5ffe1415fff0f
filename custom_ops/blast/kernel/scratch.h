// Where the intermediate results of a tile lie in its scratch memory, in values of type Real: first what all
// shares read and write, then what each share has to itself.
#pragma once

#include "blast/kernel.h"
#include "blast/kernel/product.h"
#include "blast/layout.h"

namespace blast_deploy::blast {
namespace {

// Block rows that are coupled at once, so that each z is read once for all of them.
constexpr Index kCoupledBlocks = 4;

// The block columns of x lie in groups of rows kRowStride apart: a narrow one shares its group with the next
// ones, a wide one is cut into segments with a group each.
struct ScratchPlan {
  Index segments;  // of a block column, each of at most `depth` columns
  Index depth;
  Index sharing;  // block columns in one group
  Index x_group;  // sizes of one group of x, one z_j, all z_j of a chunk, one w_i and one y_i
  Index z_block;
  Index z_chunk;
  Index w_block;
  Index y_block;
  Index z;  // offsets of what is common
  Index y;  // sums of y over the chunks of the rank; nothing where one chunk is all
  Index own;
  Index share;  // size of what a share has to itself, and offsets in it
  Index x;
  Index w;
  Index edge;  // panels of y that reach past the last column or are still to be rounded
  Index bias;  // of some panels of y
  Index zeros;
  Index size;
};

ScratchPlan plan_scratch(const Layout& layout, Index rows, const Cut& cut) {
  const Sizes& sizes = layout.sizes;
  ScratchPlan plan{};
  plan.segments = divide_up(layout.block_columns, kLongestRow);
  plan.depth = divide_up(layout.block_columns, plan.segments);
  plan.sharing = plan.segments > 1 ? 1 : kLongestRow / round_up(plan.depth, kAlignment);
  plan.x_group = rows * kRowStride;
  plan.z_block = rows * round_up(layout.chunk_rank, kAlignment);
  plan.z_chunk = sizes.blocks_in * plan.z_block;
  plan.w_block = rows * kRowStride;
  plan.y_block = layout.chunks > 1 ? rows * round_up(layout.block_rows, kAlignment) : 0;
  plan.y = plan.z + smaller(cut.chunks, layout.chunks) * plan.z_chunk;
  plan.own = plan.y + sizes.blocks_out * plan.y_block;
  plan.w = plan.x + divide_up(sizes.blocks_in, plan.sharing) * plan.segments * plan.x_group;
  plan.edge = plan.w + smaller(kCoupledBlocks, sizes.blocks_out) * plan.w_block;
  plan.bias = plan.edge + rows * kPanelWidth * (rows > kFewRows ? 1 : kPanelsOfOneRow);
  plan.zeros = plan.bias + kPanelsOfOneRow * kPanelWidth;
  plan.share = plan.zeros + kPanelWidth;
  plan.size = plan.own + cut.shares * plan.share;
  return plan;
}

}  // namespace
}  // namespace blast_deploy::blast
