// Names all kernels that this library was compiled for: for each instruction set of the architecture, one for
// each element type (see CMakeLists.txt). They are constants of type Kernel in the namespace that includes
// these.
#pragma once

#define BLAST_DEPLOY_DECLARE_SET(set)        \
  extern const Kernel kKernel##set##Float;   \
  extern const Kernel kKernel##set##Float16; \
  extern const Kernel kKernel##set##Double;  \
  extern const Kernel kKernel##set##Bfloat16;
#define BLAST_DEPLOY_LIST_SET(set) \
  &kKernel##set##Float, &kKernel##set##Float16, &kKernel##set##Double, &kKernel##set##Bfloat16

#if defined(__x86_64__)
#define BLAST_DEPLOY_DECLARE_KERNELS  \
  BLAST_DEPLOY_DECLARE_SET(X86_64)    \
  BLAST_DEPLOY_DECLARE_SET(X86_64_v3) \
  BLAST_DEPLOY_DECLARE_SET(X86_64_v4)
#define BLAST_DEPLOY_KERNELS \
  BLAST_DEPLOY_LIST_SET(X86_64), BLAST_DEPLOY_LIST_SET(X86_64_v3), BLAST_DEPLOY_LIST_SET(X86_64_v4)
#elif defined(__aarch64__)
#define BLAST_DEPLOY_DECLARE_KERNELS BLAST_DEPLOY_DECLARE_SET(Neon)
#define BLAST_DEPLOY_KERNELS BLAST_DEPLOY_LIST_SET(Neon)
#endif
