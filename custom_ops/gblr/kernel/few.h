// Both phases for few rows: the lanes of a vector are the entries of a tile, so that weights are read as they
// lie in memory, and each once for all rows.
#pragma once

#include "gblr/kernel/numbers.h"
#include "gblr/kernel/transpose.h"

namespace blast_deploy::gblr {
namespace {

// Weights are fetched so many ahead of those in use, over the ends of runs and pages, where the processor's
// own fetching stops: 6 KiB ahead is up to a fifth faster than 3 KiB for cold weights, and no slower for warm
// ones. One request for each line is a tenth faster than two.
constexpr Index kFewPrefetchFloats = 1536;

// The same for the components of a run, a kilobyte ahead: cold, 2 to 8% for layers of few components.
BLAST_DEPLOY_INLINE void prefetch_components(const Run& run) {
  for (Index k = 0; k < run.count; k += 32) __builtin_prefetch(run.components + k + 512, 0, 2);
}

template <int Rows>
BLAST_DEPLOY_INLINE void project_one(const float* weights, const Entries (&x)[Rows], float* sums,
                                     Index stride) {
  const Entries weight = load<kTile>(weights);
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < Rows; ++row) {
    float* const sum = sums + row * stride;
    store<kTile>(sum, load<kTile>(sum) + weight * x[row]);
  }
}

// Adds to the sums of a run's components, kTile for each, the products with x.
template <int Rows>
BLAST_DEPLOY_INLINE void project_few(const Run& run, const Entries (&x)[Rows], float* sums, Index stride) {
  prefetch_components(run);
  const float* weights = run.weights;
  const uint16_t* components = run.components;
  Index left = run.count;
  for (; left >= 2; left -= 2, weights += 2 * kTile, components += 2) {
    __builtin_prefetch(weights + kFewPrefetchFloats, 0, 2);
    project_one<Rows>(weights, x, sums + Index{components[0]} * kTile, stride);
    project_one<Rows>(weights + kTile, x, sums + Index{components[1]} * kTile, stride);
  }
  if (left == 0) return;
  __builtin_prefetch(weights + kFewPrefetchFloats, 0, 2);
  project_one<Rows>(weights, x, sums + Index{*components} * kTile, stride);
}

template <int... Lane>
BLAST_DEPLOY_INLINE Quad unpack_quad(Quad a, Quad b, Lanes<Lane...>) {
  return __builtin_shufflevector(a, b, Lane...);
}

// t of kQuad components from their kTile sums each.
BLAST_DEPLOY_INLINE Quad add_up(const float* sums) {
  Quad quads[kQuad];
  BLAST_DEPLOY_UNROLL
  for (int k = 0; k < kQuad; ++k) {
    quads[k] = load<kQuad>(sums + k * kTile) + load<kQuad>(sums + k * kTile + kQuad);
  }
  const Quad first = unpack_quad(quads[0], quads[1], Lanes<0, 4, 1, 5>{}) +
                     unpack_quad(quads[0], quads[1], Lanes<2, 6, 3, 7>{});
  const Quad second = unpack_quad(quads[2], quads[3], Lanes<0, 4, 1, 5>{}) +
                      unpack_quad(quads[2], quads[3], Lanes<2, 6, 3, 7>{});
  return unpack_quad(first, second, Lanes<0, 1, 4, 5>{}) + unpack_quad(first, second, Lanes<2, 3, 6, 7>{});
}

// Sums that are added up at the same time, as one alone would wait for each addition; the same for any number
// of rows.
constexpr int kChains = kVectorBytes < 32 && kRegisters < 32 ? 2 : 4;

// Writes to y what a run gives.
template <int Rows>
BLAST_DEPLOY_INLINE void combine_few(const Run& run, const float* t, Index stride, Entries (&y)[Rows]) {
  Entries sums[Rows][kChains] = {};
  prefetch_components(run);
  const float* weights = run.weights;
  const uint16_t* components = run.components;
  Index left = run.count;
  for (; left >= kChains; left -= kChains, weights += kChains * kTile, components += kChains) {
    BLAST_DEPLOY_UNROLL
    for (int chain = 0; chain < kChains; ++chain) {
      if (chain % 2 == 0) __builtin_prefetch(weights + chain * kTile + kFewPrefetchFloats, 0, 2);
      const Entries weight = load<kTile>(weights + chain * kTile);
      BLAST_DEPLOY_UNROLL
      for (int row = 0; row < Rows; ++row) {
        sums[row][chain] += weight * broadcast<kTile>(t[row * stride + components[chain]]);
      }
    }
  }
  for (; left > 0; --left, weights += kTile, ++components) {
    __builtin_prefetch(weights + kFewPrefetchFloats, 0, 2);
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) {
      sums[row][0] += load<kTile>(weights) * broadcast<kTile>(t[row * stride + *components]);
    }
  }
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < Rows; ++row) {
    BLAST_DEPLOY_UNROLL
    for (int chain = 1; chain < kChains; ++chain) sums[row][0] += sums[row][chain];
    y[row] = sums[row][0];
  }
}

}  // namespace
}  // namespace blast_deploy::gblr
