// Computes a tile of a quantised dense layer, or one share of it.
#pragma once

#include "quantized/kernel.h"
#include "quantized/kernel/finish.h"
#include "quantized/kernel/product.h"

namespace blast_deploy::quantized {
namespace {

// Where the parts of a tile's scratch memory lie, in bytes: quantised X, which all shares read, then what
// each share has to itself.
struct DenseScratchPlan {
  Index own;
  Index share;
  Index size;
};

DenseScratchPlan plan_dense_scratch(const DenseLayout& layout, Index rows, const Cut& cut) {
  const Index groups = divide_up(layout.sizes.in_features, kGroup) * rows;
  const Index own = round_up(groups * static_cast<Index>(sizeof(Group)), kCacheLine);
  const Index share = round_up(sums_bytes(rows), kCacheLine);
  return {own, share, own + cut.shares * share};
}

// Shares quantise some groups of all rows each.
template <int Bits>
void quantise_share(const DenseLayout& layout, const Tile& tile, const Share& share) {
  const Index groups = divide_up(layout.sizes.in_features, kGroup);
  const Index first = share.index * groups / share.cut.shares;
  const Index last = (share.index + 1) * groups / share.cut.shares;
  const Index valid = layout.sizes.in_features - first * kGroup;
  auto* const to = static_cast<Group*>(tile.scratch) + first * tile.rows;
  for (Index row = 0; row < tile.rows; ++row) {
    const float* const x =
        static_cast<const float*>(tile.x) + row * layout.sizes.in_features + first * kGroup;
    quantise_row<Bits>(x, valid, last - first, to + row, tile.rows);
  }
}

template <int Bits>
void multiply_share(const DenseLayout& layout, const Tile& tile, const Share& share) {
  const auto& [rows, depth] = layout.sizes;
  const Index panels = divide_up(rows, kPanelWidth);
  const DenseScratchPlan plan = plan_dense_scratch(layout, tile.rows, share.cut);
  char* const own = static_cast<char*>(tile.scratch) + plan.own + share.index * plan.share;
  const Finish finish{tile, rows, reinterpret_cast<float*>(own)};
  finish.multiply<Bits>({layout.format, static_cast<const uint8_t*>(tile.packed), rows, depth},
                        share.index * panels / share.cut.shares,
                        (share.index + 1) * panels / share.cut.shares, rows, 0,
                        static_cast<const Group*>(tile.scratch));
}

}  // namespace
}  // namespace blast_deploy::quantized
