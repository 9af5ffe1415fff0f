// Both phases for many rows: the lanes of a vector are rows, so that every component has its own interval.
#pragma once

#include "gblr/kernel/numbers.h"

namespace blast_deploy::gblr {
namespace {

// Weights are fetched so many ahead of those in use.
constexpr Index kPrefetchFloats = 1024;

// Adds to t of a run's components what Entries entries of x give, from the `first` on.
template <int Vectors, int Entries>
BLAST_DEPLOY_INLINE void project_entries(const Run& run, const Floats (&x)[kTile][Vectors], int first,
                                         float* t) {
  const float* weights = run.weights + first;
  for (Index k = 0; k < run.count; ++k, weights += kTile) {
    float* const own = t + Index{run.components[k]} * (Vectors * kLanes);
    Floats sum[Vectors];
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[v] = load<kLanes>(own + v * kLanes);
    __builtin_prefetch(weights + kPrefetchFloats, 0, 2);
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Entries; ++entry) {
      const Floats weight = broadcast<kLanes>(weights[entry]);
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) sum[v] += weight * x[first + entry][v];
    }
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) store<kLanes>(own + v * kLanes, sum[v]);
  }
}

// Adds what one tile of columns gives to t (components x Vectors vectors of rows).
template <int Vectors>
BLAST_DEPLOY_INLINE void project_run(const Run& run, const Floats (&x)[kTile][Vectors], float* t) {
  BLAST_DEPLOY_UNROLL
  for (int first = 0; first < kTile; first += kEntries) project_entries<Vectors, kEntries>(run, x, first, t);
}

// Adds to Entries entries of y what a run gives, from the `first` on.
template <int Vectors, int Entries>
BLAST_DEPLOY_INLINE void combine_entries(const Run& run, const float* t, int first,
                                         Floats (&y)[kTile][Vectors]) {
  const float* weights = run.weights + first;
  for (Index k = 0; k < run.count; ++k, weights += kTile) {
    const float* const own = t + Index{run.components[k]} * (Vectors * kLanes);
    Floats value[Vectors];
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) value[v] = load<kLanes>(own + v * kLanes);
    __builtin_prefetch(weights + kPrefetchFloats, 0, 2);
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Entries; ++entry) {
      const Floats weight = broadcast<kLanes>(weights[entry]);
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) y[first + entry][v] += weight * value[v];
    }
  }
}

// Adds to the entries of one tile of rows of W what its run gives.
template <int Vectors>
BLAST_DEPLOY_INLINE void combine_run(const Run& run, const float* t, Floats (&y)[kTile][Vectors]) {
  BLAST_DEPLOY_UNROLL
  for (int first = 0; first < kTile; first += kEntries) combine_entries<Vectors, kEntries>(run, t, first, y);
}

}  // namespace
}  // namespace blast_deploy::gblr
