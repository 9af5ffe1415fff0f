// Both phases for few rows: the lanes of a vector are components in the first and entries of y in the second,
// so that each weight is read once, in whole vectors. Sums are added up in the order of many.h.
#pragma once

#include "gblr/kernel/numbers.h"

namespace blast_deploy::gblr {
namespace {

template <int Wanted>
constexpr int lanes_for = Wanted < kLanes ? Wanted : kLanes;

// Lanes from, and to, single values of t. Not by way of memory: a vector cannot be loaded before the last of the
// stores to it has ended.
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
      __builtin_prefetch(weights + entry * kGroup + 2048, 0, 2);
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

// Adds to Held entries of y what a list gives.
template <int Held, int Rows>
BLAST_DEPLOY_INLINE void combine_few_list(const List& list, const float* t, Index t_stride, float* y,
                                          Index y_stride) {
  constexpr int lanes = lanes_for<Held>;
  constexpr int parts = Held / lanes;
  Vector<float, lanes> sum[Rows][parts];
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < Rows; ++row) {
    BLAST_DEPLOY_UNROLL
    for (int part = 0; part < parts; ++part) sum[row][part] = load<lanes>(y + row * y_stride + part * lanes);
  }
  const float* weights = list.weights;
  for (Index k = 0; k < list.count; ++k, weights += Held) {
    __builtin_prefetch(weights + 2048, 0, 2);
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) {
      const auto value = broadcast<lanes>(t[row * t_stride + list.components[k]]);
      BLAST_DEPLOY_UNROLL
      for (int part = 0; part < parts; ++part) sum[row][part] += value * load<lanes>(weights + part * lanes);
    }
  }
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < Rows; ++row) {
    BLAST_DEPLOY_UNROLL
    for (int part = 0; part < parts; ++part) store<lanes>(y + row * y_stride + part * lanes, sum[row][part]);
  }
}

// Writes the sums of one tile of rows of W to y.
template <int Rows>
void combine_few_cell(const Lists& lists, const float* t, Index t_stride, float* y, Index y_stride) {
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < Rows; ++row) clear(y + row * y_stride, kTile);
  combine_few_list<kTile, Rows>(lists.whole, t, t_stride, y, y_stride);
  combine_few_list<kHalf, Rows>(lists.lower, t, t_stride, y, y_stride);
  combine_few_list<kHalf, Rows>(lists.upper, t, t_stride, y + kHalf, y_stride);
}

}  // namespace
}  // namespace blast_deploy::gblr
