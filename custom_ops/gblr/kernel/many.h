// Both phases for many rows: the lanes of a vector are rows, so that every component has its own interval.
#pragma once

#include "gblr/kernel/numbers.h"
#include "gblr/kernel/transpose.h"

namespace blast_deploy::gblr {
namespace {

// Weights are fetched so many ahead of those in use.
constexpr Index kPrefetchFloats = 1024;

// Adds to t of a run's components what Entries entries of x give, from the `first` on.
template <int Width, int Vectors, int Entries>
BLAST_DEPLOY_INLINE void project_entries(const Run& run, const Strip<Width, Vectors>& x, int first,
                                         float* t) {
  const float* weights = run.weights + first % kTile;
  for (Index k = 0; k < run.count; ++k, weights += kTile) {
    float* const own = t + Index{run.components[k]} * (Vectors * Width);
    Vector<float, Width> sum[Vectors];
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[v] = load<Width>(own + v * Width);
    __builtin_prefetch(weights + kPrefetchFloats, 0, 2);
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Entries; ++entry) {
      const Vector<float, Width> weight = broadcast<Width>(weights[entry]);
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) sum[v] += weight * x[first + entry][v];
    }
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) store<Width>(own + v * Width, sum[v]);
  }
}

// Adds what one tile of columns gives, whose entries of x are those from the `first` on, to t (components x
// Vectors vectors of rows).
template <int Width, int Vectors>
BLAST_DEPLOY_INLINE void project_run(const Run& run, const Strip<Width, Vectors>& x, int first, float* t) {
  BLAST_DEPLOY_UNROLL
  for (int entry = 0; entry < kTile; entry += kEntries) {
    project_entries<Width, Vectors, kEntries>(run, x, first + entry, t);
  }
}

// Adds to Entries entries of y what a run gives, from the `first` on.
template <int Width, int Vectors, int Entries>
BLAST_DEPLOY_INLINE void combine_entries(const Run& run, const float* t, int first,
                                         Strip<Width, Vectors>& y) {
  const float* weights = run.weights + first % kTile;
  for (Index k = 0; k < run.count; ++k, weights += kTile) {
    const float* const own = t + Index{run.components[k]} * (Vectors * Width);
    Vector<float, Width> value[Vectors];
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) value[v] = load<Width>(own + v * Width);
    __builtin_prefetch(weights + kPrefetchFloats, 0, 2);
    BLAST_DEPLOY_UNROLL
    for (int entry = 0; entry < Entries; ++entry) {
      const Vector<float, Width> weight = broadcast<Width>(weights[entry]);
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) y[first + entry][v] += weight * value[v];
    }
  }
}

// Adds to the entries of one tile of rows of W, those from the `first` on, what its run gives.
template <int Width, int Vectors>
BLAST_DEPLOY_INLINE void combine_run(const Run& run, const float* t, int first, Strip<Width, Vectors>& y) {
  BLAST_DEPLOY_UNROLL
  for (int entry = 0; entry < kTile; entry += kEntries) {
    combine_entries<Width, Vectors, kEntries>(run, t, first + entry, y);
  }
}

}  // namespace
}  // namespace blast_deploy::gblr
