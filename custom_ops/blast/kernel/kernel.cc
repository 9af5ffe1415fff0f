// The one source of all kernels, compiled once per instruction set. BLAST_DEPLOY_KERNEL names the Kernel that
// it defines and BLAST_DEPLOY_INSTRUCTION_SET what it was compiled for; nothing else here has external
// linkage.
#include "blast/kernel.h"

#include <string.h>

#include "blast/kernel/coupling.h"
#include "blast/kernel/product.h"
#include "blast/layout.h"

namespace blast_deploy::blast {
namespace {

// Where the intermediate results of a tile lie in its scratch memory, in floats. The block columns of x lie
// in groups of rows kRowStride apart: a narrow one shares its group with the next ones, a wide one is cut
// into segments with a group each.
struct ScratchPlan {
  Index segments;  // of a block column, each of at most `depth` columns
  Index depth;
  Index sharing;  // block columns in one group
  Index x_group;  // sizes of one group of x, one z_j, one w_i and one y_i
  Index z_block;
  Index w_block;
  Index y_block;
  Index x;  // offsets
  Index z;
  Index w;
  Index y;      // sums of y over the chunks of the rank; nothing where one chunk is all
  Index edge;   // one panel of y that reaches past the last column
  Index start;  // the first panels' start: the bias
  Index zeros;
  Index size;
};

ScratchPlan plan_scratch(const Layout& layout, Index rows) {
  const Sizes& sizes = layout.sizes;
  ScratchPlan plan{};
  plan.segments = divide_up(layout.block_columns, kLongestRow);
  plan.depth = divide_up(layout.block_columns, plan.segments);
  plan.sharing = plan.segments > 1 ? 1 : kLongestRow / round_up(plan.depth, kAlignment);
  plan.x_group = rows * kRowStride;
  plan.z_block = rows * round_up(layout.chunk_rank, kAlignment);
  plan.w_block = rows * kRowStride;
  plan.y_block = layout.chunks > 1 ? rows * round_up(layout.block_rows, kAlignment) : 0;
  plan.z = plan.x + divide_up(sizes.blocks_in, plan.sharing) * plan.segments * plan.x_group;
  plan.w = plan.z + sizes.blocks_in * plan.z_block;
  plan.y = plan.w + smaller(kCoupledBlocks, sizes.blocks_out) * plan.w_block;
  plan.edge = plan.y + sizes.blocks_out * plan.y_block;
  plan.start = plan.edge + rows * kPanelWidth;
  plan.zeros = plan.start + kPanelsOfOneRow * kPanelWidth;
  plan.size = plan.zeros + kPanelWidth;
  return plan;
}

void copy_floats(float* to, const float* from, Index count) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

void clear_floats(float* floats, Index count) {
  memset(floats, 0, static_cast<size_t>(count) * sizeof(float));
}

// Computes one tile; reads the packed factors as one stream.
class TileProduct {
 public:
  TileProduct(const Layout& layout, const Tile& tile)
      : layout_(layout), tile_(tile), plan_(plan_scratch(layout, tile.rows)), packed_(tile.packed) {}

  void run() {
    clear_floats(at(plan_.zeros), kPanelWidth);
    copy_x();
    for (Index chunk = 0; chunk < layout_.chunks; ++chunk) {
      const Index rank = rank_of_chunk(layout_, chunk);
      for (Index j = 0; j < layout_.sizes.blocks_in; ++j) multiply_v(j, rank);
      couple_and_multiply_u(chunk, rank);
    }
  }

 private:
  float* at(Index offset) const { return tile_.scratch + offset; }

  // The first segment of x_j.
  float* x_block(Index j) const {
    const Index group = j / plan_.sharing * plan_.segments;
    return at(plan_.x) + group * plan_.x_group + j % plan_.sharing * round_up(plan_.depth, kAlignment);
  }

  // Columns of x_j, and rows of y_i, that are not padding; 0 or less where the whole block is.
  Index columns_of(Index j) const {
    return smaller(layout_.block_columns, layout_.sizes.in_features - j * layout_.block_columns);
  }
  Index rows_of(Index i) const {
    return smaller(layout_.block_rows, layout_.sizes.out_features - i * layout_.block_rows);
  }

  // Copies x to rows kRowStride apart, segment by segment; x itself is read from front to back.
  void copy_x() {
    for (Index row = 0; row < tile_.rows; ++row) {
      const float* const x = tile_.x + row * layout_.sizes.in_features;
      for (Index j = 0; j < layout_.sizes.blocks_in; ++j) {
        float* to = x_block(j) + row * kRowStride;
        const Index columns = columns_of(j);
        for (Index column = 0; column < columns; column += plan_.depth, to += plan_.x_group) {
          const Index depth = smaller(plan_.depth, columns - column);
          copy_floats(to, x + j * layout_.block_columns + column, depth);
        }
      }
    }
  }

  // z_j = V_j x_j
  void multiply_v(Index j, Index rank) {
    const Index columns = columns_of(j);
    float* z = at(plan_.z) + j * plan_.z_block;
    if (columns <= 0) clear_floats(z, plan_.z_block);
    for (Index first = 0, taken = 0; first < rank; first += taken) {
      const Index width = panel_width(rank - first);
      const Index panels = panels_at_once(tile_.rows, rank - first);
      Product product{};
      product.left = x_block(j);
      product.panel = packed_;
      product.panel_step = panel_size(layout_.block_columns, width);
      product.start = at(plan_.zeros);
      product.out = z;
      product.out_stride = width;
      product.out_step = tile_.rows * width;
      for (Index column = 0; column < columns; column += plan_.depth) {
        product.depth = smaller(plan_.depth, columns - column);
        multiply(width, panels, tile_.rows, product);
        product.left += plan_.x_group;
        product.panel += product.depth * width;
        product.start = product.out;
        product.start_stride = product.out_stride;
        product.start_step = product.out_step;
      }
      taken = panels * width;
      z += tile_.rows * taken;
      packed_ += panels * product.panel_step;
    }
  }

  void couple_and_multiply_u(Index chunk, Index rank) {
    const Sizes& sizes = layout_.sizes;
    Coupling coupling{};
    coupling.s = packed_;
    coupling.s_block_column = round_up(rank, kAlignment);
    coupling.s_block_row = sizes.blocks_in * coupling.s_block_column;
    coupling.z = at(plan_.z);
    coupling.z_block = plan_.z_block;
    coupling.blocks_in = sizes.blocks_in;
    coupling.w = at(plan_.w);
    coupling.w_block = plan_.w_block;
    packed_ += sizes.blocks_out * coupling.s_block_row;
    for (Index first = 0; first < sizes.blocks_out; first += kCoupledBlocks) {
      const Index blocks = smaller(kCoupledBlocks, sizes.blocks_out - first);
      couple(blocks, tile_.rows, rank, coupling);
      coupling.s += blocks * coupling.s_block_row;
      for (Index i = 0; i < blocks; ++i)
        multiply_u(first + i, coupling.w + i * coupling.w_block, chunk, rank);
    }
  }

  // y_i = y_i + U_i w_i, where the first chunk starts from the bias and the last one writes to y.
  void multiply_u(Index i, const float* w, Index chunk, Index rank) {
    float* sums = at(plan_.y) + i * plan_.y_block;
    for (Index first = 0, taken = 0; first < layout_.block_rows; first += taken) {
      const Index width = panel_width(layout_.block_rows - first);
      const Index valid = rows_of(i) - first;
      const Index panels = panels_at_once(tile_.rows, valid);
      Product product{};
      product.left = w;
      product.panel = packed_;
      product.depth = rank;
      product.panel_step = panel_size(rank, width);
      product.out = sums;
      product.out_stride = width;
      product.out_step = tile_.rows * width;
      taken = panels * width;
      if (valid > 0) multiply_columns(i * layout_.block_rows + first, width, panels, valid, chunk, product);
      sums += tile_.rows * taken;
      packed_ += panels * product.panel_step;
    }
  }

  // Some panels of y_i, of which `valid` columns from `column` on are not padding.
  void multiply_columns(Index column, Index width, Index panels, Index valid, Index chunk, Product product) {
    if (chunk == 0) {
      copy_floats(at(plan_.start), tile_.bias + column, smaller(valid, panels * width));
      product.start = at(plan_.start);
      product.start_step = width;
    } else {
      product.start = product.out;
      product.start_stride = product.out_stride;
      product.start_step = product.out_step;
    }
    const bool last = chunk + 1 == layout_.chunks;
    float* const y = tile_.y + column;
    const bool whole = valid >= panels * width;
    if (last) {
      product.out = whole ? y : at(plan_.edge);
      product.out_stride = whole ? layout_.sizes.out_features : width;
      product.out_step = width;
    }
    multiply(width, panels, tile_.rows, product);
    if (last && !whole) {
      for (Index row = 0; row < tile_.rows; ++row) {
        copy_floats(y + row * layout_.sizes.out_features, product.out + row * width, valid);
      }
    }
  }

  const Layout& layout_;
  const Tile& tile_;
  const ScratchPlan plan_;
  const float* packed_;
};

Index scratch_size(const Layout& layout, Index rows) { return plan_scratch(layout, rows).size; }

void multiply_tile(const Layout& layout, const Tile& tile) { TileProduct(layout, tile).run(); }

}  // namespace

extern const Kernel BLAST_DEPLOY_KERNEL;
const Kernel BLAST_DEPLOY_KERNEL = {InstructionSet::BLAST_DEPLOY_INSTRUCTION_SET, scratch_size,
                                    multiply_tile};

}  // namespace blast_deploy::blast
