#include "machine/peaks.h"

#include <cmath>
#include <numeric>
#include <vector>

#include "machine/c_interface.h"
#include "testing/check.h"

namespace blast_deploy::machine {
namespace {

TEST(every_instruction_set_of_this_machine_has_a_probe) {
  for (const InstructionSet set : instruction_sets()) CHECK(probe_for(set).instruction_set == set);
}

TEST(operations_are_counted_for_every_round) {
  for (const InstructionSet set : instruction_sets()) {
    const Probe& probe = probe_for(set);
    float none = 0;
    float one = 0;
    CHECK(probe.multiply_add(0.5F, 0, &none) == 0);
    const std::int64_t operations = probe.multiply_add(0.5F, 1, &one);
    CHECK(operations > 0);
    CHECK(probe.multiply_add(0.5F, 7, &one) == 7 * operations);
    // The chains do come to their fixed point x = x / 2 + 1 / 2, each of them.
    float many = 0;
    probe.multiply_add(0.5F, 100, &many);
    CHECK(many == std::round(many) && many >= 12);
  }
}

// A probe that skipped some of the buffer would show a bandwidth that the machine has not got.
TEST(every_value_is_summed_once) {
  std::vector<float> values(static_cast<std::size_t>(3 * kSummedAtOnce));
  std::iota(values.begin(), values.end(), 1.0F);
  const float count = static_cast<float>(values.size());
  for (const InstructionSet set : instruction_sets()) {
    const Probe& probe = probe_for(set);
    CHECK(probe.sum(values.data(), static_cast<std::int64_t>(values.size())) == count * (count + 1) / 2);
    CHECK(probe.sum(values.data(), 0) == 0);
  }
}

TEST(peaks_are_positive_and_finite) {
  for (const InstructionSet set : instruction_sets()) {
    const double gigaflops = fma_peak(probe_for(set));
    CHECK(gigaflops > 0 && std::isfinite(gigaflops));
    for (const std::int64_t bytes : {std::int64_t{1}, std::int64_t{4096}, std::int64_t{100001}}) {
      const double bandwidth = read_bandwidth(probe_for(set), bytes);
      CHECK(bandwidth > 0 && std::isfinite(bandwidth));
    }
  }
}

TEST(a_buffer_that_cannot_be_is_refused) {
  const Probe& probe = probe_for(instruction_sets().back());
  CHECK_THROWS(read_bandwidth(probe, 0), "a buffer to read must have 1 to 1099511627776 bytes (got 0)");
  CHECK_THROWS(read_bandwidth(probe, (std::int64_t{1} << 40) + 1),
               "a buffer to read must have 1 to 1099511627776 bytes (got 1099511627777)");
}

TEST(the_c_interface_gives_the_sentence) {
  char error[200];
  double rate = 0;
  CHECK(blast_deploy_machine_fma_peak("avx10", &rate, error, sizeof error) == 1);
  CHECK(std::string(error).rfind("the instruction set 'avx10' is unknown", 0) == 0);
  const char* const lowest = to_string(instruction_sets().back());
  CHECK(blast_deploy_machine_read_bandwidth(lowest, 4096, &rate, error, sizeof error) == 0);
  CHECK(rate > 0);
}

}  // namespace
}  // namespace blast_deploy::machine

RUN_TESTS()
