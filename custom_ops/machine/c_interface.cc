#include "machine/c_interface.h"

#include "machine/peaks.h"
#include "machine/probe.h"
#include "runtime/instruction_set.h"

namespace {

using blast_deploy::report;

const blast_deploy::machine::Probe& probe_named(const char* instruction_set) {
  return blast_deploy::machine::probe_for(blast_deploy::require_instruction_set(instruction_set));
}

}  // namespace

int blast_deploy_machine_fma_peak(const char* instruction_set, double* gigaflops, char* error,
                                  std::size_t error_size) {
  return report({error, error_size},
                [&] { *gigaflops = blast_deploy::machine::fma_peak(probe_named(instruction_set)); });
}

int blast_deploy_machine_read_bandwidth(const char* instruction_set, std::int64_t bytes,
                                        double* gigabytes_per_second, char* error, std::size_t error_size) {
  return report({error, error_size}, [&] {
    *gigabytes_per_second = blast_deploy::machine::read_bandwidth(probe_named(instruction_set), bytes);
  });
}
