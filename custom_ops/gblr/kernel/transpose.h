// Transposes tiles of X and Y in registers: rows of memory to vectors whose lanes are rows, and back.
#pragma once

#include "gblr/kernel/numbers.h"

namespace blast_deploy::gblr {
namespace {

// Quads of lanes are transposed four vectors at a time, as unpacking instructions do it; the rest is how
// quads are loaded and stored.
constexpr int kQuad = 4;
constexpr int kQuads = kLanes / kQuad;
using Quad = Vector<float, kQuad>;
using Entries = Vector<float, kTile>;

// Lane i of what unpacking gives: the lower or upper (Upper) runs of `run` lanes of each quad, by turns from
// the first and the second vector.
constexpr int lane_of_unpacked(int lane, int run, int upper) {
  const int quad = lane / kQuad * kQuad;
  const int place = lane % kQuad;
  const int turn = place / run % 2;
  const int source = place / (2 * run) * run + place % run + upper * kQuad / 2;
  return quad + source + turn * kLanes;
}

template <int Run, int Upper, int... Lane>
BLAST_DEPLOY_INLINE Floats unpack(Floats a, Floats b, Lanes<Lane...>) {
  return __builtin_shufflevector(a, b, lane_of_unpacked(Lane, Run, Upper)...);
}

// Vector i then holds lane i of each quad of the four.
BLAST_DEPLOY_INLINE void transpose_quads(Floats (&vectors)[kQuad]) {
  using All = CountLanes<kLanes>::Type;
  const Floats a = unpack<1, 0>(vectors[0], vectors[1], All{});
  const Floats b = unpack<1, 1>(vectors[0], vectors[1], All{});
  const Floats c = unpack<1, 0>(vectors[2], vectors[3], All{});
  const Floats d = unpack<1, 1>(vectors[2], vectors[3], All{});
  vectors[0] = unpack<2, 0>(a, c, All{});
  vectors[1] = unpack<2, 1>(a, c, All{});
  vectors[2] = unpack<2, 0>(b, d, All{});
  vectors[3] = unpack<2, 1>(b, d, All{});
}

template <int Width, int... Lane>
BLAST_DEPLOY_INLINE auto join(Vector<float, Width> a, Vector<float, Width> b, Lanes<Lane...>) {
  return __builtin_shufflevector(a, b, Lane...);
}

// A vector of quads, `step` values apart.
template <int Width>
BLAST_DEPLOY_INLINE Vector<float, Width> load_quads(const float* from, Index step) {
  if constexpr (Width == kQuad) {
    return load<kQuad>(from);
  } else {
    constexpr int half = Width / 2;
    const auto lower = load_quads<half>(from, step);
    const auto upper = load_quads<half>(from + half / kQuad * step, step);
    return join<half>(lower, upper, typename CountLanes<Width>::Type{});
  }
}

// The entries of a tile in kLanes rows, as a vector of rows for each entry.
template <int Vectors>
BLAST_DEPLOY_INLINE void load_rows(const float* from, Index stride, int v, Floats (&to)[kTile][Vectors]) {
  BLAST_DEPLOY_UNROLL
  for (int entry = 0; entry < kTile; entry += kQuad) {
    Floats quads[kQuad];
    BLAST_DEPLOY_UNROLL
    for (int i = 0; i < kQuad; ++i) {
      quads[i] = load_quads<kLanes>(from + i * stride + entry, kQuad * stride);
    }
    transpose_quads(quads);
    BLAST_DEPLOY_UNROLL
    for (int i = 0; i < kQuad; ++i) to[entry + i][v] = quads[i];
  }
}

// Quad number `Place` of each of two vectors.
template <int Place, int... Lane>
BLAST_DEPLOY_INLINE Entries pick_quads(Floats a, Floats b, Lanes<Lane...>) {
  return __builtin_shufflevector(a, b, (Lane / kQuad * kLanes + Place * kQuad + Lane % kQuad)...);
}

// Calls `write(row, entries)` for each of kLanes rows, whose vectors are those of entries.
template <int Place, typename Write>
BLAST_DEPLOY_INLINE void write_quads(const Floats (&lower)[kQuad], const Floats (&upper)[kQuad],
                                     const Write& write) {
  if constexpr (Place < kQuads) {
    BLAST_DEPLOY_UNROLL
    for (int i = 0; i < kQuad; ++i) {
      write(Place * kQuad + i, pick_quads<Place>(lower[i], upper[i], typename CountLanes<kTile>::Type{}));
    }
    write_quads<Place + 1>(lower, upper, write);
  }
}

template <int Vectors, typename Write>
BLAST_DEPLOY_INLINE void store_rows(const Floats (&from)[kTile][Vectors], int v, const Write& write) {
  Floats lower[kQuad];
  Floats upper[kQuad];
  BLAST_DEPLOY_UNROLL
  for (int i = 0; i < kQuad; ++i) {
    lower[i] = from[i][v];
    upper[i] = from[kQuad + i][v];
  }
  transpose_quads(lower);
  transpose_quads(upper);
  write_quads<0>(lower, upper, write);
}

}  // namespace
}  // namespace blast_deploy::gblr
