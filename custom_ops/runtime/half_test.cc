// Every number of 16 bits, against its value by the definition of the format.
#include "runtime/half.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "testing/check.h"

namespace blast_deploy {
namespace {

// What the formats are: a sign, an exponent with its bias, and a fraction.
double value_of(std::uint16_t bits, int fraction_bits, int bias) {
  const int exponent_bits = 15 - fraction_bits;
  const int exponent = (bits & 0x7fff) >> fraction_bits;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
}

double value_of(Half number) { return value_of(number.bits, 10, 15); }
double value_of(Bfloat16 number) { return value_of(number.bits, 7, 127); }

template <typename Number>
bool widens_exactly(Number number, float found) {
  const double expected = value_of(number);
  if (std::isnan(expected)) return std::isnan(found);
  return found == expected && std::signbit(found) == std::signbit(expected);
}

template <typename Number>
Number narrowed(float value) {
  Number number{};
  narrow(value, &number);
  return number;
}

template <typename Number>
void check_every_number() {
  for (unsigned bits = 0; bits <= 0xffff; ++bits) {
    const Number number{static_cast<std::uint16_t>(bits)};
    Number four[4] = {number, number, number, number};
    const Vector<float, 4> wide = widen<4>(four);
    for (int lane = 0; lane < 4; ++lane) CHECK(widens_exactly(number, wide[lane]));
    if (std::isnan(value_of(number))) {
      CHECK(std::isnan(value_of(narrowed<Number>(wide[0]))));
    } else {
      CHECK(narrowed<Number>(wide[0]).bits == bits);
    }
  }
}

// The nearest number is one of the two around the value; of two equally near ones the even.
template <typename Number>
bool is_nearest(float value, float largest, float first_infinite) {
  const Number found = narrowed<Number>(value);
  if (std::abs(value) >= first_infinite) return std::isinf(value_of(found));
  const double distance = std::abs(value_of(found) - value);
  for (const int step : {-1, 1}) {
    const auto bits = static_cast<std::uint16_t>(found.bits + step);
    if ((found.bits & 0x7fff) == 0 && step < 0) continue;
    const double other = value_of(Number{bits});
    if (!std::isfinite(other) || std::abs(other) > largest) continue;
    const double other_distance = std::abs(other - value);
    if (other_distance < distance || (other_distance == distance && found.bits % 2 != 0)) return false;
  }
  return std::signbit(value_of(found)) == std::signbit(value);
}

TEST(every_float16_is_widened_and_narrowed_exactly) { check_every_number<Half>(); }
TEST(every_bfloat16_is_widened_and_narrowed_exactly) { check_every_number<Bfloat16>(); }

TEST(the_portable_way_to_widen_float16_is_exact_too) {
  for (unsigned bits = 0; bits <= 0xffff; ++bits) {
    const Half number{static_cast<std::uint16_t>(bits)};
    Half four[4] = {number, number, number, number};
    CHECK(widens_exactly(number, widen_by_parts<4>(four)[3]));
  }
}

TEST(floats_are_rounded_to_the_nearest) {
  std::mt19937 random(1);
  for (int count = 0; count < 300000; ++count) {
    const std::uint32_t bits = random();
    float value = 0;
    memcpy(&value, &bits, sizeof value);
    if (std::isnan(value)) continue;
    CHECK(is_nearest<Half>(value, 65504.0F, 65520.0F));
    CHECK(is_nearest<Bfloat16>(value, 0x1.fep127F, 0x1.ffp127F));
    // Near the range of float16, where nearly all of these would be out of it.
    const float scaled = std::ldexp(value, -std::ilogb(value) + static_cast<int>(random() % 44) - 26);
    if (std::isfinite(scaled)) CHECK(is_nearest<Half>(scaled, 65504.0F, 65520.0F));
  }
}

TEST(ties_go_to_the_even_number) {
  CHECK(narrowed<Half>(1.0F + 0x1p-11F).bits == 0x3c00);
  CHECK(narrowed<Half>(1.0F + 3 * 0x1p-11F).bits == 0x3c02);
  CHECK(narrowed<Half>(0x1p-25F).bits == 0);
  CHECK(narrowed<Half>(3 * 0x1p-25F).bits == 2);
  CHECK(narrowed<Half>(65519.0F).bits == 0x7bff);
  CHECK(narrowed<Half>(-65520.0F).bits == 0xfc00);
  CHECK(narrowed<Bfloat16>(1.0F + 0x1p-8F).bits == 0x3f80);
  CHECK(narrowed<Bfloat16>(1.0F + 3 * 0x1p-8F).bits == 0x3f82);
}

}  // namespace
}  // namespace blast_deploy

RUN_TESTS()
