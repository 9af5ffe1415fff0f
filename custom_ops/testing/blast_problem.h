// A BLAST layer with numbers in it, at any element type, and what it gives in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "blast/layout.h"
#include "runtime/activation.h"
#include "runtime/element_type.h"
#include "runtime/half.h"

namespace blast_deploy::blast {
namespace {

using Index = std::int64_t;

// How a float is stored at an element type.
template <ElementType Type>
struct StoredOf {
  using Value = float;
};
template <>
struct StoredOf<ElementType::kDouble> {
  using Value = double;
};
template <>
struct StoredOf<ElementType::kFloat16> {
  using Value = Half;
};
template <>
struct StoredOf<ElementType::kBfloat16> {
  using Value = Bfloat16;
};

inline void narrow(float value, float* to) { *to = value; }
inline void narrow(float value, double* to) { *to = value; }

inline double widened(double value) { return value; }
inline double widened(float value) { return value; }
template <typename Number>
double widened(Number number) {
  const Number four[4] = {number, number, number, number};
  return widen<4>(four)[0];
}

template <typename Value>
std::vector<Value> stored(const std::vector<float>& values) {
  std::vector<Value> all(values.size());
  for (std::size_t index = 0; index < values.size(); ++index) narrow(values[index], &all[index]);
  return all;
}

struct Problem {
  Layout layout;
  std::vector<float> u, s, v, bias, x;
  Index rows;
  std::vector<float> residual = {};  // rows x out_features, or nothing
  Activation activation = Activation::kNone;
};

// Numbers of few bits, which every element type stores exactly.
inline Problem make_problem(const Sizes& sizes, Index rows) {
  std::mt19937 random(static_cast<unsigned>(sizes.rank + rows));
  std::uniform_int_distribution<int> uniform(-64, 64);
  const auto fill = [&](Index count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = static_cast<float>(uniform(random)) / 64.0F;
    return values;
  };
  const Layout layout = plan(sizes);
  const auto& [m, n, b1, b2, rank] = sizes;
  return {layout,
          fill(b1 * layout.block_rows * rank),
          fill(b1 * b2 * rank),
          fill(b2 * rank * layout.block_columns),
          fill(m),
          fill(rows * n),
          rows};
}

inline Problem with_residual(Problem problem) {
  std::mt19937 random(1);
  std::uniform_int_distribution<int> uniform(-64, 64);
  problem.residual.resize(static_cast<std::size_t>(problem.rows * problem.layout.sizes.out_features));
  for (float& value : problem.residual) value = static_cast<float>(uniform(random)) / 8.0F;
  return problem;
}

inline double activated(Activation activation, double x) {
  const double z = 2 * std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x);
  if (activation == Activation::kGelu) return x * std::erfc(-x / std::sqrt(2.0)) / 2;
  if (activation == Activation::kGeluTanh) return x / (1 + std::exp(-z));
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  return x;
}

// y and, for a bound on its rounding error, the same sum over absolute values.
struct Expected {
  std::vector<double> y, magnitude;
};

inline Expected expect(const Problem& problem) {
  const Sizes& sizes = problem.layout.sizes;
  const Index p = problem.layout.block_rows;
  const Index q = problem.layout.block_columns;
  Expected expected;
  std::vector<double> z(static_cast<std::size_t>(sizes.blocks_in * sizes.rank)), absolute_z(z.size());
  for (Index row = 0; row < problem.rows; ++row) {
    for (Index k = 0; k < sizes.blocks_in * sizes.rank; ++k) {
      const Index first = k / sizes.rank * q;
      double sum = 0, magnitude = 0;
      for (Index column = 0; column < q && first + column < sizes.in_features; ++column) {
        const double term = static_cast<double>(problem.v[k * q + column]) *
                            problem.x[row * sizes.in_features + first + column];
        sum += term;
        magnitude += std::abs(term);
      }
      z[k] = sum;
      absolute_z[k] = magnitude;
    }
    for (Index out = 0; out < sizes.out_features; ++out) {
      const Index i = out / p;
      double sum = problem.bias[out], magnitude = std::abs(sum);
      for (Index k = 0; k < sizes.rank; ++k) {
        const double u = problem.u[(i * p + out % p) * sizes.rank + k];
        for (Index j = 0; j < sizes.blocks_in; ++j) {
          const double factor = u * problem.s[(i * sizes.blocks_in + j) * sizes.rank + k];
          sum += factor * z[j * sizes.rank + k];
          magnitude += std::abs(factor) * absolute_z[j * sizes.rank + k];
        }
      }
      // No function here is steeper than 1.2.
      if (problem.activation != Activation::kNone) magnitude *= 1.2;
      sum = activated(problem.activation, sum);
      if (!problem.residual.empty()) {
        const double residual = problem.residual[row * sizes.out_features + out];
        sum += residual;
        magnitude += std::abs(residual);
      }
      expected.y.push_back(sum);
      expected.magnitude.push_back(magnitude);
    }
  }
  return expected;
}

// Rounding errors of a chain of n operations stay below n epsilon times the sum of magnitudes; what is stored
// narrower than it is computed is rounded once more, by `rounding` of its size. The truth errs in double.
inline bool is_close(const Expected& expected, const Layout& layout, const std::vector<double>& y,
                     double epsilon, double rounding) {
  const double operations =
      static_cast<double>(layout.block_columns + layout.sizes.blocks_in + layout.sizes.rank + 4);
  const double unit = operations * (epsilon + std::numeric_limits<double>::epsilon());
  constexpr double kSmallestFloat16 = 0x1p-24;
  for (std::size_t index = 0; index < y.size(); ++index) {
    const double before = unit * expected.magnitude[index];
    const double allowed = before + rounding * (std::abs(expected.y[index]) + before + kSmallestFloat16);
    if (!(std::abs(y[index] - expected.y[index]) <= allowed)) return false;
  }
  return y.size() == expected.y.size();
}

}  // namespace
}  // namespace blast_deploy::blast
