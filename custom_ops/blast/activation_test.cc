// The activation functions against their definitions in long double.
#include "blast/kernel/activation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "testing/check.h"

namespace blast_deploy::blast {
namespace {

using Exact = long double (*)(long double);

long double exact_gelu(long double x) { return x * std::erfc(-x / std::sqrt(2.0L)) / 2; }

// With tanh(z / 2) = 1 - 2 / (1 + exp(z)), which does not cancel.
long double exact_gelu_tanh(long double x) {
  const long double z = 2 * std::sqrt(2 / 3.14159265358979323846264338L) * (x + 0.044715L * x * x * x);
  return x / (1 + std::exp(-z));
}

long double exact_silu(long double x) { return x / (1 + std::exp(-x)); }

template <Activation Function, typename Value>
Value apply(Value x) {
  constexpr int lanes = 16 / static_cast<int>(sizeof(Value));
  Value values[lanes];
  std::fill_n(values, lanes, x);
  activate<lanes>(Function, 1, lanes, values, lanes);
  return values[0];
}

// The largest error in units in the last place of the exact value, over values of both signs and all sizes.
template <Activation Function, typename Value>
double worst_error(Exact exact, double largest) {
  double worst = 0;
  constexpr int kSteps = 40000;
  for (int step = 0; step <= kSteps; ++step) {
    const double size = largest * std::pow(2.0, -30.0 * step / kSteps);
    for (const double sign : {-1.0, 1.0}) {
      const auto x = static_cast<Value>(sign * size);
      const long double truth = exact(x);
      if (std::abs(truth) < std::numeric_limits<Value>::min()) continue;
      const Value rounded = std::abs(static_cast<Value>(truth));
      const Value unit = std::nextafter(rounded, std::numeric_limits<Value>::infinity()) - rounded;
      worst = std::max(worst, static_cast<double>(std::abs(apply<Function>(x) - truth) / unit));
    }
  }
  return worst;
}

TEST(values_are_right_to_some_units_in_the_last_place) {
  CHECK((worst_error<Activation::kGelu, float>(exact_gelu, 14) < 10));
  CHECK((worst_error<Activation::kGelu, double>(exact_gelu, 38) < 10));
  CHECK((worst_error<Activation::kSilu, float>(exact_silu, 100) < 10));
  CHECK((worst_error<Activation::kSilu, double>(exact_silu, 700) < 10));
}

// The argument of its exponential function is rounded, and an error there grows with the argument.
TEST(gelu_tanh_is_right_where_its_exponent_is_small) {
  CHECK((worst_error<Activation::kGeluTanh, float>(exact_gelu_tanh, 3) < 16));
  CHECK((worst_error<Activation::kGeluTanh, double>(exact_gelu_tanh, 3) < 16));
  CHECK((worst_error<Activation::kGeluTanh, float>(exact_gelu_tanh, 9) < 130));
}

template <Activation Function, typename Value>
void check_limits() {
  constexpr Value infinity = std::numeric_limits<Value>::infinity();
  constexpr Value largest = std::numeric_limits<Value>::max();
  CHECK(apply<Function>(infinity) == infinity);
  CHECK(apply<Function>(largest) == largest);
  CHECK(apply<Function>(-largest) == 0 && std::signbit(apply<Function>(-largest)));
  CHECK(std::isnan(apply<Function>(std::numeric_limits<Value>::quiet_NaN())));
  CHECK(apply<Function>(Value{0}) == 0 && !std::signbit(apply<Function>(Value{0})));
  CHECK(apply<Function>(-Value{0}) == 0 && std::signbit(apply<Function>(-Value{0})));
}

TEST(limits_and_zeros_are_those_of_the_exact_functions) {
  check_limits<Activation::kGelu, float>();
  check_limits<Activation::kGelu, double>();
  check_limits<Activation::kGeluTanh, float>();
  check_limits<Activation::kGeluTanh, double>();
  check_limits<Activation::kSilu, float>();
  check_limits<Activation::kSilu, double>();
}

TEST(rows_of_any_width_are_covered_and_nothing_else) {
  constexpr int kWidest = 21;
  for (int columns = 1; columns < kWidest; ++columns) {
    std::vector<float> values(3 * kWidest, 2.0F);
    activate<4>(Activation::kSilu, 3, columns, values.data(), kWidest);
    for (int index = 0; index < 3 * kWidest; ++index) {
      const bool inside = index % kWidest < columns;
      CHECK(values[index] == (inside ? apply<Activation::kSilu>(2.0F) : 2.0F));
    }
  }
}

TEST(names_are_those_of_the_contract) {
  CHECK(activation_named("none") == Activation::kNone);
  CHECK(activation_named("gelu_tanh") == Activation::kGeluTanh);
  bool refused = false;
  try {
    activation_named("relu");
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused);
}

}  // namespace
}  // namespace blast_deploy::blast

RUN_TESTS()
