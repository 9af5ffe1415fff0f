// Groups of values that are quantised together, as the products read them.
#pragma once

#include <stdint.h>
#include <string.h>

#include "quantized/kernel/integers.h"

namespace blast_deploy::quantized {
namespace {

// Values x of one group are about quads * scale * kHeadroom. `start` takes the offset of stored weights back,
// so that the sum over start and all products is that of the weights' worth. NaN and infinity make a group
// NaN.
struct Group {
  int8_t quads[kQuads * kQuadBytes];
  float scale;
  int32_t start;
};

constexpr int kGroupVectors = 32 / kLanes;
constexpr float kSmallestGreatest = 1e-30F;

// At 8 bits a row's scale multiplies the finished sum, which large values would have made infinite before:
// sums are kept smaller by this power of two, which changes no other bit. With it all floats can be summed in
// rows of 1024 columns (128 * 1024 / kHeadroom is 1), and the least scale of a group is still a normal
// number.
template <int Bits>
constexpr float kHeadroom = Bits == 8 ? 0x1p17F : 1.0F;

// Quantises 32 values: see QBlastLinear in structures/contract.py.
template <int Bits>
BLAST_DEPLOY_INLINE void quantise(const float* values, Group* group) {
  constexpr int32_t kMagnitude = 0x7fffffff;
  constexpr int32_t kInfinity = 0x7f800000;
  Reals reals[kGroupVectors];
  Integers greatest{};
  BLAST_DEPLOY_UNROLL
  for (int part = 0; part < kGroupVectors; ++part) {
    reals[part] = load<kLanes>(values + part * kLanes);
    // As integers, magnitudes are ordered as they are, and NaN is above infinity.
    const Integers magnitude = (Integers)reals[part] & kMagnitude;
    greatest = magnitude > greatest ? magnitude : greatest;
  }
  const int32_t bits = greatest_of(greatest);
  float a = 0;
  memcpy(&a, &bits, sizeof a);
  if (bits >= kInfinity || a < kSmallestGreatest) {
    memset(group->quads, 0, sizeof group->quads);
    group->scale = bits >= kInfinity ? __builtin_nanf("") : 0.0F;
    group->start = 0;
    return;
  }
  const float inverse = 127.0F / a;
  Integers sum{};
  Integers integers[kGroupVectors];
  BLAST_DEPLOY_UNROLL
  for (int part = 0; part < kGroupVectors; ++part) {
    integers[part] = rounded(reals[part] * inverse);
    if constexpr (kOffset<Bits> != 0) sum += integers[part];
  }
  store_quads(group->quads, integers);
  group->scale = a / (127.0F * kHeadroom<Bits>);
  group->start = -kOffset<Bits> * (kOffset<Bits> != 0 ? sum_of(sum) : 0);
}

// Quantises `valid` values (at most those of the groups), and zeros up to the last group's end; the groups
// lie `stride` apart.
template <int Bits>
void quantise_row(const float* values, Index valid, Index groups, Group* to, Index stride) {
  Index index = 0;
  for (; index < groups && (index + 1) * 32 <= valid; ++index) {
    quantise<Bits>(values + index * 32, to + index * stride);
  }
  for (; index < groups; ++index) {
    float rest[32] = {};
    for (Index column = index * 32; column < valid; ++column) rest[column - index * 32] = values[column];
    quantise<Bits>(rest, to + index * stride);
  }
}

}  // namespace
}  // namespace blast_deploy::quantized
