// The kernel of each instruction set that this library was compiled for (see kernel.cc and CMakeLists.txt).
#include <stdexcept>
#include <string>

#include "blast/kernel.h"

namespace blast_deploy::blast {

#if defined(__x86_64__)
extern const Kernel kKernelX86_64;
extern const Kernel kKernelX86_64_v3;
extern const Kernel kKernelX86_64_v4;
#elif defined(__aarch64__)
extern const Kernel kKernelNeon;
#endif

const Kernel& kernel_for(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
    case InstructionSet::kX86_64:
      return kKernelX86_64;
    case InstructionSet::kX86_64_v3:
      return kKernelX86_64_v3;
    case InstructionSet::kX86_64_v4:
      return kKernelX86_64_v4;
#elif defined(__aarch64__)
    case InstructionSet::kNeon:
      return kKernelNeon;
#endif
    default:
      throw std::invalid_argument(std::string("this library has no kernel for ") + to_string(set));
  }
}

}  // namespace blast_deploy::blast
