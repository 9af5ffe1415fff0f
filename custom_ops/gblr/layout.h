// How one GBLR matrix W = sum_k u_k v_k^T is stored: in exactly the order in which the kernel reads it.
//
// Components are sorted by the column on which v_k starts, and kBundle at a time are a bundle: few enough for
// their sums t_k = v_k . x to stay in the nearest cache. Both axes are cut into tiles of kTile entries. A
// cell lists the components that touch a tile: first those that touch both of its halves, then those of its
// lower half alone, then those of its upper half alone, each in order. Entries of a tile that a listed
// component does not cover are zeros. An interval that wraps around is listed at both ends of the axis.
//
//   V: for each bundle, the cells of the tiles of columns that it touches, in order
//   U: for each tile of rows one cell, of all components
//
// Weights of a cell of V: each list in groups of 16 components, and at most one each of 8 and 4, and of each
// group, one column after the other, the weights of its components (padded with zeros).
// Weights of a cell of U: for each component, one row after the other.
//
// In bytes, each part from a multiple of 64:
//   header: 8 int64: version, out_features, in_features, components, cells of V, indices, weights, 0
//   int64 first cell of V of each bundle, and their end
//   cells of V, then cells of U (see Cell)
//   uint16 index of the component of each listing, one cell after the other
//   float weights, one cell after the other
// The layout is the same for all instruction sets; numbers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blast/layout.h"

namespace blast_deploy::gblr {

using blast::divide_up;
using blast::larger;
using blast::round_up;
using blast::smaller;

constexpr std::int64_t kLayoutVersion = 1;
constexpr std::int64_t kTile = 8;
constexpr std::int64_t kHalf = 4;
constexpr std::int64_t kGroup = 16;
constexpr std::int64_t kBundle = 128;
constexpr std::int64_t kLargestComponents = 65535;

struct Sizes {
  std::int64_t out_features;
  std::int64_t in_features;
  std::int64_t components;
};

// The components that touch one tile.
struct Cell {
  std::int32_t tile;
  std::int32_t whole;  // how many touch both halves, the lower half alone and the upper half alone
  std::int32_t lower;
  std::int32_t upper;
  std::int64_t index;   // where its indices begin
  std::int64_t weight;  // and its weights
};

// Where the parts of a packed matrix lie; made by `pack` or, from packed bytes, by `read_layout`.
struct Layout {
  Sizes sizes;
  std::int64_t chunks;  // always 1: a phase covers all
  std::int64_t bundles;
  std::int64_t v_cells;
  std::int64_t u_cells;
  std::int64_t indices;
  std::int64_t weights;
  std::int64_t bundle_offset;  // bytes
  std::int64_t cell_offset;
  std::int64_t index_offset;
  std::int64_t weight_offset;
  std::int64_t size;
};

// The functions here are static, not inline, because the kernels call them (see blast/layout.h).

// Width of the group that starts where `left` components are left.
static constexpr std::int64_t group_width(std::int64_t left) { return left > 12 ? 16 : left > 4 ? 8 : 4; }

// Components of a list of a cell of V, padding included.
static constexpr std::int64_t padded(std::int64_t count) { return round_up(count, 4); }

static constexpr std::int64_t listings(const Cell& cell) {
  return std::int64_t{cell.whole} + cell.lower + cell.upper;
}
static constexpr std::int64_t v_weights(const Cell& cell) {
  return padded(cell.whole) * kTile + (padded(cell.lower) + padded(cell.upper)) * kHalf;
}
static constexpr std::int64_t u_weights(const Cell& cell) {
  return cell.whole * kTile + (std::int64_t{cell.lower} + cell.upper) * kHalf;
}

// One side of the matrix as GblrLinear has it: components on circular intervals.
struct Factor {
  const float* values;         // of component after component, each from its start; not read by `plan`
  const std::int64_t* starts;  // (components,)
  const std::int64_t* widths;
};

// Throws std::invalid_argument with one sentence if the intervals do not fit the sizes, or there are more
// components than indices can tell apart.
Layout plan(const Sizes& sizes, const Factor& u, const Factor& v);

// Packs a matrix into `plan(...).size` bytes.
void pack(const Sizes& sizes, const Factor& u, const Factor& v, void* packed);

// Reads the layout of packed bytes; they may be hostile. Throws std::invalid_argument with one sentence
// unless they are of these sizes and everything in them lies where the kernel may look for it.
Layout read_layout(const Sizes& sizes, const void* packed, std::int64_t size);

}  // namespace blast_deploy::gblr
