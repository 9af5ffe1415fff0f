// Both phases for many rows: the lanes of a vector are rows, so that every component has its exact interval.
#pragma once

#include "gblr/kernel/numbers.h"

namespace blast_deploy::gblr {
namespace {

// Weights are fetched so many bytes ahead of those in use.
constexpr Index kPrefetchFloats = 1024;

// Adds to t of a group's components what Entries entries of x give: from `first` of those that the group
// holds weights of.
template <int Vectors, int Entries, int Width>
BLAST_DEPLOY_INLINE void project_group(const float* weights, const uint16_t* components, Index count,
                                       const Floats (&x)[kEntries][Vectors], int from, float* t) {
  for (Index k = 0; k < count; ++k) {
    float* const own = t + Index{components[k]} * (Vectors * kLanes);
    Floats sum[Vectors];
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[v] = load<kLanes>(own + v * kLanes);
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Entries; ++entry) {
      const Floats weight = broadcast<kLanes>(weights[entry * Width + k]);
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) sum[v] += weight * x[from + entry][v];
    }
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) store<kLanes>(own + v * kLanes, sum[v]);
  }
}

// The same for a list, whose groups hold the weights of Held entries, used from the `first` on.
template <int Vectors, int Entries, int Held>
BLAST_DEPLOY_INLINE void project_list(const List& list, int first, const Floats (&x)[kEntries][Vectors],
                                      int from, float* t) {
  const uint16_t* components = list.components;
  const float* weights = list.weights;
  Index left = list.count;
  for (; left > 12; left -= kGroup, components += kGroup, weights += kGroup * Held) {
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Entries; ++entry) {
      __builtin_prefetch(weights + (first + entry) * kGroup + kPrefetchFloats, 0, 2);
    }
    project_group<Vectors, Entries, kGroup>(weights + first * kGroup, components, smaller(left, kGroup), x,
                                            from, t);
  }
  if (left > 4) {
    project_group<Vectors, Entries, 8>(weights + first * 8, components, smaller(left, 8), x, from, t);
    left -= 8, components += 8, weights += 8 * Held;
  }
  if (left > 0) project_group<Vectors, Entries, 4>(weights + first * 4, components, left, x, from, t);
}

template <int Vectors>
BLAST_DEPLOY_INLINE void load_entries(const float* x, Floats (&to)[kEntries][Vectors]) {
  BLAST_DEPLOY_UNROLL
  for (int entry = 0; entry < kEntries; ++entry) {
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) to[entry][v] = load<kLanes>(x + (entry * Vectors + v) * kLanes);
  }
}

// Adds what one tile of columns gives to t (components x Vectors vectors of rows); x has the same vectors for
// each column.
template <int Vectors>
BLAST_DEPLOY_INLINE void project_cell(const Lists& lists, const float* x, float* t) {
  Floats entries[kEntries][Vectors];
  load_entries<Vectors>(x, entries);
  if constexpr (kEntries == kTile) {
    project_list<Vectors, kTile, kTile>(lists.whole, 0, entries, 0, t);
    project_list<Vectors, kHalf, kHalf>(lists.lower, 0, entries, 0, t);
    project_list<Vectors, kHalf, kHalf>(lists.upper, 0, entries, kHalf, t);
  } else {
    project_list<Vectors, kHalf, kTile>(lists.whole, 0, entries, 0, t);
    project_list<Vectors, kHalf, kHalf>(lists.lower, 0, entries, 0, t);
    load_entries<Vectors>(x + kHalf * Vectors * kLanes, entries);
    project_list<Vectors, kHalf, kTile>(lists.whole, kHalf, entries, 0, t);
    project_list<Vectors, kHalf, kHalf>(lists.upper, 0, entries, 0, t);
  }
}

// Adds to Entries entries of y what a list gives, which holds the weights of Held entries, used from the
// `first` on.
template <int Vectors, int Entries, int Held>
BLAST_DEPLOY_INLINE void combine_list(const List& list, int first, const float* t,
                                      Floats (&y)[kEntries][Vectors], int from) {
  const float* weights = list.weights + first;
  for (Index k = 0; k < list.count; ++k, weights += Held) {
    const float* const own = t + Index{list.components[k]} * (Vectors * kLanes);
    Floats value[Vectors];
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) value[v] = load<kLanes>(own + v * kLanes);
    __builtin_prefetch(weights + kPrefetchFloats, 0, 2);
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Entries; ++entry) {
      const Floats weight = broadcast<kLanes>(weights[entry]);
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) y[from + entry][v] += weight * value[v];
    }
  }
}

template <int Vectors>
BLAST_DEPLOY_INLINE void clear_entries(Floats (&y)[kEntries][Vectors]) {
  BLAST_DEPLOY_UNROLL
  for (int entry = 0; entry < kEntries; ++entry) {
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) y[entry][v] = Floats{};
  }
}

template <int Vectors>
BLAST_DEPLOY_INLINE void store_entries(const Floats (&y)[kEntries][Vectors], float* to) {
  BLAST_DEPLOY_UNROLL
  for (int entry = 0; entry < kEntries; ++entry) {
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) store<kLanes>(to + (entry * Vectors + v) * kLanes, y[entry][v]);
  }
}

// Writes the sums of one tile of rows of W, Vectors vectors for each.
template <int Vectors>
BLAST_DEPLOY_INLINE void combine_cell(const Lists& lists, const float* t, float* sums) {
  Floats y[kEntries][Vectors];
  clear_entries<Vectors>(y);
  if constexpr (kEntries == kTile) {
    combine_list<Vectors, kTile, kTile>(lists.whole, 0, t, y, 0);
    combine_list<Vectors, kHalf, kHalf>(lists.lower, 0, t, y, 0);
    combine_list<Vectors, kHalf, kHalf>(lists.upper, 0, t, y, kHalf);
    store_entries<Vectors>(y, sums);
  } else {
    combine_list<Vectors, kHalf, kTile>(lists.whole, 0, t, y, 0);
    combine_list<Vectors, kHalf, kHalf>(lists.lower, 0, t, y, 0);
    store_entries<Vectors>(y, sums);
    clear_entries<Vectors>(y);
    combine_list<Vectors, kHalf, kTile>(lists.whole, kHalf, t, y, 0);
    combine_list<Vectors, kHalf, kHalf>(lists.upper, 0, t, y, 0);
    store_entries<Vectors>(y, sums + kHalf * Vectors * kLanes);
  }
}

}  // namespace
}  // namespace blast_deploy::gblr
