#include "runtime/processors.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <thread>

namespace blast_deploy {

std::int64_t usable_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : count;
}

}  // namespace blast_deploy
