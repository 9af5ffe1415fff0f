// What the instruction sets do each in their own way: products of bytes that are summed in 32 bits, and the
// conversions around them. Sums are exact everywhere.
//
// - AVX-512 VNNI and AVX-VNNI sum four products of unsigned and signed bytes at once.
// - Other x86 multiplies numbers of 16 bits and sums them in pairs; there bytes are widened. (Its product of
//   bytes sums in 16 bits, and saturates.)
// - Arm's dot product takes signed bytes; without it, products of bytes are widened step by step.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "runtime/vector.h"

namespace blast_deploy::quantized {
namespace {

using Index = int64_t;

constexpr int kLanes = kVectorBytes / 4;
constexpr int kQuads = 8;  // of four values each, in a group

using Integers = Vector<int32_t, kLanes>;
using Reals = Vector<float, kLanes>;
using Bytes = Vector<uint8_t, kVectorBytes>;

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr int kQuadBytes = 4;
constexpr int kWeightRegisters = 1;
constexpr bool kSignedWeights = false;
using Weights = Bytes;
using Quad = Integers;

template <int Bits>
BLAST_DEPLOY_INLINE Weights prepare(Bytes bytes) {
  return bytes;
}

BLAST_DEPLOY_INLINE Quad load_quad(const int8_t* from) {
  int32_t four = 0;
  memcpy(&four, from, sizeof four);
  return broadcast<kLanes>(four);
}

BLAST_DEPLOY_INLINE Integers dot(Integers sum, Weights weights, Quad quad) {
#if defined(__AVX512VNNI__)
  return (Integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)weights, (__m512i)quad);
#else
  return (Integers)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)weights, (__m256i)quad);
#endif
}

#elif defined(__x86_64__)
// Of four values the even ones stand before the odd ones, in 16 bits each.
constexpr int kQuadBytes = 8;
constexpr int kWeightRegisters = 2;
constexpr bool kSignedWeights = false;
using Words = Vector<uint16_t, kVectorBytes / 2>;
struct Weights {
  Words even;
  Words odd;
};
struct Quad {
  Integers even;
  Integers odd;
};

template <int Bits>
BLAST_DEPLOY_INLINE Weights prepare(Bytes bytes) {
  return {(Words)bytes & uint16_t{0xff}, (Words)bytes >> 8};
}

BLAST_DEPLOY_INLINE Quad load_quad(const int8_t* from) {
  int32_t pairs[2];
  memcpy(pairs, from, sizeof pairs);
  return {broadcast<kLanes>(pairs[0]), broadcast<kLanes>(pairs[1])};
}

BLAST_DEPLOY_INLINE Integers sum_of_pairs(Words a, Integers b) {
#if defined(__AVX512BW__)
  return (Integers)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (Integers)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
  return (Integers)_mm_madd_epi16((__m128i)a, (__m128i)b);
#endif
}

BLAST_DEPLOY_INLINE Integers dot(Integers sum, Weights weights, Quad quad) {
  return sum + sum_of_pairs(weights.even, quad.even) + sum_of_pairs(weights.odd, quad.odd);
}

#elif defined(__aarch64__)
constexpr int kQuadBytes = 4;
constexpr int kWeightRegisters = 1;
constexpr bool kSignedWeights = true;
using Weights = int8x16_t;
using Quad = int8x16_t;

template <int Bits>
BLAST_DEPLOY_INLINE Weights prepare(Bytes bytes) {
  return (Weights)(Bits == 8 ? bytes ^ uint8_t{0x80} : bytes);
}

BLAST_DEPLOY_INLINE Quad load_quad(const int8_t* from) {
  int32_t four = 0;
  memcpy(&four, from, sizeof four);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

BLAST_DEPLOY_INLINE Integers dot(Integers sum, Weights weights, Quad quad) {
#if defined(__ARM_FEATURE_DOTPROD)
  return (Integers)vdotq_s32((int32x4_t)sum, weights, quad);
#else
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(weights), vget_low_s8(quad)));
  const int32x4_t high = vpaddlq_s16(vmull_high_s8(weights, quad));
  return sum + (Integers)vpaddq_s32(low, high);
#endif
}
#endif

// What stored weights exceed their worth by, once prepared.
template <int Bits>
constexpr int32_t kOffset = Bits == 4        ? 8
                            : kSignedWeights ? 0
                                             : 128;

// Two weights in a byte, each in the place of one.
BLAST_DEPLOY_INLINE Bytes lower_halves(Bytes bytes) { return bytes & uint8_t{15}; }
BLAST_DEPLOY_INLINE Bytes upper_halves(Bytes bytes) {
#if defined(__x86_64__)
  // There are no shifts of bytes.
  using Wide = Vector<uint16_t, kVectorBytes / 2>;
  return (Bytes)((Wide)bytes >> 4) & uint8_t{15};
#else
  return bytes >> 4;
#endif
}

BLAST_DEPLOY_INLINE Reals to_reals(Integers values) { return __builtin_convertvector(values, Reals); }

// Rounds to the nearest integer, halves to even.
BLAST_DEPLOY_INLINE Integers rounded(Reals values) {
#if defined(__AVX512F__)
  return (Integers)_mm512_cvtps_epi32((__m512)values);
#elif defined(__AVX__)
  return (Integers)_mm256_cvtps_epi32((__m256)values);
#elif defined(__x86_64__)
  return (Integers)_mm_cvtps_epi32((__m128)values);
#else
  return (Integers)vcvtnq_s32_f32((float32x4_t)values);
#endif
}

// Small integers as reals.
BLAST_DEPLOY_INLINE Reals widen_bytes(const int8_t* from) {
#if defined(__AVX512F__)
  return to_reals((Integers)_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#elif defined(__AVX2__)
  return to_reals((Integers)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#elif defined(__x86_64__)
  int32_t four = 0;
  memcpy(&four, from, sizeof four);
  const __m128i bytes = _mm_cvtsi32_si128(four);
  const __m128i words = _mm_unpacklo_epi8(bytes, bytes);
  return to_reals((Integers)_mm_srai_epi32(_mm_unpacklo_epi16(words, words), 24));
#else
  int32_t four = 0;
  memcpy(&four, from, sizeof four);
  return to_reals((Integers)vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(static_cast<uint32_t>(four))))));
#endif
}

// Upper halves of floats as reals.
BLAST_DEPLOY_INLINE Reals widen_scales(const uint16_t* from) {
#if defined(__AVX512F__)
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return (Reals)_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16);
#elif defined(__aarch64__)
  return (Reals)vshll_n_u16(vld1_u16(from), 16);
#else
  const auto bits = __builtin_convertvector(load<kLanes>(from), Vector<uint32_t, kLanes>);
  return (Reals)(bits << 16);
#endif
}

// Stores 32 integers of at most 8 bits as `load_quad` reads them.
BLAST_DEPLOY_INLINE void store_quads(int8_t* to, const Integers (&values)[32 / kLanes]) {
#if defined(__AVX512VNNI__)
  BLAST_DEPLOY_UNROLL
  for (int part = 0; part < 2; ++part) {
    const __m128i bytes = _mm512_cvtsepi32_epi8((__m512i)values[part]);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + part, bytes);
  }
#elif defined(__x86_64__)
  int32_t wide[32];
  BLAST_DEPLOY_UNROLL
  for (int part = 0; part < 32 / kLanes; ++part) store<kLanes>(wide + part * kLanes, values[part]);
  __m128i words[4];
  BLAST_DEPLOY_UNROLL
  for (int pair = 0; pair < 4; ++pair) {
    __m128i quads[2];
    BLAST_DEPLOY_UNROLL
    for (int half = 0; half < 2; ++half) {
      quads[half] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(wide) + 2 * pair + half);
      if (kQuadBytes == 8) quads[half] = _mm_shuffle_epi32(quads[half], _MM_SHUFFLE(3, 1, 2, 0));
    }
    words[pair] = _mm_packs_epi32(quads[0], quads[1]);
  }
  if (kQuadBytes == 8) {
    memcpy(to, words, sizeof words);
    return;
  }
  const __m128i bytes[2] = {_mm_packs_epi16(words[0], words[1]), _mm_packs_epi16(words[2], words[3])};
  memcpy(to, bytes, sizeof bytes);
#else
  BLAST_DEPLOY_UNROLL
  for (int part = 0; part < 4; ++part) {
    const int16x8_t words =
        vcombine_s16(vmovn_s32((int32x4_t)values[2 * part]), vmovn_s32((int32x4_t)values[2 * part + 1]));
    vst1_s8(to + 8 * part, vmovn_s16(words));
  }
#endif
}

// The sum of all lanes, and the greatest.
BLAST_DEPLOY_INLINE int32_t sum_of(Integers values) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_epi32((__m512i)values);
#elif defined(__aarch64__)
  return vaddvq_s32((int32x4_t)values);
#else
  int32_t sum = 0;
  BLAST_DEPLOY_UNROLL
  for (int lane = 0; lane < kLanes; ++lane) sum += values[lane];
  return sum;
#endif
}

BLAST_DEPLOY_INLINE int32_t greatest_of(Integers values) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_epi32((__m512i)values);
#elif defined(__aarch64__)
  return vmaxvq_s32((int32x4_t)values);
#else
  int32_t greatest = values[0];
  BLAST_DEPLOY_UNROLL
  for (int lane = 1; lane < kLanes; ++lane) greatest = greatest < values[lane] ? values[lane] : greatest;
  return greatest;
#endif
}

}  // namespace
}  // namespace blast_deploy::quantized
