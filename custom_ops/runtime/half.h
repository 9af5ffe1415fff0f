// Numbers of 16 bits as they are stored: float16 (IEEE 754 binary16) and bfloat16 (the upper half of a
// float). They are widened to float to be computed with, and rounded to nearest, ties to even, when written.
//
// Kernel sources include this: see vector.h.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "runtime/vector.h"

namespace blast_deploy {
namespace {

struct Half {
  uint16_t bits;
};

struct Bfloat16 {
  uint16_t bits;
};

template <int Lanes>
BLAST_DEPLOY_INLINE Vector<uint32_t, Lanes> load_bits(const uint16_t* from) {
  return __builtin_convertvector(load<Lanes>(from), Vector<uint32_t, Lanes>);
}

template <int Lanes>
BLAST_DEPLOY_INLINE Vector<float, Lanes> widen(const Bfloat16* from) {
#if defined(__aarch64__)
  // GCC 12 converts the vector number by number.
  if constexpr (Lanes == 4) return (Vector<float, Lanes>)vshll_n_u16(vld1_u16(&from->bits), 16);
#endif
  return (Vector<float, Lanes>)(load_bits<Lanes>(&from->bits) << 16);
}

// The exponent and fraction of a float16 in the place of a float's are its value times 2^-112, subnormal
// ones too. Infinities and NaN become large numbers so, and take their exponent afterwards.
template <int Lanes>
BLAST_DEPLOY_INLINE Vector<float, Lanes> widen_by_parts(const Half* from) {
  const auto bits = load_bits<Lanes>(&from->bits);
  const auto magnitude = (Vector<float, Lanes>)((bits & 0x7fffU) << 13) * 0x1p112F;
  const auto is_special = (Vector<uint32_t, Lanes>)((bits & 0x7c00U) == 0x7c00U);
  return (Vector<float, Lanes>)((Vector<uint32_t, Lanes>)magnitude | (is_special & 0x7f800000U) |
                                ((bits & 0x8000U) << 16));
}

template <int Lanes>
BLAST_DEPLOY_INLINE Vector<float, Lanes> widen(const Half* from) {
#if defined(__AVX512F__)
  if constexpr (Lanes == 16) {
    // Masked, because GCC 12 takes the plain one's undefined vector for a mistake of ours.
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return (Vector<float, Lanes>)_mm512_maskz_cvtph_ps(0xffff, halves);
  }
#endif
#if defined(__F16C__)
  if constexpr (Lanes == 8) {
    return (Vector<float, Lanes>)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
#elif defined(__aarch64__)
  if constexpr (Lanes == 4) {
    return (Vector<float, Lanes>)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&from->bits)));
  }
#endif
  return widen_by_parts<Lanes>(from);
}

BLAST_DEPLOY_INLINE uint32_t bits_of(float value) {
  uint32_t bits = 0;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

BLAST_DEPLOY_INLINE void narrow(float value, Bfloat16* to) {
  const uint32_t bits = bits_of(value);
  const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
  const uint32_t rounded = bits + 0x7fffU + ((bits >> 16) & 1U);
  to->bits = static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40U : rounded >> 16);
}

BLAST_DEPLOY_INLINE uint32_t narrow_magnitude(uint32_t bits) {
  if (bits > 0x7f800000U) return 0x7e00U;   // NaN
  if (bits >= 0x477ff000U) return 0x7c00U;  // 65520 and above round to infinity
  if (bits < 0x38800000U) {
    // Below 2^-14: the last bit of 0.5 + value is worth 2^-24, as the last bit of a subnormal float16 is.
    float value = 0;
    memcpy(&value, &bits, sizeof value);
    return bits_of(value + 0.5F) - bits_of(0.5F);
  }
  return (bits + 0xfffU + ((bits >> 13) & 1U) - 0x38000000U) >> 13;
}

BLAST_DEPLOY_INLINE void narrow(float value, Half* to) {
  const uint32_t bits = bits_of(value);
  to->bits = static_cast<uint16_t>(((bits >> 16) & 0x8000U) | narrow_magnitude(bits & 0x7fffffffU));
}

}  // namespace
}  // namespace blast_deploy
