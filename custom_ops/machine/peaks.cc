#include "machine/peaks.h"

#include <time.h>

#include <algorithm>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

namespace blast_deploy::machine {
namespace {

constexpr double kTrialNanoseconds = 2e6;
constexpr int kTrials = 15;
constexpr std::size_t kAlignment = 64;

double thread_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

template <typename Work>
double nanoseconds_of(Work work, std::int64_t repeats) {
  const double begun = thread_nanoseconds();
  work(repeats);
  return std::max(thread_nanoseconds() - begun, 1.0);
}

// Fewest nanoseconds of one of the repeats of `work`, which takes their number.
template <typename Work>
double fastest(Work work) {
  std::int64_t repeats = 1;
  while (nanoseconds_of(work, repeats) < kTrialNanoseconds) repeats *= 2;
  double best = nanoseconds_of(work, repeats);
  for (int trial = 1; trial < kTrials; ++trial) best = std::min(best, nanoseconds_of(work, repeats));
  return best / static_cast<double>(repeats);
}

struct Free {
  void operator()(float* values) const { ::operator delete(values, std::align_val_t(kAlignment)); }
};

// Floats that are written once, so that each page is memory of its own.
std::unique_ptr<float, Free> make_buffer(std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
  std::unique_ptr<float, Free> buffer(
      static_cast<float*>(::operator new(bytes, std::align_val_t(kAlignment), std::nothrow)));
  if (buffer == nullptr) {
    throw std::invalid_argument("there is no memory for a buffer of " + std::to_string(bytes) +
                                " bytes; measure with a smaller one");
  }
  std::fill_n(buffer.get(), count, 1.0F);
  return buffer;
}

}  // namespace

double fma_peak(const Probe& probe) {
  constexpr float value = 0.75F;
  float result = 0;
  const std::int64_t operations = probe.multiply_add(value, 1, &result);
  return static_cast<double>(operations) /
         fastest([&](std::int64_t rounds) { probe.multiply_add(value, rounds, &result); });
}

double read_bandwidth(const Probe& probe, std::int64_t bytes) {
  constexpr std::int64_t step = kSummedAtOnce * static_cast<std::int64_t>(sizeof(float));
  constexpr std::int64_t most = std::int64_t{1} << 40;
  if (bytes < 1 || bytes > most) {
    throw std::invalid_argument("a buffer to read must have 1 to " + std::to_string(most) + " bytes (got " +
                                std::to_string(bytes) + ")");
  }
  const std::int64_t count = (bytes + step - 1) / step * kSummedAtOnce;
  const auto buffer = make_buffer(count);
  volatile float total = 0;
  const double nanoseconds = fastest([&](std::int64_t passes) {
    for (std::int64_t pass = 0; pass < passes; ++pass) total = probe.sum(buffer.get(), count);
  });
  return static_cast<double>(count * static_cast<std::int64_t>(sizeof(float))) / nanoseconds;
}

}  // namespace blast_deploy::machine
