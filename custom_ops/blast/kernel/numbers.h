// The numbers of one kernel: how X, Y and the factors are stored, and what they are computed with.
// BLAST_DEPLOY_ELEMENT names the ElementType that the kernel is compiled for.
#pragma once

#include <stdint.h>
#include <string.h>

#include "runtime/element_type.h"
#include "runtime/half.h"
#include "runtime/vector.h"

namespace blast_deploy::blast {
namespace {

using Index = int64_t;

template <ElementType Type>
struct NumbersOf {
  using Stored = float;
  using Real = float;
};

template <>
struct NumbersOf<ElementType::kDouble> {
  using Stored = double;
  using Real = double;
};

template <>
struct NumbersOf<ElementType::kFloat16> {
  using Stored = Half;
  using Real = float;
};

template <>
struct NumbersOf<ElementType::kBfloat16> {
  using Stored = Bfloat16;
  using Real = float;
};

using Stored = NumbersOf<ElementType::BLAST_DEPLOY_ELEMENT>::Stored;
using Real = NumbersOf<ElementType::BLAST_DEPLOY_ELEMENT>::Real;

// Lanes of the widest vector.
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Real));

template <int Lanes>
BLAST_DEPLOY_INLINE Vector<Real, Lanes> widen(const Real* from) {
  return load<Lanes>(from);
}

BLAST_DEPLOY_INLINE void copy(Real* to, const Real* from, Index count) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(Real));
}

BLAST_DEPLOY_INLINE void clear(Real* values, Index count) {
  memset(values, 0, static_cast<size_t>(count) * sizeof(Real));
}

// Reads stored numbers to compute with them.
BLAST_DEPLOY_INLINE void read_stored(Real* to, const Real* from, Index count) { copy(to, from, count); }

template <typename Narrow>
BLAST_DEPLOY_INLINE void read_stored(Real* to, const Narrow* from, Index count) {
  Index index = 0;
  for (; index + kLanes <= count; index += kLanes) store<kLanes>(to + index, widen<kLanes>(from + index));
  if (index == count) return;
  Narrow rest[kLanes] = {};
  memcpy(rest, from + index, static_cast<size_t>(count - index) * sizeof(Narrow));
  Real values[kLanes];
  store<kLanes>(values, widen<kLanes>(rest));
  copy(to + index, values, count - index);
}

// Rounds numbers to be stored.
BLAST_DEPLOY_INLINE void write_stored(Real* to, const Real* from, Index count) { copy(to, from, count); }

template <typename Narrow>
BLAST_DEPLOY_INLINE void write_stored(Narrow* to, const Real* from, Index count) {
  for (Index index = 0; index < count; ++index) narrow(from[index], to + index);
}

// Adds stored numbers, at most 128.
BLAST_DEPLOY_INLINE void add_stored(Real* to, const Stored* from, Index count) {
  Real values[128];
  read_stored(values, from, count);
  for (Index index = 0; index < count; ++index) to[index] += values[index];
}

// Where stored numbers may be computed in place; nullptr where they have to be rounded.
BLAST_DEPLOY_INLINE Real* in_place(Real* values) { return values; }
BLAST_DEPLOY_INLINE const Real* in_place(const Real* values) { return values; }

template <typename Narrow>
BLAST_DEPLOY_INLINE Real* in_place(Narrow*) {
  return nullptr;
}

}  // namespace
}  // namespace blast_deploy::blast
