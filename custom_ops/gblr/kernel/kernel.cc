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

constexpr Index kStrip = 2 * kTile;  // entries of y that are finished together: whole squares of any vector

// Where the intermediate results of a tile lie in its scratch memory, in floats: first t, which all shares
// read and write, then what each share has to itself.
struct ScratchPlan {
  Index t;  // sizes of one row of t, and of x
  Index x;
  Index own;    // where the first share's part begins
  Index share;  // size of what a share has to itself, and offsets in it
  Index sums;
  Index size;
};

ScratchPlan plan_scratch(const Layout& layout, Index rows, const Cut& cut) {
  const Index all = rows <= kFewRows ? rows : round_up(rows, kLanes);
  ScratchPlan plan{};
  plan.t = round_up(layout.sizes.components, kGroup);
  plan.x = round_up(layout.sizes.in_features, kStrip);
  plan.own = round_up(all * plan.t, kGroup);
  // A share projects with x and combines with sums, at different times.
  plan.share = larger(all * plan.x, rows <= kFewRows ? rows * kFewTiles * kTile : all * kStrip);
  plan.size = plan.own + cut.shares * plan.share;
  return plan;
}

// Computes one share of a tile.
class TileProduct {
 public:
  TileProduct(const Layout& layout, const Tile& tile, const Share& share)
      : layout_(layout),
        packed_(layout, tile.packed),
        rows_(tile.rows),
        activation_(tile.activation),
        bias_(static_cast<const float*>(tile.bias)),
        x_(static_cast<const float*>(tile.x)),
        residual_(static_cast<const float*>(tile.residual)),
        y_(static_cast<float*>(tile.y)),
        plan_(plan_scratch(layout, tile.rows, share.cut)),
        t_(static_cast<float*>(tile.scratch)),
        own_(t_ + plan_.own + share.index * plan_.share),
        share_(share) {}

  void project() const {
    const Index first = share_.index * layout_.bundles / share_.cut.shares;
    const Index last = (share_.index + 1) * layout_.bundles / share_.cut.shares;
    if (first == last) return;
    if (rows_ <= kFewRows) return project_few(first, last);
    for_blocks([&](auto vectors, Index row) { project_block<vectors.kCount>(first, last, row); });
  }

  void combine() const {
    const Index strips = divide_up(layout_.sizes.out_features, kStrip);
    const Index first = share_.index * strips / share_.cut.shares * kStrip;
    const Index last =
        smaller((share_.index + 1) * strips / share_.cut.shares * kStrip, layout_.sizes.out_features);
    if (first >= last) return;
    if (rows_ <= kFewRows) {
      combine_few(first, last);
    } else {
      for_blocks([&](auto vectors, Index row) { combine_block<vectors.kCount>(first, last, row); });
    }
    finish(first, last);
  }

 private:
  template <int Vectors>
  struct Count {
    static constexpr int kCount = Vectors;
  };

  // Calls with a number of vectors and the first row, for blocks of rows as equal as can be.
  template <typename Call>
  void for_blocks(Call call) const {
    Index left = divide_up(rows_, kLanes);
    Index row = 0;
    for (Index blocks = divide_up(left, kVectors); blocks > 0; --blocks) {
      const Index vectors = divide_up(left, blocks);
      if (vectors == 1) call(Count<1>{}, row);
      if (vectors == 2) call(Count<2>{}, row);
      if (vectors == 3) call(Count<kVectors>{}, row);
      left -= vectors;
      row += vectors * kLanes;
    }
  }

  // Writes x of a block of rows column by column, zeros where there is nothing.
  template <int Vectors>
  void turn_x(Index row, float* to) const {
    const Index columns = layout_.sizes.in_features;
    for (Index column = 0; column < columns; column += kLanes) {
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        Floats square[kLanes];
        load_square(row + v * kLanes, column, square);
        transpose(square);
        BLAST_DEPLOY_UNROLL
        for (int i = 0; i < kLanes; ++i) {
          store<kLanes>(to + ((column + i) * Vectors + v) * kLanes, square[i]);
        }
      }
    }
    const Index end = round_up(columns, kLanes);
    clear(to + end * Vectors * kLanes, (plan_.x - end) * Vectors * kLanes);
  }

  BLAST_DEPLOY_INLINE void load_square(Index row, Index column, Floats (&square)[kLanes]) const {
    const Index columns = layout_.sizes.in_features;
    const float* const x = x_ + row * columns + column;
    if (row + kLanes <= rows_ && column + kLanes <= columns) {
      BLAST_DEPLOY_UNROLL
      for (int i = 0; i < kLanes; ++i) square[i] = load<kLanes>(x + i * columns);
      return;
    }
    float values[kLanes * kLanes] = {};
    for (Index i = 0; i < smaller(kLanes, rows_ - row); ++i) {
      copy(values + i * kLanes, x + i * columns, smaller(kLanes, columns - column));
    }
    for (int i = 0; i < kLanes; ++i) square[i] = load<kLanes>(values + i * kLanes);
  }

  template <int Vectors>
  void project_block(Index first, Index last, Index row) const {
    float* const x = own_ + row * plan_.x;
    float* const t = t_ + row * plan_.t;
    turn_x<Vectors>(row, x);
    constexpr Index width = Vectors * kLanes;
    const Index end = smaller(last * kBundle, layout_.sizes.components);
    clear(t + first * kBundle * width, (end - first * kBundle) * width);
    for (Index each = packed_.bundles[first]; each < packed_.bundles[last]; ++each) {
      const Cell& cell = packed_.v_cells[each];
      project_cell<Vectors>(lists_of_v(packed_, cell), x + cell.tile * kTile * width, t);
    }
  }

  void project_few(Index first, Index last) const {
    const Index columns = layout_.sizes.in_features;
    for (Index row = 0; row < rows_; ++row) {
      copy(own_ + row * plan_.x, x_ + row * columns, columns);
      clear(own_ + row * plan_.x + columns, plan_.x - columns);
      const Index end = smaller(last * kBundle, layout_.sizes.components);
      clear(t_ + row * plan_.t + first * kBundle, end - first * kBundle);
    }
    for (Index each = packed_.bundles[first]; each < packed_.bundles[last]; ++each) {
      const Cell& cell = packed_.v_cells[each];
      project_few_cell(lists_of_v(packed_, cell), {rows_, own_ + cell.tile * kTile, plan_.x, t_, plan_.t});
    }
  }

  template <int Vectors>
  void combine_block(Index first, Index last, Index row) const {
    const float* const t = t_ + row * plan_.t;
    for (Index entry = first; entry < last; entry += kStrip) {
      for (Index half = entry; half < smaller(entry + kStrip, last); half += kTile) {
        combine_cell<Vectors>(lists_of_u(packed_, packed_.u_cells[half / kTile]), t,
                              own_ + (half - entry) * Vectors * kLanes);
      }
      for (Index from = entry; from < smaller(entry + kStrip, last); from += kLanes) {
        BLAST_DEPLOY_UNROLL
        for (int v = 0; v < Vectors; ++v) {
          Floats square[kLanes];
          BLAST_DEPLOY_UNROLL
          for (int i = 0; i < kLanes; ++i) {
            square[i] = load<kLanes>(own_ + ((from - entry + i) * Vectors + v) * kLanes);
          }
          transpose(square);
          write_square(row + v * kLanes, from, square);
        }
      }
    }
  }

  // Writes sums and bias to y, and the residual where nothing comes between.
  BLAST_DEPLOY_INLINE void write_square(Index row, Index column, const Floats (&square)[kLanes]) const {
    const Index columns = layout_.sizes.out_features;
    float* const y = y_ + row * columns + column;
    if (row + kLanes > rows_ || column + kLanes > columns) return write_edge(row, column, square);
    const Floats bias = load<kLanes>(bias_ + column);
    const float* const residual = adds_residual() ? residual_ + row * columns + column : nullptr;
    BLAST_DEPLOY_UNROLL
    for (int i = 0; i < kLanes; ++i) {
      Floats value = square[i] + bias;
      if (residual != nullptr) value += load<kLanes>(residual + i * columns);
      store<kLanes>(y + i * columns, value);
    }
  }

  void write_edge(Index row, Index column, const Floats (&square)[kLanes]) const {
    float values[kLanes];
    for (Index i = 0; i < smaller(kLanes, rows_ - row); ++i) {
      store<kLanes>(values, square[i]);
      write_row(row + i, column, smaller(kLanes, layout_.sizes.out_features - column), values);
    }
  }

  void write_row(Index row, Index column, Index count, const float* sums) const {
    const Index place = row * layout_.sizes.out_features + column;
    for (Index i = 0; i < count; ++i) y_[place + i] = sums[i] + bias_[column + i];
    if (!adds_residual()) return;
    for (Index i = 0; i < count; ++i) y_[place + i] += residual_[place + i];
  }

  void combine_few(Index first, Index last) const {
    Index entry = first;
    for (; entry + kFewTiles * kTile <= last; entry += kFewTiles * kTile) combine_few_tiles<kFewTiles>(entry);
    for (; entry < last; entry += kTile) combine_few_tiles<1>(entry);
  }

  template <int Tiles>
  void combine_few_tiles(Index entry) const {
    Lists lists[Tiles];
    for (int i = 0; i < Tiles; ++i) lists[i] = lists_of_u(packed_, packed_.u_cells[entry / kTile + i]);
    constexpr Index width = Tiles * kTile;
    if (rows_ == 1) combine_few_cells<1, Tiles>(lists, t_, plan_.t, own_, width);
    if (rows_ == 2) combine_few_cells<2, Tiles>(lists, t_, plan_.t, own_, width);
    if (rows_ == 3) combine_few_cells<3, Tiles>(lists, t_, plan_.t, own_, width);
    const Index count = smaller(width, layout_.sizes.out_features - entry);
    for (Index row = 0; row < rows_; ++row) write_row(row, entry, count, own_ + row * width);
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
  const Activation activation_;
  const float* const bias_;
  const float* const x_;
  const float* const residual_;
  float* const y_;
  const ScratchPlan plan_;
  float* const t_;
  float* const own_;
  const Share& share_;
};

Index scratch_bytes(const Layout& layout, Index rows, const Cut& cut) {
  return plan_scratch(layout, rows, cut).size * static_cast<Index>(sizeof(float));
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
