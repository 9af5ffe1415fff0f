// A dense layer with numbers in it, at any element type, and what it gives in double precision.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "dense/layout.h"
#include "testing/blast_problem.h"

namespace blast_deploy::dense {
namespace {

using blast::Index;

struct Problem {
  Layout layout;
  std::vector<float> weight, bias, x;
  Index rows;
};

// Numbers of few bits, which every element type stores exactly.
inline Problem make_problem(Index out_features, Index in_features, Index rows) {
  std::mt19937 random(static_cast<unsigned>(out_features + rows));
  std::uniform_int_distribution<int> uniform(-64, 64);
  const auto fill = [&](Index count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = static_cast<float>(uniform(random)) / 64.0F;
    return values;
  };
  return {plan(out_features, in_features), fill(out_features * in_features), fill(out_features),
          fill(rows * in_features), rows};
}

// Whether y is X W^T + bias up to the rounding of a chain of additions with `epsilon`, and once more by
// `rounding` of its size where it is stored narrower than it is computed.
inline bool is_close(const Problem& problem, const std::vector<double>& y, double epsilon, double rounding) {
  const auto& [m, n, segment, size] = problem.layout;
  if (y.size() != static_cast<std::size_t>(problem.rows * m)) return false;
  for (Index row = 0; row < problem.rows; ++row) {
    for (Index out = 0; out < m; ++out) {
      double sum = problem.bias[out];
      double magnitude = std::abs(sum);
      for (Index k = 0; k < n; ++k) {
        const double term = double{problem.x[row * n + k]} * problem.weight[out * n + k];
        sum += term;
        magnitude += std::abs(term);
      }
      const double before =
          static_cast<double>(n + 4) * (epsilon + std::numeric_limits<double>::epsilon()) * magnitude;
      constexpr double kSmallestFloat16 = 0x1p-24;
      const double allowed = before + rounding * (std::abs(sum) + before + kSmallestFloat16);
      if (!(std::abs(y[row * m + out] - sum) <= allowed)) return false;
    }
  }
  return true;
}

}  // namespace
}  // namespace blast_deploy::dense
