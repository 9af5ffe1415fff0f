// Every dense kernel that this machine can run, against sums in double precision.
#include "dense/kernel.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "dense/linear.h"
#include "testing/check.h"
#include "testing/dense_problem.h"

namespace blast_deploy::dense {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Runs in memory full of NaN, with nothing after the last value of anything.
template <ElementType Type>
std::vector<double> run(InstructionSet set, const Problem& problem) {
  using Value = typename blast::StoredOf<Type>::Value;
  const Value nan = blast::stored<Value>({kNan}).front();
  const Linear linear{problem.layout, &kernel_for(set, Type)};
  std::vector<Value> packed(static_cast<std::size_t>(problem.layout.size), nan);
  pack(problem.layout, sizeof(Value), blast::stored<Value>(problem.weight).data(), packed.data());
  const auto bias = blast::stored<Value>(problem.bias);
  const auto x = blast::stored<Value>(problem.x);
  std::vector<Value> y(static_cast<std::size_t>(problem.rows * problem.layout.out_features), nan);
  const Tiling tiling = blast::tile_rows(problem.rows, 2);
  std::vector<double> scratch(linear.scratch_bytes(tiling) / sizeof(double), kNan);
  for (Index tile = tiling.tiles - 1; tile >= 0; --tile) {
    linear.multiply(tiling, tile, packed.data(), bias.data(), x.data(), y.data(), scratch.data());
  }
  std::vector<double> all;
  for (const Value& value : y) all.push_back(blast::widened(value));
  return all;
}

// One kernel that this machine can run.
struct Subject {
  const char* name;
  InstructionSet set;
  double epsilon;   // of what it computes with
  double rounding;  // of what it stores, half a unit in the last place; 0 where it computes with that
  std::vector<double> (*run)(InstructionSet, const Problem&);
};

std::vector<Subject> subjects() {
  constexpr double kFloatEpsilon = std::numeric_limits<float>::epsilon();
  constexpr double kDoubleEpsilon = std::numeric_limits<double>::epsilon();
  std::vector<Subject> all;
  for (const InstructionSet set : instruction_sets()) {
    all.push_back({"float", set, kFloatEpsilon, 0, run<ElementType::kFloat>});
    all.push_back({"double", set, kDoubleEpsilon, 0, run<ElementType::kDouble>});
    all.push_back({"float16", set, kFloatEpsilon, 0x1p-11, run<ElementType::kFloat16>});
    all.push_back({"bfloat16", set, kFloatEpsilon, 0x1p-8, run<ElementType::kBfloat16>});
  }
  return all;
}

// out_features and in_features: panels of every width and several at once, one and several segments.
const std::vector<std::vector<Index>> kSizes = {{1, 1},    {7, 5},     {24, 257}, {31, 300}, {97, 101},
                                                {130, 33}, {135, 513}, {200, 97}, {56, 256}};

TEST(kernels_agree_with_double_precision) {
  for (const Subject& subject : subjects()) {
    for (const auto& size : kSizes) {
      for (const Index rows : {1, 2, 3, 4, 5, 6, 13, 14, 15, 29, 71}) {
        const Problem problem = make_problem(size[0], size[1], rows);
        const bool close =
            is_close(problem, subject.run(subject.set, problem), subject.epsilon, subject.rounding);
        if (!close) {
          std::fprintf(stderr, "%s, %s, %ldx%ld, %ld rows\n", to_string(subject.set), subject.name,
                       static_cast<long>(size[0]), static_cast<long>(size[1]), static_cast<long>(rows));
        }
        CHECK(close);
      }
    }
  }
}

TEST(a_row_does_not_depend_on_its_neighbours) {
  const Problem problem = make_problem(135, 513, 73);
  for (const Subject& subject : subjects()) {
    const std::vector<double> together = subject.run(subject.set, problem);
    for (Index row = 0; row < problem.rows; row += 9) {
      Problem alone = problem;
      alone.rows = 1;
      alone.x.assign(problem.x.begin() + row * 513, problem.x.begin() + (row + 1) * 513);
      const std::vector<double> y = subject.run(subject.set, alone);
      CHECK(std::equal(y.begin(), y.end(), together.begin() + row * 135));
    }
  }
}

}  // namespace
}  // namespace blast_deploy::dense

RUN_TESTS()
