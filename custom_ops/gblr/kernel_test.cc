// The kernel of every instruction set against double precision, however a layer is cut.
#include "gblr/kernel.h"

#include <vector>

#include "gblr/linear.h"
#include "runtime/instruction_set.h"
#include "testing/check.h"
#include "testing/gblr_problem.h"

namespace blast_deploy::gblr {
namespace {

std::vector<float> run(const Problem& problem, const Kernel& kernel, const Schedule& schedule) {
  const std::vector<char> packed = problem.packed();
  const Linear linear{read_layout(problem.sizes, packed.data(), static_cast<std::int64_t>(packed.size())),
                      &kernel, problem.activation};
  std::vector<float> y(static_cast<std::size_t>(problem.rows * problem.sizes.out_features));
  std::vector<char> scratch(linear.scratch_bytes(schedule), static_cast<char>(0xFF));
  const float* const residual = problem.residual.empty() ? nullptr : problem.residual.data();
  for (std::int64_t tile = 0; tile < schedule.tiles; ++tile) {
    linear.multiply(schedule, tile,
                    {packed.data(), problem.bias.data(), problem.x.data(), residual, y.data()},
                    scratch.data());
  }
  return y;
}

// Tiles of so many rows, each cut into so many shares.
Schedule cut(std::int64_t rows, std::int64_t tile_rows, std::int64_t shares) {
  return {{rows, tile_rows, divide_up(rows, tile_rows)}, {1, shares}};
}

void check(const Problem& problem) {
  for (const InstructionSet set : instruction_sets()) {
    const Kernel& kernel = kernel_for(set);
    const std::vector<float> whole = run(problem, kernel, cut(problem.rows, problem.rows, 1));
    CHECK(is_right(problem, whole));
    for (const std::int64_t tile_rows : {1, 2, 5, 16, 33}) {
      for (const std::int64_t shares : {1, 3, 7}) {
        CHECK(run(problem, kernel, cut(problem.rows, tile_rows, shares)) == whole);
      }
    }
  }
}

TEST(odd_sizes) {
  for (const std::int64_t rows : {1, 2, 3, 4, 17, 50}) {
    check(make_problem({1, 1, 1}, rows));
    check(make_problem({13, 17, 7}, rows));
    check(make_problem({37, 29, 200}, rows));
    check(make_problem({16, 64, 33}, rows));
  }
}

TEST(no_components) { check(make_problem({9, 5, 0}, 20)); }

TEST(one_entry_wide) { check(make_problem({40, 31, 60}, 20, Widths::kOne)); }

TEST(full_width) { check(make_problem({40, 31, 20}, 20, Widths::kFull)); }

TEST(more_components_than_a_bundle_holds) { check(make_problem({20, 24, 2 * kBundle + 5}, 19)); }

TEST(intervals_that_wrap_around_within_one_half_tile) {
  Problem problem = make_problem({11, 10, 1}, 5, Widths::kFull);
  for (Side* const side : {&problem.u, &problem.v}) {
    side->starts = {2};
    side->widths = {side == &problem.u ? 10 : 9};
    side->values.resize(static_cast<std::size_t>(side->widths[0]));
  }
  check(problem);
}

TEST(a_residual_and_an_activation_are_applied) {
  for (const std::int64_t rows : {2, 20}) {
    Problem problem = make_problem({45, 23, 12}, rows);
    std::mt19937 random(1);
    problem.residual = normal(random, rows * 45);
    check(problem);
    for (float& value : problem.v.values) value *= 0.05F;
    problem.activation = Activation::kSilu;
    check(problem);
  }
}

TEST(schedules_keep_to_whole_vectors_and_limits) {
  const Problem problem = make_problem({37, 29, 20}, 1);
  const Layout layout = plan(problem.sizes, problem.u.factor(), problem.v.factor());
  for (std::int64_t rows = 0; rows < 300; ++rows) {
    for (const std::int64_t largest : {1, 7, 16, 70}) {
      Limits limits;
      limits.largest_tile_rows = largest;
      for (const std::int64_t threads : {1, 2, 5}) {
        const Schedule found = make_schedules({&layout}, ElementType::kFloat, rows, threads, limits).front();
        CHECK(found.tile_rows <= smaller(largest, kLargestTileRows));
        CHECK(rows == 0 ? found.tiles == 0
                        : found.rows_of(found.tiles - 1) > 0 && found.tiles * found.tile_rows >= rows);
      }
    }
  }
}

}  // namespace
}  // namespace blast_deploy::gblr

RUN_TESTS()
