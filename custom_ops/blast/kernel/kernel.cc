// The one source of all kernels, compiled once per instruction set and element type. BLAST_DEPLOY_KERNEL
// names the Kernel that it defines, BLAST_DEPLOY_INSTRUCTION_SET and BLAST_DEPLOY_ELEMENT what it was
// compiled for; nothing else here has external linkage.
#include "blast/kernel.h"

#include "blast/kernel/activation.h"
#include "blast/kernel/coupling.h"
#include "blast/kernel/numbers.h"
#include "blast/kernel/product.h"
#include "blast/kernel/scratch.h"
#include "blast/layout.h"

namespace blast_deploy::blast {
namespace {

// Panels of equal matrices, counted from one matrix to the next: those that a share computes.
struct Run {
  Index first;
  Index last;    // past the end
  Index panels;  // of one matrix

  bool has(Index matrix) const { return first < (matrix + 1) * panels && matrix * panels < last; }
  Index first_matrix() const { return first / panels; }
  Index last_matrix() const { return divide_up(last, panels); }

  // The columns of a matrix of so many that the run has.
  Index first_column(Index matrix) const { return larger(first - matrix * panels, 0) * kPanelWidth; }
  Index last_column(Index matrix, Index columns) const {
    return smaller((last - matrix * panels) * kPanelWidth, columns);
  }
};

Run run_of(const Share& share, Index matrices, Index columns) {
  const Index panels = divide_up(columns, kPanelWidth);
  const Index all = matrices * panels;
  return {share.index * all / share.cut.shares, (share.index + 1) * all / share.cut.shares, panels};
}

// Computes one share of a tile.
class TileProduct {
 public:
  TileProduct(const Layout& layout, const Tile& tile, const Share& share)
      : layout_(layout),
        share_(share),
        rows_(tile.rows),
        scratch_(static_cast<Real*>(tile.scratch)),
        plan_(plan_scratch(layout, tile.rows, share.cut)),
        own_(scratch_ + plan_.own + share.index * plan_.share),
        packed_(static_cast<const Stored*>(tile.packed)),
        x_(static_cast<const Stored*>(tile.x)),
        bias_(static_cast<const Stored*>(tile.bias)),
        activation_(tile.activation),
        residual_(static_cast<const Stored*>(tile.residual)),
        y_(static_cast<Stored*>(tile.y)) {
    clear(own(plan_.zeros), kPanelWidth);
  }

  void project() {
    for (Index chunk = share_.first_chunk; chunk < last_chunk(); ++chunk) {
      const Run run = run_of_v(chunk);
      copy_x(chunk, run);
      for (Index j = run.first_matrix(); j < run.last_matrix(); ++j) multiply_v(j, chunk, run);
    }
  }

  void combine() {
    for (Index chunk = share_.first_chunk; chunk < last_chunk(); ++chunk) couple_and_multiply_u(chunk);
  }

 private:
  Real* common(Index offset) const { return scratch_ + offset; }
  Real* own(Index offset) const { return own_ + offset; }

  Index last_chunk() const { return smaller(share_.first_chunk + share_.cut.chunks, layout_.chunks); }

  Run run_of_v(Index chunk) const {
    return run_of(share_, layout_.sizes.blocks_in, rank_of_chunk(layout_, chunk));
  }

  Real* z_of(Index chunk) const { return common(plan_.z) + (chunk - share_.first_chunk) * plan_.z_chunk; }

  // The first segment of x_j.
  Real* x_block(Index j) const {
    const Index group = j / plan_.sharing * plan_.segments;
    return own(plan_.x) + group * plan_.x_group + j % plan_.sharing * round_up(plan_.depth, kAlignment);
  }

  // Columns of x_j, and rows of y_i, that are not padding; 0 or less where the whole block is.
  Index columns_of(Index j) const {
    return smaller(layout_.block_columns, layout_.sizes.in_features - j * layout_.block_columns);
  }
  Index rows_of(Index i) const {
    return smaller(layout_.block_rows, layout_.sizes.out_features - i * layout_.block_rows);
  }

  // Copies the block columns of x that a chunk needs and the first chunk did not to rows kRowStride apart,
  // segment by segment; x itself is read from front to back.
  void copy_x(Index chunk, const Run& run) {
    const Run copied = run_of_v(0);
    if (chunk > 0 && run.panels == copied.panels) return;
    for (Index row = 0; row < rows_; ++row) {
      for (Index j = run.first_matrix(); j < run.last_matrix(); ++j) {
        if (chunk == 0 || !copied.has(j)) copy_row(row, j);
      }
    }
  }

  void copy_row(Index row, Index j) {
    const Stored* const x = x_ + row * layout_.sizes.in_features + j * layout_.block_columns;
    const Index columns = columns_of(j);
    Real* to = x_block(j) + row * kRowStride;
    for (Index column = 0; column < columns; column += plan_.depth, to += plan_.x_group) {
      read_stored(to, x + column, smaller(plan_.depth, columns - column));
    }
  }

  // z_j = V_j x_j, as much of it as the run has.
  void multiply_v(Index j, Index chunk, const Run& run) {
    const Index rank = rank_of_chunk(layout_, chunk);
    const Index columns = columns_of(j);
    const Index begin = run.first_column(j);
    const Index end = run.last_column(j, rank);
    Real* z = z_of(chunk) + j * plan_.z_block + rows_ * begin;
    if (columns <= 0) return clear(z, rows_ * (round_up(end, kAlignment) - begin));
    const Stored* packed = packed_ + chunk_offset(layout_, chunk) +
                           j * panels_size(layout_.block_columns, rank) + begin * layout_.block_columns;
    for (Index first = begin, taken = 0; first < end; first += taken) {
      const Index width = panel_width(rank - first);
      const Index panels = panels_at_once(rows_, end - first);
      Product product{};
      product.left = x_block(j);
      product.panel = packed;
      product.panel_step = panel_size(layout_.block_columns, width);
      product.start = own(plan_.zeros);
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
      packed += panels * product.panel_step;
    }
  }

  void couple_and_multiply_u(Index chunk) {
    const Sizes& sizes = layout_.sizes;
    const Index rank = rank_of_chunk(layout_, chunk);
    const Run run = run_of(share_, sizes.blocks_out, layout_.block_rows);
    Coupling coupling{};
    coupling.s_block_column = round_up(rank, kAlignment);
    coupling.s_block_row = sizes.blocks_in * coupling.s_block_column;
    coupling.z = z_of(chunk);
    coupling.z_block = plan_.z_block;
    coupling.blocks_in = sizes.blocks_in;
    coupling.w = own(plan_.w);
    coupling.w_block = plan_.w_block;
    for (Index first = run.first_matrix(); first < run.last_matrix(); first += kCoupledBlocks) {
      const Index blocks = smaller(kCoupledBlocks, run.last_matrix() - first);
      coupling.s =
          packed_ + chunk_offset(layout_, chunk) + v_size(layout_, rank) + first * coupling.s_block_row;
      couple(blocks, rows_, rank, coupling);
      for (Index i = 0; i < blocks; ++i) {
        multiply_u(first + i, coupling.w + i * coupling.w_block, chunk, run);
      }
    }
  }

  // y_i = y_i + U_i w_i, as much of it as the run has. The last chunk writes to y and adds the bias: sums
  // that began with a large one would be rounded at its size in every step.
  void multiply_u(Index i, const Real* w, Index chunk, const Run& run) {
    const Index rank = rank_of_chunk(layout_, chunk);
    const Index begin = run.first_column(i);
    const Index end = run.last_column(i, layout_.block_rows);
    const Stored* packed = packed_ + chunk_offset(layout_, chunk) + v_size(layout_, rank) +
                           s_size(layout_, rank) + i * panels_size(rank, layout_.block_rows) + begin * rank;
    Real* sums = common(plan_.y) + i * plan_.y_block + rows_ * begin;
    for (Index first = begin, taken = 0; first < end; first += taken) {
      const Index width = panel_width(layout_.block_rows - first);
      const Index valid = rows_of(i) - first;
      const Index panels = panels_at_once(rows_, smaller(valid, end - first));
      Product product{};
      product.left = w;
      product.panel = packed;
      product.depth = rank;
      product.panel_step = panel_size(rank, width);
      product.out = sums;
      product.out_stride = width;
      product.out_step = rows_ * width;
      taken = panels * width;
      if (valid > 0) multiply_columns(i * layout_.block_rows + first, width, panels, valid, chunk, product);
      sums += rows_ * taken;
      packed += panels * product.panel_step;
    }
  }

  // Some panels of y_i, of which `valid` columns from `column` on are not padding.
  void multiply_columns(Index column, Index width, Index panels, Index valid, Index chunk, Product product) {
    if (chunk == 0) {
      product.start = own(plan_.zeros);
    } else {
      product.start = product.out;
      product.start_stride = product.out_stride;
      product.start_step = product.out_step;
    }
    if (chunk + 1 < layout_.chunks) return multiply(width, panels, rows_, product);
    const Index columns = smaller(valid, panels * width);
    read_stored(own(plan_.bias), bias_ + column, columns);
    product.bias = own(plan_.bias);
    product.out_step = width;
    Stored* const y = y_ + column;
    product.out = valid >= panels * width ? in_place(y) : nullptr;
    if (product.out != nullptr) {
      product.out_stride = layout_.sizes.out_features;
      if (residual_ != nullptr && activation_ == Activation::kNone) {
        product.residual = in_place(residual_ + column);
        product.residual_stride = layout_.sizes.out_features;
      }
      multiply(width, panels, rows_, product);
      if (activation_ != Activation::kNone) finish(product, column, columns);
      return;
    }
    product.out = own(plan_.edge);
    product.out_stride = panels * width;
    multiply(width, panels, rows_, product);
    finish(product, column, columns);
    for (Index row = 0; row < rows_; ++row) {
      write_stored(y + row * layout_.sizes.out_features, product.out + row * product.out_stride, columns);
    }
  }

  // Does to some columns of Y what the product did not.
  void finish(const Product& product, Index column, Index columns) {
    activate<kLanes>(activation_, rows_, columns, product.out, product.out_stride);
    if (residual_ == nullptr) return;
    for (Index row = 0; row < rows_; ++row) {
      add_stored(product.out + row * product.out_stride,
                 residual_ + row * layout_.sizes.out_features + column, columns);
    }
  }

  const Layout& layout_;
  const Share& share_;
  const Index rows_;
  Real* const scratch_;
  const ScratchPlan plan_;
  Real* const own_;
  const Stored* const packed_;
  const Stored* const x_;
  const Stored* const bias_;
  const Activation activation_;
  const Stored* const residual_;
  Stored* const y_;
};

Index scratch_bytes(const Layout& layout, Index rows, const Cut& cut) {
  return plan_scratch(layout, rows, cut).size * static_cast<Index>(sizeof(Real));
}

void project(const Layout& layout, const Tile& tile, const Share& share) {
  TileProduct(layout, tile, share).project();
}

void combine(const Layout& layout, const Tile& tile, const Share& share) {
  TileProduct(layout, tile, share).combine();
}

}  // namespace

extern const Kernel BLAST_DEPLOY_KERNEL;
const Kernel BLAST_DEPLOY_KERNEL = {InstructionSet::BLAST_DEPLOY_INSTRUCTION_SET,
                                    ElementType::BLAST_DEPLOY_ELEMENT,
                                    kFewRows,
                                    scratch_bytes,
                                    project,
                                    combine};

}  // namespace blast_deploy::blast
