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
#include "testing/blast_problem.h"
#include "testing/check.h"

namespace blast_deploy::blast {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

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

// The problem's tensors at one element type, the factors packed.
template <typename Value>
struct Tensors {
  const void* residual_data() const { return residual.empty() ? nullptr : residual.data(); }

  Buffer<Value> packed;
  std::vector<Value> bias, x, residual;

  explicit Tensors(const Problem& problem, Index misalignment = 0)
      : packed(problem.layout.size, misalignment),
        bias(stored<Value>(problem.bias)),
        x(stored<Value>(problem.x)),
        residual(stored<Value>(problem.residual)) {
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
std::vector<double> run_typed(InstructionSet set, const Problem& problem, Index misalignment,
                              const Cut& cut) {
  using Value = typename StoredOf<Type>::Value;
  const Kernel& kernel = kernel_for(set, Type);
  Tensors<Value> tensors(problem, misalignment);
  Buffer<double> scratch(
      divide_up(kernel.scratch_bytes(problem.layout, problem.rows, cut), static_cast<Index>(sizeof(double))),
      misalignment);
  std::vector<Value> y = fresh_output<Value>(problem);
  const Tile tile{tensors.packed.data(), tensors.bias.data(), tensors.x.data(),        problem.rows,
                  problem.rows,          problem.activation,  tensors.residual_data(), y.data(),
                  scratch.data()};
  // The last share first: none may need what another of its phase does.
  for (Index chunk = 0; chunk < problem.layout.chunks; chunk += cut.chunks) {
    for (const auto phase : {kernel.project, kernel.combine}) {
      for (Index share = cut.shares; share > 0; --share) phase(problem.layout, tile, {cut, share - 1, chunk});
    }
  }
  return widened_all(y);
}

template <ElementType Type>
std::vector<double> run_in_tiles(InstructionSet set, const Problem& problem, Index threads) {
  using Value = typename StoredOf<Type>::Value;
  Tensors<Value> tensors(problem);
  const Linear linear{problem.layout, &kernel_for(set, Type), problem.activation};
  const Schedule schedule = make_schedule(problem.layout, Type, problem.rows, threads);
  CHECK(schedule.tiles > 1);
  std::vector<Value> y = fresh_output<Value>(problem);
  std::vector<char> scratch(linear.scratch_bytes(schedule));
  for (Index tile = schedule.tiles - 1; tile >= 0; --tile) {
    linear.multiply(
        schedule, tile,
        {tensors.packed.data(), tensors.bias.data(), tensors.x.data(), tensors.residual_data(), y.data()},
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
  std::vector<double> (*typed)(InstructionSet, const Problem&, Index, const Cut&);
  std::vector<double> (*tiled)(InstructionSet, const Problem&, Index);

  // Runs on all rows as one tile, in scratch memory full of NaN, and returns y.
  std::vector<double> run(const Problem& problem, Index misalignment = 0) const {
    return typed(set, problem, misalignment, {1, 1});
  }
  std::vector<double> run_cut(const Problem& problem, const Cut& cut) const {
    return typed(set, problem, 0, cut);
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

bool is_close(const Subject& subject, const Problem& problem, const std::vector<double>& y) {
  return is_close(expect(problem), problem.layout, y, subject.epsilon, subject.rounding);
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

TEST(a_residual_is_added) {
  for (const Subject& subject : subjects()) {
    for (const Sizes& sizes : kSizes) {
      for (const Index rows : {1, 2, 15, 29}) {
        const Problem problem = with_residual(make_problem(sizes, rows));
        CHECK(is_close(subject, problem, subject.run(problem)));
        CHECK(subject.run(problem) == subject.run_cut(problem, {1, 3}));
      }
    }
  }
}

TEST(activation_functions_are_applied_before_the_residual) {
  for (const Subject& subject : subjects()) {
    for (const Sizes& sizes : kSizes) {
      for (const Activation activation : {Activation::kGelu, Activation::kGeluTanh, Activation::kSilu}) {
        Problem problem = make_problem(sizes, 5);
        problem.activation = activation;
        CHECK(is_close(subject, problem, subject.run(problem)));
        CHECK(is_close(subject, with_residual(problem), subject.run(with_residual(problem))));
      }
    }
  }
}

TEST(tiles_add_their_own_rows_of_a_residual) {
  const Problem problem = with_residual(make_problem({97, 101, 5, 3, 13}, 201));
  for (const Subject& subject : subjects()) {
    CHECK(subject.tiled(subject.set, problem, 2) == subject.run(problem));
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

TEST(shares_give_what_one_share_gives) {
  for (const Subject& subject : subjects()) {
    for (const Sizes& sizes : kSizes) {
      for (const Index rows : {1, 15}) {
        const Problem problem = make_problem(sizes, rows);
        const std::vector<double> whole = subject.run(problem);
        for (const Index shares : {2, 3, 40}) {
          for (const Index chunks : {1, 2}) CHECK(subject.run_cut(problem, {chunks, shares}) == whole);
        }
      }
    }
  }
}

TEST(tiles_give_what_one_tile_gives) {
  const Problem problem = make_problem({97, 101, 5, 3, 13}, 201);
  for (const Subject& subject : subjects()) {
    for (const Index threads : {1, 2, 5, 64}) {
      CHECK(subject.tiled(subject.set, problem, threads) == subject.run(problem));
    }
  }
}

}  // namespace
}  // namespace blast_deploy::blast

RUN_TESTS()
