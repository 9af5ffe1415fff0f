// Activation functions on vectors of float and double, accurate to ten units in the last place wherever the
// exact value is a normal number; gelu_tanh loses one more for every unit that the argument of its
// exponential function grows by. NaN, infinities and zeros of either sign give what the exact functions give.
//
// GELU is x Phi(x), Phi the normal distribution function. With t = |x| its tail is Phi(-t) = exp(-t^2/2)
// R(t), where R is smooth and close to 1/t for large t, so one rational function serves the whole range (the
// form of W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23, 1969; its
// coefficients were fitted anew, in 60 digits). gelu_tanh and SiLU are x / (1 + exp(-z)). The exponential
// function is that of half the argument, squared: so its power of two stays a normal number where the result
// is not.
#pragma once

#include <stdint.h>

#include "runtime/activation.h"
#include "runtime/vector.h"

namespace blast_deploy::blast {
namespace {

template <typename Value>
struct MathOf;

template <>
struct MathOf<float> {
  using Bits = int32_t;
  static constexpr int kMantissa = 23;
  static constexpr int kBias = 127;
  static constexpr Bits kUpperHalf = ~0xFFF;  // the bits of numbers whose squares are exact
  static constexpr float kRounder = 0x1.8p23F;
  static constexpr float kPerLog2 = 0x1.715476p0F;  // 1 / ln 2
  static constexpr float kLog2High = 0x1.63p-1F;    // ln 2 in two parts; multiples of the first are exact
  static constexpr float kLog2Low = -0x1.bd0106p-13F;
  // (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2: the relative error of exp is 2^-28.
  static constexpr float kExponential[] = {0.49999993044852026F, 0.16666514736654683F, 0.041668457957557568F,
                                           0.0083694238255249617F, 0.0013813089001616955F};
  // R(t) for 0 <= t <= 14.5, to 2^-27.
  static constexpr float kNumerator[] = {0.5000000030497943F, 0.43822014476055212F, 0.18317969413294477F,
                                         0.040614542582750333F, 0.0041135382184786868F};
  static constexpr float kDenominator[] = {1.0F,
                                           1.6743252719346690F,
                                           1.2022728941572415F,
                                           0.46932428568116711F,
                                           0.10181203194295053F,
                                           0.010310990883189404F};
  // Beyond these the exact values round to x or to zero.
  static constexpr float kGeluEnd = 14.5F;
  static constexpr float kGeluTanhEnd = 11.5F;
  static constexpr float kSiluEnd = 110.0F;
};

template <>
struct MathOf<double> {
  using Bits = int64_t;
  static constexpr int kMantissa = 52;
  static constexpr int kBias = 1023;
  static constexpr Bits kUpperHalf = ~Bits{0x7FFFFFF};
  static constexpr double kRounder = 0x1.8p52;
  static constexpr double kPerLog2 = 0x1.71547652b82fep0;
  static constexpr double kLog2High = 0x1.62e42feep-1;
  static constexpr double kLog2Low = 0x1.a39ef35793c76p-33;
  // The relative error of exp is 2^-57.
  static constexpr double kExponential[] = {
      0.50000000000000117036,   0.16666666666666386573,    0.041666666666519136254,  0.008333333333507480227,
      0.0013888888946923399812, 0.00019841269486561783376, 2.4801489349489468983e-5, 2.755759682291751304e-6,
      2.7631688128770432528e-7, 2.4999109337250708761e-8};
  // R(t) for 0 <= t <= 39, to 2^-59.
  static constexpr double kNumerator[] = {
      0.50000000000000000046,    0.82780460441594626558,   0.67942000240720346352,   0.35719797897042248356,
      0.13197361089087636435,    0.035642908527193088958,  0.0071167432849746230561, 0.00103862954146203939,
      0.00010643886076181650881, 6.9654584802151349208e-6, 2.2377549547979087036e-7};
  static constexpr double kDenominator[] = {1.0,
                                            2.4534937696347580938,
                                            2.8164448036319947018,
                                            2.0008084185626263206,
                                            0.97967389919961068682,
                                            0.34811981114302153388,
                                            0.09191206114355375131,
                                            0.018104710746254015827,
                                            0.0026209179908737602985,
                                            0.00026736357988603137049,
                                            1.7459815172305619817e-5,
                                            5.6092198413907594855e-7};
  static constexpr double kGeluEnd = 39.0;
  static constexpr double kGeluTanhEnd = 22.0;
  static constexpr double kSiluEnd = 760.0;
};

// The largest |z| for which gelu_tanh and SiLU tell exp(-|z|) from zero, or more.
template <typename Value>
constexpr Value kExponentialEnd = sizeof(Value) == 4 ? 150 : 1000;

template <typename Value, int Lanes>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> masked(Vector<Value, Lanes> x, typename MathOf<Value>::Bits mask) {
  using Bits = Vector<typename MathOf<Value>::Bits, Lanes>;
  return (Vector<Value, Lanes>)((Bits)x & mask);
}

template <typename Value, int Lanes>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> absolute(Vector<Value, Lanes> x) {
  using Bits = typename MathOf<Value>::Bits;
  return masked<Value, Lanes>(x, ~(Bits{1} << (8 * sizeof(Value) - 1)));
}

template <typename Value, int Lanes, int Count>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> polynomial(const Value (&coefficients)[Count],
                                                    Vector<Value, Lanes> x) {
  Vector<Value, Lanes> sum = broadcast<Lanes>(coefficients[Count - 1]);
  BLAST_DEPLOY_UNROLL
  for (int power = Count - 2; power >= 0; --power) sum = sum * x + coefficients[power];
  return sum;
}

// exp(high + low) where `low` is far smaller than one; both at most 0, and the power of two a normal number.
template <typename Value, int Lanes>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> exponential(Vector<Value, Lanes> high, Vector<Value, Lanes> low) {
  using Math = MathOf<Value>;
  using Real = Vector<Value, Lanes>;
  using Bits = Vector<typename Math::Bits, Lanes>;
  // The sum's last bits hold the power of two as an integer.
  const Real rounded = high * Math::kPerLog2 + Math::kRounder;
  const Real power = rounded - Math::kRounder;
  const Real r = high - power * Math::kLog2High - power * Math::kLog2Low + low;
  const Real scale = (Real)(((Bits)rounded + Math::kBias) << Math::kMantissa);
  return (r * r * polynomial<Value, Lanes>(Math::kExponential, r) + r + Value{1}) * scale;
}

template <typename Value, int Lanes>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> gelu(Vector<Value, Lanes> x) {
  using Math = MathOf<Value>;
  using Real = Vector<Value, Lanes>;
  Real t = absolute<Value, Lanes>(x);
  t = t > Math::kGeluEnd ? broadcast<Lanes>(Math::kGeluEnd) : t;
  // t^2 in two parts, the first of them exact.
  const Real upper = masked<Value, Lanes>(t, Math::kUpperHalf);
  const Value quarter = Value{-0.25};
  const Real root = exponential<Value, Lanes>(upper * upper * quarter, (t - upper) * (t + upper) * quarter);
  const Real tail = t * polynomial<Value, Lanes>(Math::kNumerator, t) /
                    polynomial<Value, Lanes>(Math::kDenominator, t) * root * root;
  // Minus zero, so that what rounds to zero has the sign of x.
  return (x < Value{0} ? broadcast<Lanes>(Value{-0.0}) : x) - tail;
}

// x / (1 + exp(-z)), where x and z have the same sign and are at least -kExponentialEnd.
template <typename Value, int Lanes>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> times_sigmoid(Vector<Value, Lanes> x, Vector<Value, Lanes> z) {
  using Real = Vector<Value, Lanes>;
  Real size = absolute<Value, Lanes>(z);
  size = size > kExponentialEnd<Value> ? broadcast<Lanes>(kExponentialEnd<Value>) : size;
  const Real root = exponential<Value, Lanes>(size * Value{-0.5}, Real{});
  const Real numerator = x < Value{0} ? x * root * root : x;
  return numerator / (root * root + Value{1});
}

template <typename Value, int Lanes>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> at_least(Vector<Value, Lanes> x, Value least) {
  return x < least ? broadcast<Lanes>(least) : x;
}

template <typename Value, int Lanes>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> silu(Vector<Value, Lanes> x) {
  x = at_least<Value, Lanes>(x, -MathOf<Value>::kSiluEnd);
  return times_sigmoid<Value, Lanes>(x, x);
}

// x (1 + tanh(z / 2)) / 2 with z / 2 = sqrt(2 / pi) (x + 0.044715 x^3)
template <typename Value, int Lanes>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> gelu_tanh(Vector<Value, Lanes> x) {
  constexpr Value kLinear = Value(1.5957691216057307117597842397375);
  constexpr Value kCubic = Value(0.07135481627260024877633875227986);
  x = at_least<Value, Lanes>(x, -MathOf<Value>::kGeluTanhEnd);
  return times_sigmoid<Value, Lanes>(x, (x * x * kCubic + kLinear) * x);
}

template <Activation Function, typename Value, int Lanes>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> activated(Vector<Value, Lanes> x) {
  if constexpr (Function == Activation::kGelu) return gelu<Value, Lanes>(x);
  if constexpr (Function == Activation::kGeluTanh) return gelu_tanh<Value, Lanes>(x);
  if constexpr (Function == Activation::kSilu) return silu<Value, Lanes>(x);
  return x;
}

// The last values of a row, fewer than a vector holds.
template <Activation Function, int Lanes, typename Value>
BLAST_DEPLOY_INLINE void activate_rest(int64_t count, Value* values) {
  Value rest[Lanes] = {};
  for (int64_t index = 0; index < count; ++index) rest[index] = values[index];
  store<Lanes>(rest, activated<Function, Value, Lanes>(load<Lanes>(rest)));
  for (int64_t index = 0; index < count; ++index) values[index] = rest[index];
}

// Rows of `columns` values, `stride` values apart. `Lanes` is the widest vector's.
template <Activation Function, int Lanes, typename Value>
void activate_as(int64_t rows, int64_t columns, Value* values, int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    Value* const own = values + row * stride;
    int64_t column = 0;
    for (; column + Lanes <= columns; column += Lanes) {
      store<Lanes>(own + column, activated<Function, Value, Lanes>(load<Lanes>(own + column)));
    }
    if (column < columns) activate_rest<Function, Lanes>(columns - column, own + column);
  }
}

template <int Lanes, typename Value>
void activate(Activation function, int64_t rows, int64_t columns, Value* values, int64_t stride) {
  if (function == Activation::kGelu) activate_as<Activation::kGelu, Lanes>(rows, columns, values, stride);
  if (function == Activation::kGeluTanh)
    activate_as<Activation::kGeluTanh, Lanes>(rows, columns, values, stride);
  if (function == Activation::kSilu) activate_as<Activation::kSilu, Lanes>(rows, columns, values, stride);
}

}  // namespace
}  // namespace blast_deploy::blast
