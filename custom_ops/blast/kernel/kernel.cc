// The one source of all kernels, compiled once per instruction set and element type. BLAST_DEPLOY_KERNEL
// names the Kernel that it defines, BLAST_DEPLOY_INSTRUCTION_SET and BLAST_DEPLOY_ELEMENT what it was
// compiled for; nothing else here has external linkage.
#include "blast/kernel.h"

#include "blast/kernel/coupling.h"
#include "blast/kernel/numbers.h"
#include "blast/kernel/product.h"
#include "blast/layout.h"

namespace blast_deploy::blast {
namespace {

// Where the intermediate results of a tile lie in its scratch memory, in values of type Real. The block
// columns of x lie in groups of rows kRowStride apart: a narrow one shares its group with the next ones, a
// wide one is cut into segments with a group each.
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
  Index y;     // sums of y over the chunks of the rank; nothing where one chunk is all
  Index edge;  // panels of y that reach past the last column or are still to be rounded
  Index bias;  // of some panels of y
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
  plan.bias = plan.edge + rows * kPanelWidth * (rows > kFewRows ? 1 : kPanelsOfOneRow);
  plan.zeros = plan.bias + kPanelsOfOneRow * kPanelWidth;
  plan.size = plan.zeros + kPanelWidth;
  return plan;
}

// Computes one tile; reads the packed factors as one stream.
class TileProduct {
 public:
  TileProduct(const Layout& layout, const Tile& tile)
      : layout_(layout),
        rows_(tile.rows),
        scratch_(static_cast<Real*>(tile.scratch)),
        plan_(plan_scratch(layout, tile.rows)),
        packed_(static_cast<const Stored*>(tile.packed)),
        x_(static_cast<const Stored*>(tile.x)),
        bias_(static_cast<const Stored*>(tile.bias)),
        y_(static_cast<Stored*>(tile.y)) {}

  void run() {
    clear(at(plan_.zeros), kPanelWidth);
    copy_x();
    for (Index chunk = 0; chunk < layout_.chunks; ++chunk) {
      const Index rank = rank_of_chunk(layout_, chunk);
      for (Index j = 0; j < layout_.sizes.blocks_in; ++j) multiply_v(j, rank);
      couple_and_multiply_u(chunk, rank);
    }
  }

 private:
  Real* at(Index offset) const { return scratch_ + offset; }

  // The first segment of x_j.
  Real* x_block(Index j) const {
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
    for (Index row = 0; row < rows_; ++row) {
      const Stored* const x = x_ + row * layout_.sizes.in_features;
      for (Index j = 0; j < layout_.sizes.blocks_in; ++j) {
        Real* to = x_block(j) + row * kRowStride;
        const Index columns = columns_of(j);
        for (Index column = 0; column < columns; column += plan_.depth, to += plan_.x_group) {
          const Index depth = smaller(plan_.depth, columns - column);
          read_stored(to, x + j * layout_.block_columns + column, depth);
        }
      }
    }
  }

  // z_j = V_j x_j
  void multiply_v(Index j, Index rank) {
    const Index columns = columns_of(j);
    Real* z = at(plan_.z) + j * plan_.z_block;
    if (columns <= 0) clear(z, plan_.z_block);
    for (Index first = 0, taken = 0; first < rank; first += taken) {
      const Index width = panel_width(rank - first);
      const Index panels = panels_at_once(rows_, rank - first);
      Product product{};
      product.left = x_block(j);
      product.panel = packed_;
      product.panel_step = panel_size(layout_.block_columns, width);
      product.start = at(plan_.zeros);
      product.out = z;
      product.out_stride = width;
      product.out_step = rows_ * width;
      for (Index column = 0; column < columns; column += plan_.depth) {
        product.depth = smaller(plan_.depth, columns - column);
        multiply(width, panels, rows_, product);
        product.left += plan_.x_group;
        product.panel += product.depth * width;
        product.start = product.out;
        product.start_stride = product.out_stride;
        product.start_step = product.out_step;
      }
      taken = panels * width;
      z += rows_ * taken;
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
      couple(blocks, rows_, rank, coupling);
      coupling.s += blocks * coupling.s_block_row;
      for (Index i = 0; i < blocks; ++i)
        multiply_u(first + i, coupling.w + i * coupling.w_block, chunk, rank);
    }
  }

  // y_i = y_i + U_i w_i, where the last chunk writes to y and adds the bias: sums that began with a large one
  // would be rounded at its size in every step.
  void multiply_u(Index i, const Real* w, Index chunk, Index rank) {
    Real* sums = at(plan_.y) + i * plan_.y_block;
    for (Index first = 0, taken = 0; first < layout_.block_rows; first += taken) {
      const Index width = panel_width(layout_.block_rows - first);
      const Index valid = rows_of(i) - first;
      const Index panels = panels_at_once(rows_, valid);
      Product product{};
      product.left = w;
      product.panel = packed_;
      product.depth = rank;
      product.panel_step = panel_size(rank, width);
      product.out = sums;
      product.out_stride = width;
      product.out_step = rows_ * width;
      taken = panels * width;
      if (valid > 0) multiply_columns(i * layout_.block_rows + first, width, panels, valid, chunk, product);
      sums += rows_ * taken;
      packed_ += panels * product.panel_step;
    }
  }

  // Some panels of y_i, of which `valid` columns from `column` on are not padding.
  void multiply_columns(Index column, Index width, Index panels, Index valid, Index chunk, Product product) {
    if (chunk == 0) {
      product.start = at(plan_.zeros);
    } else {
      product.start = product.out;
      product.start_stride = product.out_stride;
      product.start_step = product.out_step;
    }
    if (chunk + 1 < layout_.chunks) return multiply(width, panels, rows_, product);
    const Index columns = smaller(valid, panels * width);
    read_stored(at(plan_.bias), bias_ + column, columns);
    product.bias = at(plan_.bias);
    product.out_step = width;
    Stored* const y = y_ + column;
    product.out = valid >= panels * width ? in_place(y) : nullptr;
    if (product.out != nullptr) {
      product.out_stride = layout_.sizes.out_features;
      return multiply(width, panels, rows_, product);
    }
    product.out = at(plan_.edge);
    product.out_stride = panels * width;
    multiply(width, panels, rows_, product);
    for (Index row = 0; row < rows_; ++row) {
      write_stored(y + row * layout_.sizes.out_features, product.out + row * product.out_stride, columns);
    }
  }

  const Layout& layout_;
  const Index rows_;
  Real* const scratch_;
  const ScratchPlan plan_;
  const Stored* packed_;
  const Stored* const x_;
  const Stored* const bias_;
  Stored* const y_;
};

Index scratch_bytes(const Layout& layout, Index rows) {
  return plan_scratch(layout, rows).size * static_cast<Index>(sizeof(Real));
}

void multiply_tile(const Layout& layout, const Tile& tile) { TileProduct(layout, tile).run(); }

}  // namespace

extern const Kernel BLAST_DEPLOY_KERNEL;
const Kernel BLAST_DEPLOY_KERNEL = {InstructionSet::BLAST_DEPLOY_INSTRUCTION_SET,
                                    ElementType::BLAST_DEPLOY_ELEMENT, scratch_bytes, multiply_tile};

}  // namespace blast_deploy::blast
