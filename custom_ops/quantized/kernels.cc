// The kernels that this library was compiled for (see kernel.cc and CMakeLists.txt).
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include <stdexcept>
#include <string>

#include "quantized/kernel.h"

namespace blast_deploy::quantized {

#if defined(__x86_64__)
extern const Kernels kKernelsX86_64;
extern const Kernels kKernelsX86_64_v3;
extern const Kernels kKernelsX86_64_v3_AvxVnni;
extern const Kernels kKernelsX86_64_v4;
extern const Kernels kKernelsX86_64_v4_Avx512Vnni;
#elif defined(__aarch64__)
extern const Kernels kKernelsNeon;
extern const Kernels kKernelsNeon_DotProduct;
#endif

namespace {

// Each set's best first.
constexpr const Kernels* kAll[] = {
#if defined(__x86_64__)
    &kKernelsX86_64,    &kKernelsX86_64_v3_AvxVnni, &kKernelsX86_64_v3, &kKernelsX86_64_v4_Avx512Vnni,
    &kKernelsX86_64_v4,
#elif defined(__aarch64__)
    &kKernelsNeon_DotProduct,
    &kKernelsNeon,
#endif
};

// Whether the processor has it; the instruction set it belongs to is asked for elsewhere.
bool has(Extension extension) {
  if (extension == Extension::kNone) return true;
#if defined(__x86_64__)
  constexpr unsigned kAvxVnniBit = 1U << 4;  // of leaf 7, subleaf 1
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (extension == Extension::kAvx512Vnni) return __builtin_cpu_supports("avx512vnni") != 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kAvxVnniBit) != 0;
#elif defined(__aarch64__)
  constexpr unsigned long kDotProductBit = 1UL << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProductBit) != 0;
#endif
}

}  // namespace

std::vector<const Kernels*> kernels_for(InstructionSet set) {
  std::vector<const Kernels*> found;
  for (const Kernels* const kernels : kAll) {
    if (kernels->instruction_set == set && has(kernels->extension)) found.push_back(kernels);
  }
  if (!found.empty()) return found;
  throw std::invalid_argument(std::string("this library has no kernel for ") + to_string(set));
}

}  // namespace blast_deploy::quantized
