// Every quantised kernel that this machine can run, against integers and sums in double precision.
#include "quantized/kernel.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "quantized/linear.h"
#include "testing/check.h"
#include "testing/quantized_problem.h"

namespace blast_deploy::quantized {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Bytes on a cache line, all of them parts of NaN, with nothing after the last.
class Buffer {
 public:
  explicit Buffer(Index size) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, static_cast<std::size_t>(size)) != 0) throw std::bad_alloc();
    memory_.reset(static_cast<std::uint8_t*>(memory));
    std::fill_n(memory_.get(), size, std::uint8_t{0xff});
  }
  std::uint8_t* data() { return memory_.get(); }

 private:
  struct Free {
    void operator()(std::uint8_t* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::uint8_t, Free> memory_;
};

Buffer packed(const Problem& problem) {
  Buffer buffer(problem.layout.size);
  pack(problem.layout, problem.factors(), buffer.data());
  return buffer;
}

Buffer packed(const DenseProblem& problem) {
  Buffer buffer(problem.layout.size);
  pack(problem.layout, problem.weight.values.data(), problem.weight.scales.data(), buffer.data());
  return buffer;
}

const Kernel& kernel_of(const Kernels& kernels, const Problem&) { return kernels.blast; }
const DenseKernel& kernel_of(const Kernels& kernels, const DenseProblem&) { return kernels.dense; }

const void* residual_of(const Problem& problem) {
  return problem.residual.empty() ? nullptr : problem.residual.data();
}
const void* residual_of(const DenseProblem&) { return nullptr; }

Activation activation_of(const Problem& problem) { return problem.activation; }
Activation activation_of(const DenseProblem&) { return Activation::kNone; }

// All rows as one tile, in scratch memory full of NaN.
template <typename Problem>
std::vector<float> run(const Kernels& kernels, const Problem& problem, const Cut& cut = {1, 1}) {
  const auto& kernel = kernel_of(kernels, problem);
  Buffer weights = packed(problem);
  Buffer scratch(kernel.scratch_bytes(problem.layout, problem.rows, cut));
  std::vector<float> y(static_cast<std::size_t>(problem.rows * problem.layout.sizes.out_features), kNan);
  const Tile tile{weights.data(),         problem.bias.data(),  problem.x.data(), problem.rows,  problem.rows,
                  activation_of(problem), residual_of(problem), y.data(),         scratch.data()};
  // The last share first: none may need what another of its phase does.
  for (Index chunk = 0; chunk < problem.layout.chunks; chunk += cut.chunks) {
    for (const auto phase : {kernel.project, kernel.combine}) {
      for (Index share = cut.shares; share > 0; --share) phase(problem.layout, tile, {cut, share - 1, chunk});
    }
  }
  return y;
}

template <typename Linear, typename Problem>
std::vector<float> run_in_tiles(const Linear& linear, const Problem& problem, Index threads) {
  Buffer weights = packed(problem);
  const Schedule schedule =
      make_schedules({&linear.layout}, ElementType::kFloat, problem.rows, threads).front();
  CHECK(schedule.tiles > 1);
  std::vector<float> y(static_cast<std::size_t>(problem.rows * problem.layout.sizes.out_features), kNan);
  Buffer scratch(static_cast<Index>(linear.scratch_bytes(schedule)));
  for (Index tile = schedule.tiles - 1; tile >= 0; --tile) {
    linear.multiply(schedule, tile,
                    {weights.data(), problem.bias.data(), problem.x.data(), residual_of(problem), y.data()},
                    scratch.data());
  }
  return y;
}

std::vector<const Kernels*> subjects() {
  std::vector<const Kernels*> all;
  for (const InstructionSet set : instruction_sets()) {
    for (const Kernels* const kernels : kernels_for(set)) all.push_back(kernels);
  }
  return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void report(const Kernels& kernels, const Sizes& sizes, const Format& format, Index rows) {
  std::fprintf(stderr, "%s, extension %d, %ldx%ld, rank %ld, %ld bits, %ld rows\n",
               to_string(kernels.instruction_set), static_cast<int>(kernels.extension),
               static_cast<long>(sizes.out_features), static_cast<long>(sizes.in_features),
               static_cast<long>(sizes.rank), static_cast<long>(format.bits), static_cast<long>(rows));
}

const std::vector<Format> kFormats = {{8, 0}, {4, 32}, {4, 64}};

const std::vector<Sizes> kSizes = {
    {1, 1, 1, 1, 1},       // smallest
    {1, 7, 1, 3, 2},       // one output
    {7, 5, 3, 4, 1},       // rank 1, more blocks than divide, the last block column of in_features empty
    {3, 4, 5, 6, 2},       // more blocks than rows and columns
    {97, 101, 5, 3, 13},   // primes, b1 != b2
    {40, 300, 1, 1, 17},   // low rank
    {66, 70, 2, 7, 31},    // a panel of 32 and one of 16
    {72, 48, 3, 2, 48},    // panels of 16, blocks of the rank that do not fill 64
    {50, 34, 9, 2, 161},   // an odd number of block rows, several groups of the rank
    {130, 70, 2, 2, 547},  // two segments of U
    {96, 96, 4, 4, 94},    // full panels
};

TEST(kernels_agree_with_exact_integers) {
  for (const Sizes& sizes : kSizes) {
    for (const Format& format : kFormats) {
      for (const Index rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 71}) {
        const Problem problem = make_problem(sizes, format, rows);
        const std::vector<Sum> expected = expect(problem);
        for (const Kernels* const kernels : subjects()) {
          const bool right = is_close(expected, run(*kernels, problem), 3 * problem.layout.chunks);
          if (!right) report(*kernels, sizes, format, rows);
          CHECK(right);
        }
      }
    }
  }
}

TEST(dense_kernels_agree_with_exact_integers) {
  const std::vector<DenseSizes> all = {{1, 1},    {7, 5},     {16, 33},  {31, 300},
                                       {97, 101}, {135, 513}, {40, 1100}};
  for (const DenseSizes& sizes : all) {
    for (const Format& format : kFormats) {
      for (const Index rows : {1, 2, 3, 7, 8, 15, 71}) {
        const DenseProblem problem = make_dense_problem(sizes, format, rows);
        for (const Kernels* const kernels : subjects()) {
          CHECK(is_right(problem, run(*kernels, problem)));
          CHECK(same_bits(run(*kernels, problem), run(*kernels, problem, {1, 3})));
        }
      }
    }
  }
}

TEST(activation_functions_are_applied_before_the_residual) {
  for (const Kernels* const kernels : subjects()) {
    for (const Format& format : kFormats) {
      for (const Activation activation :
           {Activation::kNone, Activation::kGelu, Activation::kGeluTanh, Activation::kSilu}) {
        Problem problem = make_problem({97, 101, 5, 3, 13}, format, 9);
        // So small that the functions are not straight lines.
        for (float& scale : problem.u.scales) scale *= 0x1p-16F;
        problem.activation = activation;
        CHECK(is_right(problem, run(*kernels, problem)));
        CHECK(is_right(with_residual(problem), run(*kernels, with_residual(problem))));
        CHECK(
            same_bits(run(*kernels, with_residual(problem)), run(*kernels, with_residual(problem), {1, 3})));
      }
    }
  }
}

TEST(a_row_does_not_depend_on_its_neighbours) {
  for (const Kernels* const kernels : subjects()) {
    for (const Sizes& sizes : kSizes) {
      for (const Format& format : kFormats) {
        const Problem problem = make_problem(sizes, format, 17);
        const std::vector<float> together = run(*kernels, problem);
        for (Index row = 0; row < problem.rows; ++row) {
          Problem alone = problem;
          alone.rows = 1;
          alone.x.assign(problem.x.begin() + row * sizes.in_features,
                         problem.x.begin() + (row + 1) * sizes.in_features);
          const std::vector<float> y = run(*kernels, alone);
          const auto first = together.begin() + row * sizes.out_features;
          CHECK(same_bits(y, std::vector<float>(first, first + sizes.out_features)));
        }
      }
    }
  }
}

TEST(shares_give_what_one_share_gives) {
  for (const Kernels* const kernels : subjects()) {
    for (const Sizes& sizes : kSizes) {
      for (const Format& format : kFormats) {
        for (const Index rows : {1, 15}) {
          const Problem problem = make_problem(sizes, format, rows);
          const std::vector<float> whole = run(*kernels, problem);
          for (const Index shares : {1, 2, 3, 40}) {
            for (const Index chunks : {1, 2, 100}) {
              CHECK(same_bits(run(*kernels, problem, {chunks, shares}), whole));
            }
          }
        }
      }
    }
  }
}

TEST(tiles_give_what_one_tile_gives) {
  for (const Kernels* const kernels : subjects()) {
    for (const Format& format : kFormats) {
      const Problem problem = with_residual(make_problem({97, 101, 5, 3, 13}, format, 201));
      const Linear linear{problem.layout, &kernels->blast};
      const DenseProblem dense = make_dense_problem({97, 101}, format, 201);
      const DenseLinear dense_linear{dense.layout, &kernels->dense};
      for (const Index threads : {1, 2, 64}) {
        CHECK(same_bits(run_in_tiles(linear, problem, threads), run(*kernels, problem)));
        CHECK(same_bits(run_in_tiles(dense_linear, dense, threads), run(*kernels, dense)));
      }
    }
  }
}

TEST(values_of_any_size_are_quantised) {
  for (const Kernels* const kernels : subjects()) {
    for (const Format& format : kFormats) {
      DenseProblem problem = make_dense_problem({40, 100}, format, 7);
      constexpr float kUnits[] = {1e-37F, 1e-31F, 0.99e-30F, 1e-29F, 0.37F, 1e20F, 1e37F};
      for (Index row = 0; row < 7; ++row) {
        for (Index column = 0; column < 100; ++column) problem.x[row * 100 + column] *= kUnits[row] / 127;
      }
      CHECK(is_right(problem, run(*kernels, problem)));
    }
  }
}

TEST(sums_of_large_values_stay_finite_until_they_are_scaled) {
  for (const Kernels* const kernels : subjects()) {
    for (const Format& format : kFormats) {
      Problem problem = make_problem({97, 101, 5, 3, 13}, format, 9);
      for (float& value : problem.x) value *= 0x1p116F;
      for (float& scale : problem.u.scales) scale *= 0x1p-10F;
      for (float& scale : problem.v.scales) scale *= 0x1p-10F;
      CHECK(is_right(problem, run(*kernels, problem)));
    }
  }
}

TEST(halves_are_rounded_to_even) {
  DenseProblem problem = make_dense_problem({16, 32}, {8, 0}, 1);
  const float halves[] = {127, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 63.5F};
  for (Index column = 0; column < 32; ++column) problem.x[column] = halves[column % 8];
  for (const Kernels* const kernels : subjects()) CHECK(is_right(problem, run(*kernels, problem)));
}

TEST(nan_and_infinity_fill_their_row_and_no_other) {
  for (const float strange : {kNan, std::numeric_limits<float>::infinity()}) {
    for (const Format& format : kFormats) {
      Problem problem = make_problem({97, 101, 5, 3, 13}, format, 3);
      problem.x[101 + 50] = strange;
      for (const Kernels* const kernels : subjects()) {
        const std::vector<float> y = run(*kernels, problem);
        CHECK(is_right(problem, y));
        for (Index column = 0; column < 97; ++column) {
          CHECK(std::isfinite(y[column]) && std::isfinite(y[2 * 97 + column]));
          CHECK(std::isnan(y[97 + column]));
        }
      }
    }
  }
}

TEST(padding_of_the_factors_is_never_read) {
  const Sizes sizes{97, 101, 5, 3, 13};
  for (const Format& format : kFormats) {
    const Problem problem = make_problem(sizes, format, 5);
    Problem poisoned = problem;
    const Index q = problem.layout.block_columns;
    for (Index row = sizes.out_features; row < problem.u.rows; ++row) {
      for (Index k = 0; k < sizes.rank; ++k) poisoned.u.values[row * sizes.rank + k] = -128;
      poisoned.u.scales[row] = kNan;
    }
    for (Index k = 0; k < sizes.rank; ++k) {
      for (Index column = sizes.in_features - (sizes.blocks_in - 1) * q; column < q; ++column) {
        poisoned.v.values[((sizes.blocks_in - 1) * sizes.rank + k) * q + column] = -128;
      }
    }
    for (const Kernels* const kernels : subjects()) {
      CHECK(same_bits(run(*kernels, poisoned), run(*kernels, problem)));
    }
  }
}

}  // namespace
}  // namespace blast_deploy::quantized

RUN_TESTS()
