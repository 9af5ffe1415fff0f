// The probes that this library was compiled for (see probe.cc and CMakeLists.txt).
#include <stdexcept>
#include <string>

#include "machine/probe.h"

namespace blast_deploy::machine {

#if defined(__x86_64__)
extern const Probe kProbeX86_64;
extern const Probe kProbeX86_64_v3;
extern const Probe kProbeX86_64_v4;
#elif defined(__aarch64__)
extern const Probe kProbeNeon;
#endif

namespace {

const Probe* const kProbes[] = {
#if defined(__x86_64__)
    &kProbeX86_64,
    &kProbeX86_64_v3,
    &kProbeX86_64_v4,
#elif defined(__aarch64__)
    &kProbeNeon,
#endif
};

}  // namespace

const Probe& probe_for(InstructionSet set) {
  for (const Probe* const probe : kProbes) {
    if (probe->instruction_set == set) return *probe;
  }
  throw std::invalid_argument(std::string("this library has no probe for ") + to_string(set));
}

}  // namespace blast_deploy::machine
