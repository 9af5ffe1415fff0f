// Transposes squares of floats, as many as a vector has lanes, in registers.
#pragma once

#include "gblr/kernel/numbers.h"

namespace blast_deploy::gblr {
namespace {

// Lanes of 128 bits are transposed first, four rows at a time, as unpacking instructions do it.
constexpr int kQuad = 4;

// Lane i of the even (Odd = 0) or odd (Odd = 1) blocks of two vectors, each block of kQuad lanes.
constexpr int lane_of_blocks(int lane, int odd) { return (lane / kQuad * 2 + odd) * kQuad + lane % kQuad; }

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

template <int Odd, int... Lane>
BLAST_DEPLOY_INLINE Floats blocks(Floats a, Floats b, Lanes<Lane...>) {
  return __builtin_shufflevector(a, b, lane_of_blocks(Lane, Odd)...);
}

BLAST_DEPLOY_INLINE void transpose(Floats (&rows)[kLanes]) {
  using All = CountLanes<kLanes>::Type;
  Floats next[kLanes];
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < kLanes; row += 2) {
    next[row] = unpack<1, 0>(rows[row], rows[row + 1], All{});
    next[row + 1] = unpack<1, 1>(rows[row], rows[row + 1], All{});
  }
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < kLanes; row += kQuad) {
    rows[row] = unpack<2, 0>(next[row], next[row + 2], All{});
    rows[row + 1] = unpack<2, 1>(next[row], next[row + 2], All{});
    rows[row + 2] = unpack<2, 0>(next[row + 1], next[row + 3], All{});
    rows[row + 3] = unpack<2, 1>(next[row + 1], next[row + 3], All{});
  }
  // Row 4 i + j holds, in each block b, column 4 b + j of rows 4 i to 4 i + 3. Every step halves the groups
  // of rows that a vector's blocks come from.
  BLAST_DEPLOY_UNROLL
  for (int step = kLanes; step > kQuad; step /= 2) {
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < kLanes; ++row) next[row] = rows[row];
    BLAST_DEPLOY_UNROLL
    for (int pair = 0; pair < kLanes / 2; ++pair) {
      const int group = pair / kQuad;
      const int place = pair % kQuad;
      const Floats a = next[2 * group * kQuad + place];
      const Floats b = next[(2 * group + 1) * kQuad + place];
      rows[group * kQuad + place] = blocks<0>(a, b, All{});
      rows[kLanes / 2 + group * kQuad + place] = blocks<1>(a, b, All{});
    }
  }
}

}  // namespace
}  // namespace blast_deploy::gblr
