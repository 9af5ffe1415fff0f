// Both phases for few rows: the lanes of a vector are components in the first and entries of y in the second,
// so that each weight is read once, in whole vectors. Sums are added up in the order of many.h.
#pragma once

#include "gblr/kernel/numbers.h"

namespace blast_deploy::gblr {
namespace {

// Weights are fetched so far ahead of those in use, and tiles of rows of W combined at the same time.
constexpr Index kFewPrefetchFloats = 2048;
constexpr int kFewTiles = 4;

template <int Wanted>
constexpr int lanes_for = Wanted < kLanes ? Wanted : kLanes;

// Lanes from, and to, single values of t. Not by way of memory: a vector cannot be loaded before the last of
// the stores to it has ended.
template <int... Lane>
BLAST_DEPLOY_INLINE auto gather(const float* t, const uint16_t* components, Lanes<Lane...>) {
  return Vector<float, sizeof...(Lane)>{t[components[Lane]]...};
}

template <int Width, int... Lane>
BLAST_DEPLOY_INLINE void scatter(Vector<float, Width> values, float* t, const uint16_t* components,
                                 Lanes<Lane...>) {
  ((t[components[Lane]] = values[Lane]), ...);
}

// Adds to t of a whole group's components what Held entries of x give, for one row.
template <int Held, int Width>
BLAST_DEPLOY_INLINE void project_few_group(const float* weights, const uint16_t* components, const float* x,
                                           float* t) {
  constexpr int lanes = lanes_for<Width>;
  using All = typename CountLanes<lanes>::Type;
  BLAST_DEPLOY_UNROLL
  for (int first = 0; first < Width; first += lanes) {
    Vector<float, lanes> sum = gather(t, components + first, All{});
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Held; ++entry) {
      sum += broadcast<lanes>(x[entry]) * load<lanes>(weights + entry * Width + first);
    }
    scatter<lanes>(sum, t, components + first, All{});
  }
}

// The same for a group that `count` components do not fill.
template <int Held, int Width>
BLAST_DEPLOY_INLINE void project_few_rest(const float* weights, const uint16_t* components, Index count,
                                          const float* x, float* t) {
  for (Index k = 0; k < count; ++k) {
    float sum = t[components[k]];
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Held; ++entry) sum += x[entry] * weights[entry * Width + k];
    t[components[k]] = sum;
  }
}

// What rows of a tile have in common: where x and t of the first row begin, and how far apart rows are.
struct FewRows {
  Index rows;
  const float* x;
  Index x_stride;
  float* t;
  Index t_stride;
};

template <int Held, int Width>
BLAST_DEPLOY_INLINE void project_few_rows(const float* weights, const uint16_t* components, Index count,
                                          const FewRows& few) {
  for (Index row = 0; row < few.rows; ++row) {
    const float* const x = few.x + row * few.x_stride;
    float* const t = few.t + row * few.t_stride;
    if (count == Width) {
      project_few_group<Held, Width>(weights, components, x, t);
    } else {
      project_few_rest<Held, Width>(weights, components, count, x, t);
    }
  }
}

template <int Held>
BLAST_DEPLOY_INLINE void project_few_list(const List& list, const FewRows& few) {
  const uint16_t* components = list.components;
  const float* weights = list.weights;
  Index left = list.count;
  for (; left > 12; left -= kGroup, components += kGroup, weights += kGroup * Held) {
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Held; ++entry) {
      __builtin_prefetch(weights + entry * kGroup + kFewPrefetchFloats, 0, 2);
    }
    project_few_rows<Held, kGroup>(weights, components, smaller(left, kGroup), few);
  }
  if (left > 4) {
    project_few_rows<Held, 8>(weights, components, smaller(left, 8), few);
    left -= 8, components += 8, weights += 8 * Held;
  }
  if (left > 0) project_few_rows<Held, 4>(weights, components, left, few);
}

void project_few_cell(const Lists& lists, FewRows few) {
  project_few_list<kTile>(lists.whole, few);
  project_few_list<kHalf>(lists.lower, few);
  few.x += kHalf;
  project_few_list<kHalf>(lists.upper, few);
}

// One list for each of some tiles that are combined at the same time: sums of one alone would wait for each
// other.
template <int Tiles>
struct ListsOfTiles {
  const List* each[Tiles];
  float* y[Tiles];
};

// Adds to Held entries of each tile's y what the components from `first` to `last` of its list give.
template <int Held, int Rows, int Tiles>
BLAST_DEPLOY_INLINE void combine_few_span(const ListsOfTiles<Tiles>& tiles, Index first, Index last,
                                          const float* t, Index t_stride, Index y_stride) {
  constexpr int lanes = lanes_for<Held>;
  constexpr int parts = Held / lanes;
  Vector<float, lanes> sum[Tiles][Rows][parts];
  const float* weights[Tiles];
  const uint16_t* components[Tiles];
  BLAST_DEPLOY_UNROLL
  for (int tile = 0; tile < Tiles; ++tile) {
    weights[tile] = tiles.each[tile]->weights + first * Held;
    components[tile] = tiles.each[tile]->components;
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) {
      BLAST_DEPLOY_UNROLL
      for (int part = 0; part < parts; ++part) {
        sum[tile][row][part] = load<lanes>(tiles.y[tile] + row * y_stride + part * lanes);
      }
    }
  }
  for (Index k = first; k < last; ++k) {
    BLAST_DEPLOY_UNROLL
    for (int tile = 0; tile < Tiles; ++tile) {
      __builtin_prefetch(weights[tile] + kFewPrefetchFloats / Tiles, 0, 2);
      BLAST_DEPLOY_UNROLL
      for (int row = 0; row < Rows; ++row) {
        const auto value = broadcast<lanes>(t[row * t_stride + components[tile][k]]);
        BLAST_DEPLOY_UNROLL
        for (int part = 0; part < parts; ++part) {
          sum[tile][row][part] += value * load<lanes>(weights[tile] + part * lanes);
        }
      }
      weights[tile] += Held;
    }
  }
  BLAST_DEPLOY_UNROLL
  for (int tile = 0; tile < Tiles; ++tile) {
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) {
      BLAST_DEPLOY_UNROLL
      for (int part = 0; part < parts; ++part) {
        store<lanes>(tiles.y[tile] + row * y_stride + part * lanes, sum[tile][row][part]);
      }
    }
  }
}

// Adds what one list of each of some tiles gives: together as far as the shortest goes, then one by one.
template <int Held, int Rows, int Tiles>
BLAST_DEPLOY_INLINE void combine_few_lists(const ListsOfTiles<Tiles>& tiles, const float* t, Index t_stride,
                                           Index y_stride) {
  Index together = tiles.each[0]->count;
  for (int tile = 1; tile < Tiles; ++tile) together = smaller(together, tiles.each[tile]->count);
  combine_few_span<Held, Rows, Tiles>(tiles, 0, together, t, t_stride, y_stride);
  for (int tile = 0; tile < Tiles; ++tile) {
    const ListsOfTiles<1> one{{tiles.each[tile]}, {tiles.y[tile]}};
    if (together == one.each[0]->count) continue;
    combine_few_span<Held, Rows, 1>(one, together, one.each[0]->count, t, t_stride, y_stride);
  }
}

// Writes the sums of some tiles of rows of W to y, kTile entries each.
template <int Rows, int Tiles>
void combine_few_cells(const Lists (&lists)[Tiles], const float* t, Index t_stride, float* y,
                       Index y_stride) {
  for (int row = 0; row < Rows; ++row) clear(y + row * y_stride, Tiles * kTile);
  ListsOfTiles<Tiles> whole{};
  ListsOfTiles<Tiles> lower{};
  ListsOfTiles<Tiles> upper{};
  for (int tile = 0; tile < Tiles; ++tile) {
    whole.each[tile] = &lists[tile].whole;
    lower.each[tile] = &lists[tile].lower;
    upper.each[tile] = &lists[tile].upper;
    whole.y[tile] = lower.y[tile] = y + tile * kTile;
    upper.y[tile] = lower.y[tile] + kHalf;
  }
  combine_few_lists<kTile, Rows>(whole, t, t_stride, y_stride);
  combine_few_lists<kHalf, Rows>(lower, t, t_stride, y_stride);
  combine_few_lists<kHalf, Rows>(upper, t, t_stride, y_stride);
}

}  // namespace
}  // namespace blast_deploy::gblr
