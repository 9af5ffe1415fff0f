// The count of the threads that take part in a run, and what is expected of the next.
#include "runtime/threads.h"

#include <thread>

#include "testing/check.h"

namespace blast_deploy {
namespace {

TEST(attendance_counts_threads_not_tasks) {
  Attendance attendance(5);
  for (std::size_t task = 0; task < 4; ++task) attendance.sign(task);
  std::thread([&] { attendance.sign(4); }).join();
  CHECK(attendance.count() == 2);
}

TEST(one_thread_is_expected_after_only_one_was_seen) {
  ThreadEstimate estimate(8);
  for (int run = 1; run <= 64; ++run) {
    CHECK(estimate.next() == 8);
    estimate.observe(1);
  }
  CHECK(estimate.next() == 1);
}

TEST(the_most_threads_seen_are_expected) {
  ThreadEstimate estimate(8);
  estimate.observe(3);
  estimate.observe(2);
  for (int run = 1; run <= 64; ++run) estimate.next();
  CHECK(estimate.next() == 3);
}

TEST(all_are_tried_again_once_in_sixteen_runs) {
  ThreadEstimate estimate(8);
  int tried = 0;
  for (int run = 1; run <= 1024; ++run) tried += estimate.next() == 8 ? 1 : 0;
  CHECK(tried == 64 + (1024 - 64) / 16);
}

}  // namespace
}  // namespace blast_deploy

RUN_TESTS()
