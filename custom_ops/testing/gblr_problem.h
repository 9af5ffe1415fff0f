// Random GBLR layers and their truth in double precision, from the definition.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "gblr/layout.h"
#include "gblr/linear.h"
#include "runtime/activation.h"

namespace blast_deploy::gblr {

// One side of a matrix, with memory of its own.
struct Side {
  std::vector<float> values;
  std::vector<std::int64_t> starts;
  std::vector<std::int64_t> widths;

  Factor factor() const { return {values.data(), starts.data(), widths.data()}; }
};

struct Problem {
  Sizes sizes;
  Side u;
  Side v;
  std::vector<float> bias;
  std::vector<float> x;
  std::vector<float> residual;  // empty where there is none
  std::int64_t rows;
  Activation activation = Activation::kNone;

  std::vector<char> packed() const {
    const Layout layout = plan(sizes, u.factor(), v.factor());
    std::vector<char> bytes(static_cast<std::size_t>(layout.size));
    pack(sizes, u.factor(), v.factor(), bytes.data());
    return bytes;
  }
};

// How wide intervals are.
enum class Widths { kAny, kOne, kFull };

inline std::vector<float> normal(std::mt19937& random, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::normal_distribution<float> distribution;
  for (float& value : values) value = distribution(random);
  return values;
}

inline Side make_side(std::mt19937& random, std::int64_t components, std::int64_t size, Widths kind) {
  Side side;
  std::int64_t count = 0;
  for (std::int64_t k = 0; k < components; ++k) {
    std::int64_t width = std::uniform_int_distribution<std::int64_t>(1, size)(random);
    if (kind == Widths::kOne) width = 1;
    if (kind == Widths::kFull) width = size;
    side.starts.push_back(std::uniform_int_distribution<std::int64_t>(0, size - 1)(random));
    side.widths.push_back(width);
    count += width;
  }
  side.values = normal(random, count);
  return side;
}

inline Problem make_problem(const Sizes& sizes, std::int64_t rows, Widths kind = Widths::kAny,
                            unsigned seed = 0) {
  std::mt19937 random(seed);
  Problem problem{sizes, {}, {}, {}, {}, {}, rows};
  problem.u = make_side(random, sizes.components, sizes.out_features, kind);
  problem.v = make_side(random, sizes.components, sizes.in_features, kind);
  problem.bias = normal(random, sizes.out_features);
  problem.x = normal(random, rows * sizes.in_features);
  return problem;
}

// Entry by entry, and the sum of magnitudes that errors are measured by.
struct Truth {
  std::vector<double> y;
  std::vector<double> magnitude;
};

inline Truth truth_of(const Problem& problem) {
  const auto& [m, n, components] = problem.sizes;
  Truth truth;
  for (std::int64_t row = 0; row < problem.rows; ++row) {
    std::vector<double> y(problem.bias.begin(), problem.bias.end());
    std::vector<double> magnitude(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) magnitude[i] = std::fabs(y[i]);
    std::size_t u = 0;
    std::size_t v = 0;
    for (std::size_t k = 0; k < static_cast<std::size_t>(components); ++k) {
      double t = 0;
      double t_magnitude = 0;
      for (std::int64_t step = 0; step < problem.v.widths[k]; ++step, ++v) {
        const std::int64_t column = (problem.v.starts[k] + step) % n;
        const double product =
            double{problem.v.values[v]} * double{problem.x[static_cast<std::size_t>(row * n + column)]};
        t += product;
        t_magnitude += std::fabs(product);
      }
      for (std::int64_t step = 0; step < problem.u.widths[k]; ++step, ++u) {
        const auto entry = static_cast<std::size_t>((problem.u.starts[k] + step) % m);
        y[entry] += double{problem.u.values[u]} * t;
        magnitude[entry] += std::fabs(double{problem.u.values[u]}) * t_magnitude;
      }
    }
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (problem.activation == Activation::kSilu) y[i] = y[i] / (1 + std::exp(-y[i]));
      if (!problem.residual.empty()) {
        const double residual = problem.residual[static_cast<std::size_t>(row * m) + i];
        y[i] += residual;
        magnitude[i] += std::fabs(residual);
      }
    }
    truth.y.insert(truth.y.end(), y.begin(), y.end());
    truth.magnitude.insert(truth.magnitude.end(), magnitude.begin(), magnitude.end());
  }
  return truth;
}

// Whether every value is within the bound of sums of so many terms; NaN is not.
inline bool is_right(const Problem& problem, const std::vector<float>& y) {
  const Truth truth = truth_of(problem);
  if (y.size() != truth.y.size()) return false;
  const double terms = static_cast<double>(problem.sizes.in_features + problem.sizes.components + 20);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double allowed = terms * 0x1p-24 * 1.01 * truth.magnitude[i];
    if (!(std::fabs(double{y[i]} - truth.y[i]) <= allowed)) return false;
  }
  return true;
}

}  // namespace blast_deploy::gblr
