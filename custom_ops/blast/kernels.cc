// The kernels that this library was compiled for (see kernel.cc and CMakeLists.txt).
#include <stdexcept>
#include <string>

#include "blast/kernel.h"

namespace blast_deploy::blast {

#define BLAST_DEPLOY_DECLARE(set)            \
  extern const Kernel kKernel##set##Float;   \
  extern const Kernel kKernel##set##Float16; \
  extern const Kernel kKernel##set##Double;  \
  extern const Kernel kKernel##set##Bfloat16;
#define BLAST_DEPLOY_LIST(set) \
  &kKernel##set##Float, &kKernel##set##Float16, &kKernel##set##Double, &kKernel##set##Bfloat16

#if defined(__x86_64__)
BLAST_DEPLOY_DECLARE(X86_64)
BLAST_DEPLOY_DECLARE(X86_64_v3)
BLAST_DEPLOY_DECLARE(X86_64_v4)
#elif defined(__aarch64__)
BLAST_DEPLOY_DECLARE(Neon)
#endif

namespace {

const Kernel* const kKernels[] = {
#if defined(__x86_64__)
    BLAST_DEPLOY_LIST(X86_64),
    BLAST_DEPLOY_LIST(X86_64_v3),
    BLAST_DEPLOY_LIST(X86_64_v4),
#elif defined(__aarch64__)
    BLAST_DEPLOY_LIST(Neon),
#endif
};

}  // namespace

const Kernel& kernel_for(InstructionSet set, ElementType type) {
  for (const Kernel* const kernel : kKernels) {
    if (kernel->instruction_set == set && kernel->element_type == type) return *kernel;
  }
  throw std::invalid_argument(std::string("this library has no kernel for ") + to_string(set));
}

}  // namespace blast_deploy::blast
