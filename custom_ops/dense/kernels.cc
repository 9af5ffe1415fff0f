// The kernels that this library was compiled for (see kernel.cc and CMakeLists.txt).
#include <stdexcept>
#include <string>

#include "dense/kernel.h"
#include "runtime/kernel_list.h"

namespace blast_deploy::dense {

BLAST_DEPLOY_DECLARE_KERNELS

const Kernel& kernel_for(InstructionSet set, ElementType type) {
  for (const Kernel* const kernel : {BLAST_DEPLOY_KERNELS}) {
    if (kernel->instruction_set == set && kernel->element_type == type) return *kernel;
  }
  throw std::invalid_argument(std::string("this library has no kernel for ") + to_string(set));
}

}  // namespace blast_deploy::dense
