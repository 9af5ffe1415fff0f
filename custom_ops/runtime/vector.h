// Vectors of floating-point numbers in the compiler's own extension, which GCC and Clang turn into the
// instructions of whatever instruction set a source is compiled for.
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

// Bytes of the widest vector of the instruction set, and how many such vectors its registers hold.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kRegisters = 32;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kRegisters = 32;
#else
constexpr int kVectorBytes = 16;
constexpr int kRegisters = 16;
#endif

template <typename Value, int Lanes>
struct VectorOf {
  typedef Value Type __attribute__((vector_size(Lanes * sizeof(Value)), aligned(sizeof(Value)), may_alias));
};

template <typename Value, int Lanes>
using Vector = typename VectorOf<Value, Lanes>::Type;

template <int Lanes, typename Value>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> load(const Value* from) {
  return *reinterpret_cast<const Vector<Value, Lanes>*>(from);
}

template <int Lanes, typename Value>
BLAST_DEPLOY_INLINE void store(Value* to, Vector<Value, Lanes> value) {
  *reinterpret_cast<Vector<Value, Lanes>*>(to) = value;
}

// A plain broadcast; `Vector{} + value` would be a real addition, because it turns -0 into +0.
template <int Lanes, typename Value>
BLAST_DEPLOY_INLINE Vector<Value, Lanes> broadcast(Value value) {
  return value - Vector<Value, Lanes>{};
}

}  // namespace
}  // namespace blast_deploy
