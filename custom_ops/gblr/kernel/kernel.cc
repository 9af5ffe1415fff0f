// The one source of all GBLR kernels, compiled once per instruction set. BLAST_DEPLOY_KERNEL names the Kernel
// that it defines and BLAST_DEPLOY_INSTRUCTION_SET what it was compiled for; nothing else here has external
// linkage.
#include "gblr/kernel.h"

#include "blast/kernel/activation.h"
#include "gblr/kernel/few.h"
#include "gblr/kernel/many.h"
#include "gblr/kernel/numbers.h"
#include "gblr/kernel/transpose.h"
#include "gblr/layout.h"

namespace blast_deploy::gblr {
namespace {

// Where the intermediate results of a tile lie in its scratch memory, in floats; all shares read and write
// them.
struct ScratchPlan {
  Index t;     // of one row
  Index sums;  // where the sums begin that t of few rows is added up from
  Index size;
};

ScratchPlan plan_scratch(const Layout& layout, Index rows, bool few) {
  const Index components = round_up(layout.sizes.components, kLanes);
  ScratchPlan plan{};
  plan.t = components;
  plan.sums = (few ? rows : round_up(rows, kLanes)) * components;
  plan.size = plan.sums + (few ? rows * components * kTile : 0);
  return plan;
}

// Computes one share of a tile.
class TileProduct {
 public:
  TileProduct(const Layout& layout, const Tile& tile, const Share& share)
      : layout_(layout),
        packed_(layout, tile.packed),
        rows_(tile.rows),
        few_(tile.all_rows <= kFewRows),
        activation_(tile.activation),
        bias_(static_cast<const float*>(tile.bias)),
        x_(static_cast<const float*>(tile.x)),
        residual_(static_cast<const float*>(tile.residual)),
        y_(static_cast<float*>(tile.y)),
        plan_(plan_scratch(layout, tile.rows, few_)),
        t_(static_cast<float*>(tile.scratch)),
        share_(share) {}

  void project() const {
    const Index first = share_.index * layout_.bundles / share_.cut.shares;
    const Index last = (share_.index + 1) * layout_.bundles / share_.cut.shares;
    if (first == last) return;
    const Bundles bundles{first, last, first * kBundle, smaller(last * kBundle, plan_.t)};
    if (few_) {
      for_few([&](auto rows) { project_few_rows<rows.kCount>(bundles); });
    } else {
      for_blocks([&](auto block, Index row) { project_block<block.kWidth, block.kVectors>(bundles, row); });
    }
  }

  void combine() const {
    const Index first = share_.index * layout_.u_tiles / share_.cut.shares;
    const Index last = (share_.index + 1) * layout_.u_tiles / share_.cut.shares;
    if (first == last) return;
    if (few_) {
      for_few([&](auto rows) { combine_few_rows<rows.kCount>(first, last); });
    } else {
      for_blocks(
          [&](auto block, Index row) { combine_block<block.kWidth, block.kVectors>(first, last, row); });
    }
    finish(first * kTile, smaller(last * kTile, layout_.sizes.out_features));
  }

 private:
  template <int Number>
  struct Count {
    static constexpr int kCount = Number;
  };

  // Rows that are computed together: some vectors of so many each.
  template <int Lanes, int Number>
  struct Block {
    static constexpr int kWidth = Lanes;
    static constexpr int kVectors = Number;
  };

  // Bundles of one share, and their components.
  struct Bundles {
    Index first;
    Index last;
    Index first_component;
    Index last_component;
  };

  template <typename Call>
  void for_few(Call call) const {
    if (rows_ == 1) call(Count<1>{});
    if (rows_ == 2) call(Count<2>{});
    if (rows_ == 3) call(Count<kFewRows>{});
  }

  // Calls with a block and its first row, for blocks of rows as equal as can be. The last of the widest
  // vectors is halved where half its lanes would be empty: that takes little more than half its time.
  template <typename Call>
  void for_blocks(Call call) const {
    constexpr int half = kLanes > kTile ? kLanes / 2 : kLanes;
    Index left = divide_up(rows_, kLanes);
    Index row = 0;
    for (Index blocks = divide_up(left, kVectors); blocks > 0; --blocks) {
      const Index vectors = divide_up(left, blocks);
      if (vectors == 1 && rows_ - row <= half) {
        call(Block<half, 1>{}, row);
      } else {
        if (vectors == 1) call(Block<kLanes, 1>{}, row);
        if (vectors == 2) call(Block<kLanes, smaller(2, kVectors)>{}, row);
        if (vectors == 3) call(Block<kLanes, kVectors>{}, row);
      }
      left -= vectors;
      row += vectors * kLanes;
    }
  }

  template <int Rows>
  void project_few_rows(const Bundles& bundles) const {
    const Index columns = layout_.sizes.in_features;
    float* const sums = t_ + plan_.sums;
    const Index stride = plan_.t * kTile;
    const Index components = bundles.last_component - bundles.first_component;
    for (int row = 0; row < Rows; ++row) {
      clear(sums + row * stride + bundles.first_component * kTile, components * kTile);
    }
    for (Index tile = 0; tile < layout_.v_tiles; ++tile) {
      Entries x[Rows];
      for (int row = 0; row < Rows; ++row) {
        x[row] = load_entries(x_ + row * columns + tile * kTile, columns - tile * kTile);
      }
      project_few<Rows>(run_of_v(bundles, tile), x, sums, stride);
    }
    for (int row = 0; row < Rows; ++row) {
      for (Index k = bundles.first_component; k < bundles.last_component; k += kQuad) {
        store<kQuad>(t_ + row * plan_.t + k, add_up(sums + row * stride + k * kTile));
      }
    }
  }

  Run run_of_v(const Bundles& bundles, Index tile) const {
    return packed_.runs(tile * layout_.bundles + bundles.first, tile * layout_.bundles + bundles.last);
  }

  // Entries of a tile of which there may be fewer, and then zeros.
  BLAST_DEPLOY_INLINE static Entries load_entries(const float* from, Index count) {
    if (count >= kTile) return load<kTile>(from);
    float values[kTile] = {};
    copy(values, from, count);
    return load<kTile>(values);
  }

  template <int Width, int Vectors>
  void project_block(const Bundles& bundles, Index row) const {
    constexpr Index size = Vectors * Width;
    float* const t = t_ + row * plan_.t;
    clear(t + bundles.first_component * size, (bundles.last_component - bundles.first_component) * size);
    for (Index tile = 0; tile < layout_.v_tiles; tile += kStrip / kTile) {
      Strip<Width, Vectors> x;
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) load_x<Width, Vectors>(row + v * Width, tile * kTile, v, x);
      project_run<Width, Vectors>(run_of_v(bundles, tile), x, 0, t);
      if (tile + 1 == layout_.v_tiles) break;
      project_run<Width, Vectors>(run_of_v(bundles, tile + 1), x, kTile, t);
    }
  }

  // Zeros where X ends.
  template <int Width, int Vectors>
  BLAST_DEPLOY_INLINE void load_x(Index row, Index column, int v, Strip<Width, Vectors>& to) const {
    const Index columns = layout_.sizes.in_features;
    const float* from = x_ + row * columns + column;
    Index stride = columns;
    float values[Width * kStrip];
    if (row + Width > rows_ || column + kStrip > columns) {
      clear(values, Width * kStrip);
      for (Index i = 0; i < smaller(Width, rows_ - row); ++i) {
        copy(values + i * kStrip, from + i * columns, smaller(kStrip, columns - column));
      }
      from = values;
      stride = kStrip;
    }
    load_rows<Width, Vectors>(from, stride, v, to);
  }

  template <int Width, int Vectors>
  void combine_block(Index first, Index last, Index row) const {
    const float* const t = t_ + row * plan_.t;
    for (Index tile = first; tile < last; tile += kStrip / kTile) {
      Strip<Width, Vectors> y;
      BLAST_DEPLOY_UNROLL
      for (int entry = 0; entry < kStrip; ++entry) {
        BLAST_DEPLOY_UNROLL
        for (int v = 0; v < Vectors; ++v) y[entry][v] = Vector<float, Width>{};
      }
      combine_run<Width, Vectors>(run_of_u(tile), t, 0, y);
      if (tile + 1 < last) combine_run<Width, Vectors>(run_of_u(tile + 1), t, kTile, y);
      const Index end = smaller((tile + kStrip / kTile), last) * kTile;
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) write_y<Width, Vectors>(row + v * Width, tile * kTile, end, v, y);
    }
  }

  Run run_of_u(Index tile) const {
    const Index run = v_runs(layout_) + tile;
    return packed_.runs(run, run + 1);
  }

  // Writes sums and bias to y up to column `end`, and the residual where nothing comes between.
  template <int Width, int Vectors>
  BLAST_DEPLOY_INLINE void write_y(Index row, Index column, Index end, int v,
                                   const Strip<Width, Vectors>& sums) const {
    const Index columns = layout_.sizes.out_features;
    if (row + Width > rows_ || column + kStrip > smaller(end, columns) || adds_residual()) {
      return store_rows<Width, Vectors>(sums, v, [&](int i, Entries first, Entries second) {
        if (row + i >= rows_) return;
        write_part(row + i, column, first);
        if (column + kTile < end) write_part(row + i, column + kTile, second);
      });
    }
    float* const y = y_ + row * columns + column;
    const Entries first_bias = load<kTile>(bias_ + column);
    const Entries second_bias = load<kTile>(bias_ + column + kTile);
    store_rows<Width, Vectors>(sums, v, [&](int i, Entries first, Entries second) {
      store<kTile>(y + i * columns, first + first_bias);
      store<kTile>(y + i * columns + kTile, second + second_bias);
    });
  }

  // Writes as many entries of a tile as there are.
  void write_part(Index row, Index column, Entries sums) const {
    const Index count = layout_.sizes.out_features - column;
    const Index place = row * layout_.sizes.out_features + column;
    if (count >= kTile) {
      Entries value = sums + load<kTile>(bias_ + column);
      if (adds_residual()) value += load<kTile>(residual_ + place);
      return store<kTile>(y_ + place, value);
    }
    float values[kTile];
    store<kTile>(values, sums);
    for (Index i = 0; i < count; ++i) {
      const float value = values[i] + bias_[column + i];
      y_[place + i] = adds_residual() ? value + residual_[place + i] : value;
    }
  }

  template <int Rows>
  void combine_few_rows(Index first, Index last) const {
    for (Index tile = first; tile < last; ++tile) {
      Entries y[Rows];
      combine_few<Rows>(run_of_u(tile), t_, plan_.t, y);
      for (int row = 0; row < Rows; ++row) write_part(row, tile * kTile, y[row]);
    }
  }

  // A residual is added last, so after an activation function.
  bool adds_residual() const { return residual_ != nullptr && activation_ == Activation::kNone; }

  // Does to some columns of Y what writing them did not.
  void finish(Index first, Index last) const {
    if (activation_ == Activation::kNone) return;
    const Index columns = layout_.sizes.out_features;
    blast::activate<kLanes>(activation_, rows_, last - first, y_ + first, columns);
    if (residual_ == nullptr) return;
    for (Index row = 0; row < rows_; ++row) {
      for (Index place = row * columns + first; place < row * columns + last; ++place) {
        y_[place] += residual_[place];
      }
    }
  }

  const Layout& layout_;
  const Packed packed_;
  const Index rows_;
  const bool few_;
  const Activation activation_;
  const float* const bias_;
  const float* const x_;
  const float* const residual_;
  float* const y_;
  const ScratchPlan plan_;
  float* const t_;
  const Share& share_;
};

// Enough for either path, as a tile alone does not tell.
Index scratch_bytes(const Layout& layout, Index rows, const Cut&) {
  const Index few = plan_scratch(layout, smaller(rows, kFewRows), true).size;
  return larger(few, plan_scratch(layout, rows, false).size) * static_cast<Index>(sizeof(float));
}

void project(const Layout& layout, const Tile& tile, const Share& share) {
  TileProduct(layout, tile, share).project();
}

void combine(const Layout& layout, const Tile& tile, const Share& share) {
  TileProduct(layout, tile, share).combine();
}

}  // namespace

extern const Kernel BLAST_DEPLOY_KERNEL;
const Kernel BLAST_DEPLOY_KERNEL = {InstructionSet::BLAST_DEPLOY_INSTRUCTION_SET, ElementType::kFloat,
                                    scratch_bytes, project, combine};

}  // namespace blast_deploy::gblr
