// Every kernel that this machine can run, against sums in double precision.
#include "blast/kernel.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "blast/layout.h"
#include "blast/linear.h"
#include "runtime/half.h"
#include "testing/check.h"

namespace blast_deploy::blast {
namespace {

using Index = std::int64_t;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

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

void narrow(float value, float* to) { *to = value; }
void narrow(float value, double* to) { *to = value; }

double widened(double value) { return value; }
double widened(float value) { return value; }
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

// Values full of NaN, `offset` values past the start of a cache line, with nothing after the last.
template <typename Value>
class Buffer {
 public:
  explicit Buffer(Index size, Index offset = 0) : offset_(offset) {
    void* memory = nullptr;
    const auto bytes = static_cast<std::size_t>(size + offset) * sizeof(Value);
    if (posix_memalign(&memory, 64, bytes) != 0) throw std::bad_alloc();
    memory_.reset(static_cast<Value*>(memory));
    Value nan{};
    narrow(kNan, &nan);
    std::fill_n(memory_.get(), size + offset, nan);
  }
  Value* data() { return memory_.get() + offset_; }

 private:
  struct Free {
    void operator()(Value* memory) const { std::free(memory); }
  };
  std::unique_ptr<Value, Free> memory_;
  Index offset_;
};

struct Problem {
  Layout layout;
  std::vector<float> u, s, v, bias, x;
  Index rows;
};

// Numbers of few bits, which every element type stores exactly.
Problem make_problem(const Sizes& sizes, Index rows) {
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

// y and, for a bound on its rounding error, the same sum over absolute values.
struct Expected {
  std::vector<double> y, magnitude;
};

Expected expect(const Problem& problem) {
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
      expected.y.push_back(sum);
      expected.magnitude.push_back(magnitude);
    }
  }
  return expected;
}

// The problem's tensors at one element type, the factors packed.
template <typename Value>
struct Operands {
  Buffer<Value> packed;
  std::vector<Value> bias, x;

  explicit Operands(const Problem& problem, Index misalignment = 0)
      : packed(problem.layout.size, misalignment),
        bias(stored<Value>(problem.bias)),
        x(stored<Value>(problem.x)) {
    pack(problem.layout, sizeof(Value), stored<Value>(problem.u).data(), stored<Value>(problem.s).data(),
         stored<Value>(problem.v).data(), packed.data());
  }
};

template <typename Value>
std::vector<Value> fresh_output(const Problem& problem) {
  Value nan{};
  narrow(kNan, &nan);
  return std::vector<Value>(static_cast<std::size_t>(problem.rows * problem.layout.sizes.out_features), nan);
}

template <typename Value>
std::vector<double> widened_all(const std::vector<Value>& values) {
  std::vector<double> all;
  for (const Value& value : values) all.push_back(widened(value));
  return all;
}

template <ElementType Type>
std::vector<double> run_typed(InstructionSet set, const Problem& problem, Index misalignment) {
  using Value = typename StoredOf<Type>::Value;
  const Kernel& kernel = kernel_for(set, Type);
  Operands<Value> operands(problem, misalignment);
  Buffer<double> scratch(
      divide_up(kernel.scratch_bytes(problem.layout, problem.rows), static_cast<Index>(sizeof(double))),
      misalignment);
  std::vector<Value> y = fresh_output<Value>(problem);
  kernel.multiply(problem.layout, {operands.packed.data(), operands.bias.data(), operands.x.data(),
                                   problem.rows, y.data(), scratch.data()});
  return widened_all(y);
}

template <ElementType Type>
std::vector<double> run_in_tiles(InstructionSet set, const Problem& problem) {
  using Value = typename StoredOf<Type>::Value;
  Operands<Value> operands(problem);
  const Linear linear{problem.layout, &kernel_for(set, Type)};
  const Tiling tiling = tile_rows(problem.rows);
  CHECK(tiling.tiles > 1);
  std::vector<Value> y = fresh_output<Value>(problem);
  std::vector<char> scratch(linear.scratch_bytes(tiling));
  for (Index tile = tiling.tiles - 1; tile >= 0; --tile) {
    linear.multiply(tiling, tile, operands.packed.data(), operands.bias.data(), operands.x.data(), y.data(),
                    scratch.data());
  }
  return widened_all(y);
}

// One kernel that this machine can run.
struct Subject {
  const char* name;
  InstructionSet set;
  double epsilon;   // of what it computes with
  double rounding;  // of what it stores, half a unit in the last place; 0 where it computes with that
  std::vector<double> (*typed)(InstructionSet, const Problem&, Index);
  std::vector<double> (*tiled)(InstructionSet, const Problem&);

  // Runs on all rows as one tile, in scratch memory full of NaN, and returns y.
  std::vector<double> run(const Problem& problem, Index misalignment = 0) const {
    return typed(set, problem, misalignment);
  }
};

std::vector<Subject> subjects() {
  constexpr double kFloatEpsilon = std::numeric_limits<float>::epsilon();
  constexpr double kDoubleEpsilon = std::numeric_limits<double>::epsilon();
  std::vector<Subject> all;
  for (const InstructionSet set : instruction_sets()) {
    all.push_back(
        {"float", set, kFloatEpsilon, 0, run_typed<ElementType::kFloat>, run_in_tiles<ElementType::kFloat>});
    all.push_back({"double", set, kDoubleEpsilon, 0, run_typed<ElementType::kDouble>,
                   run_in_tiles<ElementType::kDouble>});
    all.push_back({"float16", set, kFloatEpsilon, 0x1p-11, run_typed<ElementType::kFloat16>,
                   run_in_tiles<ElementType::kFloat16>});
    all.push_back({"bfloat16", set, kFloatEpsilon, 0x1p-8, run_typed<ElementType::kBfloat16>,
                   run_in_tiles<ElementType::kBfloat16>});
  }
  return all;
}

// Rounding errors of a chain of n operations stay below n eps times the sum of magnitudes; what is stored
// narrower is rounded once more.
bool is_close(const Subject& subject, const Problem& problem, const std::vector<double>& y) {
  const Expected expected = expect(problem);
  const Sizes& sizes = problem.layout.sizes;
  const double operations =
      static_cast<double>(problem.layout.block_columns + sizes.blocks_in + sizes.rank + 4);
  // The truth's own sums in double precision err as well.
  const double unit = operations * (subject.epsilon + std::numeric_limits<double>::epsilon());
  constexpr double kSmallestFloat16 = 0x1p-24;
  for (std::size_t index = 0; index < y.size(); ++index) {
    const double before = unit * expected.magnitude[index];
    const double rounding = subject.rounding * (std::abs(expected.y[index]) + before + kSmallestFloat16);
    if (!(std::abs(y[index] - expected.y[index]) <= before + rounding)) return false;
  }
  return y.size() == expected.y.size();
}

const std::vector<Sizes> kSizes = {
    {1, 1, 1, 1, 1},        // smallest
    {1, 7, 1, 3, 2},        // one output
    {7, 5, 3, 4, 1},        // rank 1, more blocks than divide, the last block column of in_features empty
    {3, 4, 5, 6, 2},        // more blocks than rows and columns
    {97, 101, 5, 3, 13},    // primes, b1 != b2
    {40, 300, 1, 1, 17},    // low rank; a block column of several segments
    {66, 70, 2, 7, 31},     // panels of 32 and 8
    {72, 48, 3, 2, 24},     // panels of 16 and 8
    {50, 34, 9, 2, 161},    // two chunks of the rank; an odd number of block rows
    {20, 90, 2, 45, 3},     // narrow block columns, many to a group of x
    {130, 600, 2, 2, 300},  // three chunks, segments, partial panels
    {384, 384, 4, 4, 94},   // MiniLM attention
};

const std::vector<Index> kRowCounts = {1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 16, 29, 70};

TEST(kernels_agree_with_double_precision) {
  for (const Subject& subject : subjects()) {
    for (const Sizes& sizes : kSizes) {
      for (const Index rows : kRowCounts) {
        const Problem problem = make_problem(sizes, rows);
        const bool close = is_close(subject, problem, subject.run(problem));
        if (!close) {
          std::fprintf(stderr, "%s, %s, %ldx%ld, rank %ld, %ld rows\n", to_string(subject.set), subject.name,
                       static_cast<long>(sizes.out_features), static_cast<long>(sizes.in_features),
                       static_cast<long>(sizes.rank), static_cast<long>(rows));
        }
        CHECK(close);
      }
    }
  }
}

TEST(a_row_does_not_depend_on_its_neighbours) {
  for (const Subject& subject : subjects()) {
    for (const Sizes& sizes : kSizes) {
      const Problem problem = make_problem(sizes, 17);
      const std::vector<double> together = subject.run(problem);
      for (Index row = 0; row < problem.rows; ++row) {
        Problem alone = problem;
        alone.rows = 1;
        alone.x.assign(problem.x.begin() + row * sizes.in_features,
                       problem.x.begin() + (row + 1) * sizes.in_features);
        const std::vector<double> y = subject.run(alone);
        CHECK(std::equal(y.begin(), y.end(), together.begin() + row * sizes.out_features));
      }
    }
  }
}

TEST(alignment_changes_nothing) {
  const Problem problem = make_problem({97, 101, 5, 3, 13}, 9);
  for (const Subject& subject : subjects()) CHECK(subject.run(problem) == subject.run(problem, 1));
}

TEST(padding_of_the_factors_is_never_read) {
  const Sizes sizes{97, 101, 5, 3, 13};
  Problem problem = make_problem(sizes, 5);
  Problem poisoned = problem;
  const Index p = problem.layout.block_rows;
  const Index q = problem.layout.block_columns;
  for (Index row = sizes.out_features; row < sizes.blocks_out * p; ++row) {
    for (Index k = 0; k < sizes.rank; ++k) poisoned.u[row * sizes.rank + k] = kNan;
  }
  for (Index k = 0; k < sizes.rank; ++k) {
    for (Index column = sizes.in_features - (sizes.blocks_in - 1) * q; column < q; ++column) {
      poisoned.v[((sizes.blocks_in - 1) * sizes.rank + k) * q + column] = kNan;
    }
  }
  CHECK(poisoned.u.back() != poisoned.u.back() && poisoned.v.back() != poisoned.v.back());
  for (const Subject& subject : subjects()) CHECK(subject.run(poisoned) == subject.run(problem));
}

TEST(infinities_stay_in_their_row) {
  Problem problem = make_problem({97, 101, 5, 3, 13}, 3);
  problem.x[101 + 50] = std::numeric_limits<float>::infinity();
  for (const Subject& subject : subjects()) {
    const std::vector<double> y = subject.run(problem);
    for (Index column = 0; column < 97; ++column) {
      CHECK(std::isfinite(y[column]) && std::isfinite(y[2 * 97 + column]));
      CHECK(!std::isfinite(y[97 + column]));
    }
  }
}

TEST(tiles_cover_all_rows_once) {
  for (Index rows = 0; rows < 500; ++rows) {
    const Tiling tiling = tile_rows(rows);
    Index covered = 0;
    for (Index tile = 0; tile < tiling.tiles; ++tile) {
      CHECK(tiling.rows_of(tile) > 0 && tiling.rows_of(tile) <= tiling.tile_rows);
      covered += tiling.rows_of(tile);
    }
    CHECK(covered == rows);
    CHECK(tiling.tiles <= 1 || tiling.tiles % 2 == 0);
  }
}

TEST(tiles_give_what_one_tile_gives) {
  const Problem problem = make_problem({97, 101, 5, 3, 13}, 201);
  for (const Subject& subject : subjects()) {
    CHECK(subject.tiled(subject.set, problem) == subject.run(problem));
  }
}

}  // namespace
}  // namespace blast_deploy::blast

RUN_TESTS()
