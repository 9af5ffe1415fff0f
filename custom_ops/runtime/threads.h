// How many threads ONNX Runtime has at work for an operator: it does not tell, so they are counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace blast_deploy {

// Notes which threads take part in one run. Tasks may sign at the same time, each under its own number.
class Attendance {
 public:
  explicit Attendance(std::size_t tasks) : threads_(tasks) {}

  void sign(std::size_t task) { threads_[task] = std::this_thread::get_id(); }

  // How many different threads signed.
  std::int64_t count() const;

 private:
  std::vector<std::thread::id> threads_;
};

// What an operator expects of its next run: the most threads that it has seen, but again and again all that
// the machine has, in case they were busy before. Results never depend on it.
class ThreadEstimate {
 public:
  explicit ThreadEstimate(std::int64_t processors) : processors_(processors) {}

  // Threads to cut a run for; counts the run.
  std::int64_t next() {
    const std::uint64_t run = ++runs_;
    const bool try_all = run <= kFirstRuns || run % kTriedEvery == 0;
    return try_all ? processors_ : seen_.load(std::memory_order_relaxed);
  }

  void observe(std::int64_t threads);

 private:
  // Threads that sleep come too late for a short run, so one that was not seen is not soon given up.
  static constexpr std::uint64_t kFirstRuns = 64;
  static constexpr std::uint64_t kTriedEvery = 16;

  const std::int64_t processors_;
  std::atomic<std::uint64_t> runs_{0};
  std::atomic<std::int64_t> seen_{1};
};

}  // namespace blast_deploy
