// Vectors of floats in the compiler's own extension, which GCC and Clang turn into the instructions of
// whatever instruction set a source is compiled for.
//
// Kernel sources include this and nothing that has inline functions of external linkage: the linker keeps one
// copy of such a function for the whole library, and that copy could hold instructions that the machine
// lacks.
#pragma once

#if defined(__clang__)
#define BLAST_DEPLOY_UNROLL _Pragma("unroll")
#else
#define BLAST_DEPLOY_UNROLL _Pragma("GCC unroll 32")
#endif

#define BLAST_DEPLOY_INLINE inline __attribute__((always_inline))

namespace blast_deploy {
namespace {

// Lanes of the widest vector of the instruction set, and how many such vectors its registers hold.
#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8;
constexpr int kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4;
constexpr int kRegisters = 32;
#else
constexpr int kLanes = 4;
constexpr int kRegisters = 16;
#endif

template <int Lanes>
struct VectorOf {
  typedef float Type __attribute__((vector_size(Lanes * sizeof(float)), aligned(4), may_alias));
};

template <int Lanes>
using Vector = typename VectorOf<Lanes>::Type;

template <int Lanes>
BLAST_DEPLOY_INLINE Vector<Lanes> load(const float* from) {
  return *reinterpret_cast<const Vector<Lanes>*>(from);
}

template <int Lanes>
BLAST_DEPLOY_INLINE void store(float* to, Vector<Lanes> value) {
  *reinterpret_cast<Vector<Lanes>*>(to) = value;
}

// A plain broadcast; `Vector{} + value` would be a real addition, because it turns -0 into +0.
template <int Lanes>
BLAST_DEPLOY_INLINE Vector<Lanes> broadcast(float value) {
  return value - Vector<Lanes>{};
}

}  // namespace
}  // namespace blast_deploy
