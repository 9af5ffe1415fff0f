#include "runtime/threads.h"

#include <algorithm>

namespace blast_deploy {

std::int64_t Attendance::count() const {
  std::vector<std::thread::id> threads = threads_;
  std::sort(threads.begin(), threads.end());
  return std::unique(threads.begin(), threads.end()) - threads.begin();
}

void ThreadEstimate::observe(std::int64_t threads) {
  std::int64_t seen = seen_.load(std::memory_order_relaxed);
  while (seen < threads && !seen_.compare_exchange_weak(seen, threads, std::memory_order_relaxed)) {
  }
}

}  // namespace blast_deploy
