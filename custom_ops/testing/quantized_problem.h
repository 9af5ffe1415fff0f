// Quantised layers with numbers in them, and what they give: integers exactly, the rest in double precision.
// Inner values are chosen so that floats hold them exactly, and so that it is certain which integers they
// become when they are quantised; only the last sums are rounded.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "quantized/dense_layout.h"
#include "quantized/layout.h"
#include "runtime/activation.h"
#include "testing/blast_problem.h"

namespace blast_deploy::quantized {
namespace {

using Index = std::int64_t;

// A factor of so many rows, each with its scales.
struct Factor {
  Index rows;
  Index columns;
  Index block;  // columns that share a scale
  std::vector<std::int8_t> values = {};
  std::vector<float> scales = {};

  Index scales_of_row() const { return (columns + block - 1) / block; }
  double scale(Index row, Index column) const {
    return scales[static_cast<std::size_t>(row * scales_of_row() + column / block)];
  }
  double value(Index row, Index column) const {
    return values[static_cast<std::size_t>(row * columns + column)];
  }
};

class Numbers {
 public:
  explicit Numbers(unsigned seed) : random_(seed) {}

  Index between(Index first, Index last) {
    return std::uniform_int_distribution<Index>(first, last)(random_);
  }

  template <typename Value>
  std::vector<Value> many(Index count, Index first, Index last, Value unit) {
    std::vector<Value> values(static_cast<std::size_t>(count));
    for (Value& value : values) value = static_cast<Value>(static_cast<Value>(between(first, last)) * unit);
    return values;
  }

  Factor factor(Index rows, Index columns, const Format& format) {
    Factor made{rows, columns, format.bits == 8 ? columns : format.block_size};
    made.values =
        many<std::int8_t>(rows * columns, format.bits == 8 ? -127 : -8, format.bits == 8 ? 127 : 7, 1);
    made.scales = many<float>(rows * made.scales_of_row(), 1, 3, 0x1p-7F);
    return made;
  }

  // Rows whose groups of 32, counted from each multiple of `block` on, all have the greatest magnitude 127,
  // so that they are quantised without any change.
  std::vector<float> rows(Index count, Index width, Index block) {
    auto values = many<float>(count * width, -3, 3, 1);
    for (Index row = 0; row < count; ++row) {
      for (Index column = 0; column < width; ++column) {
        if (column % block % 32 == 0) {
          values[static_cast<std::size_t>(row * width + column)] = between(0, 1) == 0 ? 127.0F : -127.0F;
        }
      }
    }
    return values;
  }

 private:
  std::mt19937 random_;
};

struct Problem {
  Layout layout;
  Factor u, v;
  std::vector<std::int8_t> s;
  std::vector<float> bias, x;
  Index rows;
  std::vector<float> residual = {};  // rows x out_features, or nothing
  Activation activation = Activation::kNone;

  Factors factors() const {
    return {u.values.data(), u.scales.data(), s.data(), v.values.data(), v.scales.data()};
  }
};

struct DenseProblem {
  DenseLayout layout;
  Factor weight;
  std::vector<float> bias, x;
  Index rows;
};

inline Problem make_problem(const Sizes& sizes, const Format& format, Index rows) {
  Numbers numbers(static_cast<unsigned>(sizes.rank + rows));
  const Layout layout = plan(sizes, format);
  const auto& [m, n, b1, b2, rank] = sizes;
  return {layout,
          numbers.factor(b1 * layout.block_rows, rank, format),
          numbers.factor(b2 * rank, layout.block_columns, format),
          numbers.many<std::int8_t>(b1 * b2 * rank, -7, 7, 1),
          numbers.many<float>(m, -64, 64, 0x1p-3F),
          numbers.rows(rows, n, layout.block_columns),
          rows};
}

inline Problem with_residual(Problem problem) {
  problem.residual =
      Numbers(1).many<float>(problem.rows * problem.layout.sizes.out_features, -64, 64, 0x1p-3F);
  return problem;
}

inline DenseProblem make_dense_problem(const DenseSizes& sizes, const Format& format, Index rows) {
  Numbers numbers(static_cast<unsigned>(sizes.in_features + rows));
  return {plan_dense(sizes, format), numbers.factor(sizes.out_features, sizes.in_features, format),
          numbers.many<float>(sizes.out_features, -64, 64, 0x1p-3F),
          numbers.rows(rows, sizes.in_features, sizes.in_features), rows};
}

// A quantised row: integers, and the scale of each.
struct QuantizedRow {
  std::vector<double> integers, scales;
};

inline QuantizedRow quantized(const std::vector<float>& row) {
  QuantizedRow made;
  for (std::size_t first = 0; first < row.size(); first += 32) {
    float greatest = 0;
    bool is_finite = true;
    const std::size_t last = std::min(first + 32, row.size());
    for (std::size_t index = first; index < last; ++index) {
      is_finite = is_finite && std::isfinite(row[index]);
      greatest = std::max(greatest, std::abs(row[index]));
    }
    for (std::size_t index = first; index < last; ++index) {
      const volatile float inverse = 127.0F / greatest;  // rounded before it is used
      const volatile float product = row[index] * inverse;
      const bool is_zero = greatest < 1e-30F;
      made.integers.push_back(is_finite && !is_zero ? std::nearbyint(product) : 0);
      made.scales.push_back(!is_finite ? std::numeric_limits<double>::quiet_NaN()
                            : is_zero  ? 0
                                       : static_cast<double>(greatest) / 127);
    }
  }
  return made;
}

// A sum, and the same over absolute values for a bound on its rounding error.
struct Sum {
  double value = 0;
  double magnitude = 0;
};

inline Sum product(const QuantizedRow& row, const Factor& factor, Index factor_row) {
  Sum sum;
  for (std::size_t k = 0; k < row.integers.size(); ++k) {
    const auto column = static_cast<Index>(k);
    const double term =
        row.integers[k] * factor.value(factor_row, column) * row.scales[k] * factor.scale(factor_row, column);
    sum.value += term;
    sum.magnitude += std::abs(term);
  }
  return sum;
}

// What one row of X gives before bias and activation.
inline std::vector<Sum> expect_row(const Problem& problem, Index row) {
  const auto& [m, n, b1, b2, rank] = problem.layout.sizes;
  const Index p = problem.layout.block_rows;
  const Index q = problem.layout.block_columns;
  std::vector<QuantizedRow> x;
  for (Index j = 0; j < b2; ++j) {
    std::vector<float> values(static_cast<std::size_t>(std::max<Index>(0, std::min(q, n - j * q))));
    for (std::size_t k = 0; k < values.size(); ++k) {
      values[k] = problem.x[static_cast<std::size_t>(row * n + j * q) + k];
    }
    x.push_back(quantized(values));
  }
  std::vector<Sum> y;
  for (Index i = 0; i < b1; ++i) {
    std::vector<double> w(static_cast<std::size_t>(rank));
    for (Index j = 0; j < b2; ++j) {
      for (Index k = 0; k < rank; ++k) {
        w[static_cast<std::size_t>(k)] +=
            problem.s[static_cast<std::size_t>((i * b2 + j) * rank + k)] *
            product(x[static_cast<std::size_t>(j)], problem.v, j * rank + k).value;
      }
    }
    const QuantizedRow inner = quantized(std::vector<float>(w.begin(), w.end()));
    for (Index out = i * p; out < std::min((i + 1) * p, m); ++out)
      y.push_back(product(inner, problem.u, out));
  }
  return y;
}

inline std::vector<Sum> expect(const Problem& problem) {
  std::vector<Sum> y;
  const Index m = problem.layout.sizes.out_features;
  for (Index row = 0; row < problem.rows; ++row) {
    const std::vector<Sum> sums = expect_row(problem, row);
    for (Index out = 0; out < m; ++out) {
      Sum sum = sums[static_cast<std::size_t>(out)];
      const double bias = problem.bias[static_cast<std::size_t>(out)];
      sum.value = blast::activated(problem.activation, sum.value + bias);
      // No function here is steeper than 1.2.
      sum.magnitude = 1.2 * (sum.magnitude + std::abs(bias));
      if (!problem.residual.empty()) {
        const double residual = problem.residual[static_cast<std::size_t>(row * m + out)];
        sum.value += residual;
        sum.magnitude += std::abs(residual);
      }
      y.push_back(sum);
    }
  }
  return y;
}

inline std::vector<Sum> expect(const DenseProblem& problem) {
  std::vector<Sum> y;
  const auto& [m, n] = problem.layout.sizes;
  for (Index row = 0; row < problem.rows; ++row) {
    const auto first = problem.x.begin() + row * n;
    const QuantizedRow x = quantized(std::vector<float>(first, first + n));
    for (Index out = 0; out < m; ++out) {
      Sum sum = product(x, problem.weight, out);
      const double bias = problem.bias[static_cast<std::size_t>(out)];
      y.push_back({sum.value + bias, sum.magnitude + std::abs(bias)});
    }
  }
  return y;
}

// Whether floats are within the rounding error of a chain of that many operations; NaN where it must be.
inline bool is_close(const std::vector<Sum>& expected, const std::vector<float>& y, Index operations) {
  if (y.size() != expected.size()) return false;
  const double unit = static_cast<double>(operations + 8) * std::numeric_limits<float>::epsilon();
  for (std::size_t index = 0; index < y.size(); ++index) {
    const auto& [value, magnitude] = expected[index];
    if (std::isnan(value) && std::isnan(y[index])) continue;
    if (!(std::abs(y[index] - value) <= unit * magnitude)) return false;
  }
  return true;
}

inline bool is_right(const Problem& problem, const std::vector<float>& y) {
  return is_close(expect(problem), y, 3 * problem.layout.chunks);
}
inline bool is_right(const DenseProblem& problem, const std::vector<float>& y) {
  return is_close(expect(problem), y, 3 * divide_up(problem.layout.sizes.in_features, kGroup));
}

}  // namespace
}  // namespace blast_deploy::quantized
