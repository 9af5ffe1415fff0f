// The kernels that this library was compiled for (see kernel/kernel.cc and CMakeLists.txt).
#include <stdexcept>
#include <string>

#include "gblr/kernel.h"

namespace blast_deploy::gblr {

#if defined(__x86_64__)
extern const Kernel kKernelX86_64;
extern const Kernel kKernelX86_64_v3;
extern const Kernel kKernelX86_64_v4;
#elif defined(__aarch64__)
extern const Kernel kKernelNeon;
#endif

const Kernel& kernel_for(InstructionSet set) {
#if defined(__x86_64__)
  constexpr const Kernel* kAll[] = {&kKernelX86_64, &kKernelX86_64_v3, &kKernelX86_64_v4};
#elif defined(__aarch64__)
  constexpr const Kernel* kAll[] = {&kKernelNeon};
#endif
  for (const Kernel* const kernel : kAll) {
    if (kernel->instruction_set == set) return *kernel;
  }
  throw std::invalid_argument(std::string("this library has no kernel for ") + to_string(set));
}

}  // namespace blast_deploy::gblr
