// Computes a tile of a quantised BLAST layer, or one share of it.
#pragma once

#include "blast/kernel/activation.h"
#include "quantized/kernel.h"
#include "quantized/kernel/coupling.h"
#include "quantized/kernel/finish.h"
#include "quantized/kernel/product.h"

namespace blast_deploy::quantized {
namespace {

// Panels of equal matrices, counted from one matrix to the next: those that a share computes.
struct Run {
  Index first;
  Index last;    // past the end
  Index panels;  // of one matrix

  Index first_matrix() const { return first / panels; }
  Index last_matrix() const { return divide_up(last, panels); }
  Index first_panel(Index matrix) const { return larger(first - matrix * panels, 0); }
  Index last_panel(Index matrix) const { return smaller(last - matrix * panels, panels); }
};

Run run_of(const Share& share, Index matrices, Index panels) {
  const Index all = matrices * panels;
  return {share.index * all / share.cut.shares, (share.index + 1) * all / share.cut.shares, panels};
}

// Where the parts of a tile's scratch memory lie, in bytes: first what all shares read and write, then what
// each share has to itself.
struct ScratchPlan {
  Index z_block;   // of one z_j of a group
  Index z_group;   // of all z_j of a group
  Index x_groups;  // of a row of X_j
  Index x_block;   // Groups of one X_j, and of one w_i
  Index w_block;
  Index own;
  Index share;  // size of what a share has to itself, and offsets in it
  Index x;
  Index w;
  Index sums;
  Index size;
};

ScratchPlan plan_scratch(const Layout& layout, Index rows, const Cut& cut) {
  const Sizes& sizes = layout.sizes;
  constexpr Index group = sizeof(Group);
  const Index u_panels = divide_up(layout.block_rows, kPanelWidth);
  // Panels are dealt out evenly, so that a share may begin and end within a block row.
  const Index block_rows =
      smaller(sizes.blocks_out,
              cut.shares == 1 ? sizes.blocks_out
                              : divide_up(divide_up(sizes.blocks_out * u_panels, cut.shares), u_panels) + 1);
  ScratchPlan plan{};
  plan.z_block = rows * kGroup;
  plan.z_group = sizes.blocks_in * plan.z_block;
  plan.x_groups = divide_up(layout.block_columns, kGroup);
  plan.x_block = plan.x_groups * rows;
  plan.w_block = layout.chunks * rows;
  plan.own = round_up(smaller(cut.chunks, layout.chunks) * plan.z_group * static_cast<Index>(sizeof(float)),
                      kCacheLine);
  plan.w = round_up(sizes.blocks_in * plan.x_block * group, kCacheLine);
  plan.sums = plan.w + round_up(block_rows * plan.w_block * group, kCacheLine);
  plan.share = round_up(plan.sums + sums_bytes(rows), kCacheLine);
  plan.size = plan.own + cut.shares * plan.share;
  return plan;
}

template <int Bits>
class TileProduct {
 public:
  TileProduct(const Layout& layout, const Tile& tile, const Share& share)
      : layout_(layout),
        share_(share),
        rows_(tile.rows),
        scratch_(static_cast<char*>(tile.scratch)),
        plan_(plan_scratch(layout, tile.rows, share.cut)),
        own_(scratch_ + plan_.own + share.index * plan_.share),
        packed_(static_cast<const uint8_t*>(tile.packed)),
        x_(static_cast<const float*>(tile.x)),
        finish_{tile, layout.sizes.out_features, reinterpret_cast<float*>(own_ + plan_.sums)} {}

  void project() {
    const Index groups = last_group() - share_.first_chunk;
    const Run run = run_of(share_, groups, layout_.sizes.blocks_in);
    if (share_.first_chunk == 0) {
      // The memory is not to wait until X is quantised.
      if (rows_ == 1) prefetch(packed_ + v_offset(layout_, 0, run.first_panel(0)), kPrefetchBytesOfOneRow);
      quantise_x();
    }
    for (Index group = run.first_matrix(); group < run.last_matrix(); ++group) {
      multiply_v(share_.first_chunk + group, run.first_panel(group), run.last_panel(group), z_of(group));
    }
  }

  void combine() {
    const Run run = run_of_u();
    for (Index group = share_.first_chunk; group < last_group(); ++group) {
      couple_group(group, run, z_of(group - share_.first_chunk));
    }
    if (last_group() == layout_.chunks) multiply_u(run);
  }

 private:
  Index last_group() const { return smaller(share_.first_chunk + share_.cut.chunks, layout_.chunks); }

  Run run_of_u() const {
    return run_of(share_, layout_.sizes.blocks_out, divide_up(layout_.block_rows, kPanelWidth));
  }

  float* z_of(Index group) const { return reinterpret_cast<float*>(scratch_) + group * plan_.z_group; }
  Group* x_of(Index j) const { return reinterpret_cast<Group*>(own_) + j * plan_.x_block; }
  Group* w_of(Index i, const Run& run) const {
    return reinterpret_cast<Group*>(own_ + plan_.w) + (i - run.first_matrix()) * plan_.w_block;
  }

  void quantise_x() {
    const Index q = layout_.block_columns;
    for (Index row = 0; row < rows_; ++row) {
      const float* const x = x_ + row * layout_.sizes.in_features;
      for (Index j = 0; j < layout_.sizes.blocks_in; ++j) {
        const Index valid = smaller(q, layout_.sizes.in_features - j * q);
        quantise_row<Bits>(x + j * q, valid, plan_.x_groups, x_of(j) + row, rows_);
      }
    }
  }

  // z_j of one group, for some block columns.
  void multiply_v(Index group, Index first, Index last, float* z) {
    const Index width = width_of_group(layout_, group);
    const Index bytes = v_panel_bytes(layout_, group);
    Product product{};
    product.left_stride = rows_;
    product.groups = plan_.x_groups;
    product.block_groups = block_groups(layout_.format);
    product.bias = kZeros;
    product.out_stride = kGroup;
    for (Index j = first; j < last; ++j) {
      product.left = x_of(j);
      product.panel = packed_ + v_offset(layout_, group, j);
      product.factor = row_scales(layout_.format, product.panel, bytes, width);
      product.out = z + j * plan_.z_block;
      if (width < kGroup) memset(product.out, 0, static_cast<size_t>(plan_.z_block) * sizeof(float));
      multiply_width<Bits>(width, rows_, product);
    }
  }

  // w_i of one group, for the block rows of the run.
  void couple_group(Index group, const Run& run, const float* z) {
    const Index first = run.first_matrix();
    const Index s_row = layout_.sizes.blocks_in * kGroup;
    const uint8_t* const s = packed_ + s_offset(layout_, group) + first * s_row;
    // Weights of the next product follow S.
    if (rows_ == 1) prefetch(s + kPrefetchBytesOfOneRow, (run.last_matrix() - first) * s_row);
    Coupling coupling{};
    coupling.blocks_in = layout_.sizes.blocks_in;
    coupling.s = reinterpret_cast<const int8_t*>(s);
    coupling.z = z;
    coupling.z_block = plan_.z_block;
    coupling.w = w_of(first, run) + group * rows_;
    coupling.w_block = plan_.w_block;
    couple<Bits>(run.last_matrix() - first, rows_, coupling);
  }

  void multiply_u(const Run& run) {
    for (Index i = run.first_matrix(); i < run.last_matrix(); ++i) {
      const Index valid = smaller(layout_.block_rows, layout_.sizes.out_features - i * layout_.block_rows);
      const Matrix matrix{layout_.format, packed_ + u_offset(layout_, i), layout_.block_rows,
                          layout_.sizes.rank};
      finish_.multiply<Bits>(matrix, run.first_panel(i), run.last_panel(i), valid, i * layout_.block_rows,
                             w_of(i, run));
    }
  }

  const Layout& layout_;
  const Share& share_;
  const Index rows_;
  char* const scratch_;
  const ScratchPlan plan_;
  char* const own_;
  const uint8_t* const packed_;
  const float* const x_;
  const Finish finish_;
};

}  // namespace
}  // namespace blast_deploy::quantized
