// Transposes tiles of X and Y in registers: rows of memory to vectors whose lanes are rows, and back.
#pragma once

#include "gblr/kernel/numbers.h"

namespace blast_deploy::gblr {
namespace {

// Quads of lanes are transposed four vectors at a time, as unpacking instructions do it; the rest is how
// quads are loaded and stored. Two tiles are one strip: a cache line of each row, which is read and written
// at once.
constexpr int kQuad = 4;
constexpr int kStrip = 2 * kTile;
using Quad = Vector<float, kQuad>;
using Entries = Vector<float, kTile>;

// Vectors of `Width` rows for the entries of a strip.
template <int Width, int Vectors>
using Strip = Vector<float, Width>[kStrip][Vectors];

// Lane i of what unpacking gives: the lower or upper (Upper) runs of `run` lanes of each quad, by turns from
// the first and the second vector.
constexpr int lane_of_unpacked(int lane, int width, int run, int upper) {
  const int quad = lane / kQuad * kQuad;
  const int place = lane % kQuad;
  const int turn = place / run % 2;
  const int source = place / (2 * run) * run + place % run + upper * kQuad / 2;
  return quad + source + turn * width;
}

template <int Width, int Run, int Upper, int... Lane>
BLAST_DEPLOY_INLINE auto unpack(Vector<float, Width> a, Vector<float, Width> b, Lanes<Lane...>) {
  return __builtin_shufflevector(a, b, lane_of_unpacked(Lane, Width, Run, Upper)...);
}

// Vector i then holds lane i of each quad of the four.
template <int Width>
BLAST_DEPLOY_INLINE void transpose_quads(Vector<float, Width> (&vectors)[kQuad]) {
  using All = typename CountLanes<Width>::Type;
  const auto a = unpack<Width, 1, 0>(vectors[0], vectors[1], All{});
  const auto b = unpack<Width, 1, 1>(vectors[0], vectors[1], All{});
  const auto c = unpack<Width, 1, 0>(vectors[2], vectors[3], All{});
  const auto d = unpack<Width, 1, 1>(vectors[2], vectors[3], All{});
  vectors[0] = unpack<Width, 2, 0>(a, c, All{});
  vectors[1] = unpack<Width, 2, 1>(a, c, All{});
  vectors[2] = unpack<Width, 2, 0>(b, d, All{});
  vectors[3] = unpack<Width, 2, 1>(b, d, All{});
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

// Reads vector number v of a strip from rows `stride` values apart.
template <int Width, int Vectors>
BLAST_DEPLOY_INLINE void load_rows(const float* from, Index stride, int v, Strip<Width, Vectors>& to) {
  Vector<float, Width> quads[kStrip / kQuad][kQuad];
  BLAST_DEPLOY_UNROLL
  for (int i = 0; i < kQuad; ++i) {
    BLAST_DEPLOY_UNROLL
    for (int part = 0; part < kStrip / kQuad; ++part) {
      quads[part][i] = load_quads<Width>(from + i * stride + part * kQuad, kQuad * stride);
    }
  }
  BLAST_DEPLOY_UNROLL
  for (int part = 0; part < kStrip / kQuad; ++part) {
    transpose_quads<Width>(quads[part]);
    BLAST_DEPLOY_UNROLL
    for (int i = 0; i < kQuad; ++i) to[part * kQuad + i][v] = quads[part][i];
  }
}

// Quad number `Place` of each of two vectors.
template <int Width, int Place, int... Lane>
BLAST_DEPLOY_INLINE Entries pick_quads(Vector<float, Width> a, Vector<float, Width> b, Lanes<Lane...>) {
  return __builtin_shufflevector(a, b, (Lane / kQuad * Width + Place * kQuad + Lane % kQuad)...);
}

template <int Width, int Place, typename Write>
BLAST_DEPLOY_INLINE void write_quads(const Vector<float, Width> (&quads)[kStrip / kQuad][kQuad],
                                     const Write& write) {
  if constexpr (Place < Width / kQuad) {
    using All = typename CountLanes<kTile>::Type;
    BLAST_DEPLOY_UNROLL
    for (int i = 0; i < kQuad; ++i) {
      write(Place * kQuad + i, pick_quads<Width, Place>(quads[0][i], quads[1][i], All{}),
            pick_quads<Width, Place>(quads[2][i], quads[3][i], All{}));
    }
    write_quads<Width, Place + 1>(quads, write);
  }
}

// Calls `write(row, entries, entries)` with both tiles of a strip for each row of vector number v.
template <int Width, int Vectors, typename Write>
BLAST_DEPLOY_INLINE void store_rows(const Strip<Width, Vectors>& from, int v, const Write& write) {
  Vector<float, Width> quads[kStrip / kQuad][kQuad];
  BLAST_DEPLOY_UNROLL
  for (int part = 0; part < kStrip / kQuad; ++part) {
    BLAST_DEPLOY_UNROLL
    for (int i = 0; i < kQuad; ++i) quads[part][i] = from[part * kQuad + i][v];
    transpose_quads<Width>(quads[part]);
  }
  write_quads<Width, 0>(quads, write);
}

}  // namespace
}  // namespace blast_deploy::gblr
