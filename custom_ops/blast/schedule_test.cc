// Schedules cover all rows once, give every thread something to do, and none too little.
#include "blast/schedule.h"

#include <limits>
#include <stdexcept>

#include "testing/check.h"

namespace blast_deploy::blast {
namespace {

using Index = std::int64_t;

const Layout kSmall = plan({384, 384, 4, 4, 94});
const Layout kLarge = plan({4096, 4096, 16, 16, 992});

Schedule schedule_for(const Layout& layout, Index rows, Index threads) {
  return make_schedule(layout, ElementType::kFloat, rows, threads);
}

TEST(tiles_cover_all_rows_once) {
  for (const Index threads : {1, 2, 3, 64}) {
    for (Index rows = 0; rows < 500; ++rows) {
      const Schedule schedule = schedule_for(kSmall, rows, threads);
      Index covered = 0;
      for (Index tile = 0; tile < schedule.tiles; ++tile) {
        CHECK(schedule.rows_of(tile) > 0 && schedule.rows_of(tile) <= schedule.tile_rows);
        covered += schedule.rows_of(tile);
      }
      CHECK(covered == rows);
    }
  }
}

TEST(one_thread_has_one_share) {
  for (const Index rows : {1, 16, 64, 512}) {
    const Schedule schedule = schedule_for(kLarge, rows, 1);
    CHECK(schedule.cut.shares == 1 && schedule.cut.chunks == 1);
  }
}

TEST(many_rows_have_as_many_tiles_for_each_thread) {
  for (const Index rows : {256, 512, 1000}) {
    const Schedule schedule = schedule_for(kLarge, rows, 4);
    CHECK(schedule.tiles % 4 == 0 && schedule.cut.shares == 1);
  }
}

TEST(threads_share_a_tile_where_rows_are_few) {
  CHECK(schedule_for(kLarge, 1, 2).cut.shares == 2);
  CHECK(schedule_for(kLarge, 60, 2).cut.shares == 2);
  CHECK(schedule_for(kLarge, 60, 2).tiles == 1);
  CHECK(schedule_for(kLarge, 64, 2).tiles == 2);
  CHECK(schedule_for(kLarge, 512, 64).tiles == 16);
  CHECK(schedule_for(kLarge, 512, 64).cut.shares == 4);
}

TEST(limits_are_obeyed) {
  const Schedule narrow = make_schedule(kLarge, ElementType::kFloat, 512, 1, {32, 1, 1});
  CHECK(narrow.tile_rows == 32 && narrow.tiles == 16);
  CHECK(make_schedule(kSmall, ElementType::kFloat, 1, 8, {70, 1, 1}).cut.shares == 8);
  CHECK(make_schedule(kLarge, ElementType::kFloat, 1, 8, {70, kLarge.size * 3, 1'000'000'000}).cut.shares ==
        1);
  bool refused = false;
  try {
    check_limits({0, 1, 1});
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused);
}

TEST(the_greatest_limits_are_none) {
  constexpr Index kGreatest = std::numeric_limits<Index>::max();
  for (const Index rows : {1, 20, 500}) {
    const Schedule schedule =
        make_schedule(kLarge, ElementType::kFloat, rows, 2, {kGreatest, kGreatest, kGreatest});
    CHECK(schedule.tiles >= 1 && schedule.tile_rows * schedule.tiles >= rows && schedule.cut.shares == 1);
  }
}

TEST(little_work_is_not_shared) {
  CHECK(schedule_for(plan({64, 64, 2, 2, 8}), 1, 64).cut.shares == 1);
  CHECK(schedule_for(kSmall, 1, 64).cut.shares == 1);
}

TEST(all_chunks_of_a_row_are_one_phase) {
  CHECK(schedule_for(kLarge, 1, 2).cut.chunks == kLarge.chunks);
  CHECK(schedule_for(kLarge, 60, 2).cut.chunks == 1);
}

}  // namespace
}  // namespace blast_deploy::blast

RUN_TESTS()
