// What all of the kernel's parts share.
#pragma once

#include <stdint.h>
#include <string.h>

#include "gblr/layout.h"
#include "runtime/vector.h"

namespace blast_deploy::gblr {
namespace {

using Index = int64_t;

constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(float));

// The numbers from 0 on, to name lanes with.
template <int... Lane>
struct Lanes {};

template <int Count, int... Lane>
struct CountLanes : CountLanes<Count - 1, Count - 1, Lane...> {};

template <int... Lane>
struct CountLanes<0, Lane...> {
  using Type = Lanes<Lane...>;
};

// Vectors of rows that are computed at once, and entries of a tile whose vectors the registers hold beside.
// The widest vectors do best alone (at 512 rows 5 to 10% over three of them): the sums of components that
// follow each other hide their latency, and t and X of 16 rows stay in the nearest cache.
#if defined(__AVX512F__)
constexpr int kVectors = 1;
#elif defined(__SSE2__) && !defined(__AVX__)
constexpr int kVectors = 2;
#else
constexpr int kVectors = 3;
#endif
constexpr int kEntries = kRegisters == 32 ? kTile : kTile / 2;

// With so few rows in all, the lanes of a vector are the entries of a tile instead of rows.
constexpr Index kFewRows = 3;

BLAST_DEPLOY_INLINE void copy(float* to, const float* from, Index count) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

BLAST_DEPLOY_INLINE void clear(float* values, Index count) {
  memset(values, 0, static_cast<size_t>(count) * sizeof(float));
}

// Components that touch a tile, and kTile weights of each.
struct Run {
  const uint16_t* components;
  const float* weights;
  Index count;
};

// The parts of packed bytes.
struct Packed {
  const Index* firsts;
  const uint16_t* indices;
  const float* weights;

  Packed(const Layout& layout, const void* packed) {
    const char* const bytes = static_cast<const char*>(packed);
    firsts = reinterpret_cast<const Index*>(bytes + layout.first_offset);
    indices = reinterpret_cast<const uint16_t*>(bytes + layout.index_offset);
    weights = reinterpret_cast<const float*>(bytes + layout.weight_offset);
  }

  // Runs that follow each other, as one.
  BLAST_DEPLOY_INLINE Run runs(Index first, Index last) const {
    const Index listing = firsts[first];
    return {indices + listing, weights + listing * kTile, firsts[last] - listing};
  }
};

}  // namespace
}  // namespace blast_deploy::gblr
