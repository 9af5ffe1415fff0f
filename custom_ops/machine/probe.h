// What the machine can do at most: the loops that measure its arithmetic and its caches, one set of them per
// instruction set. They take no time themselves; see peaks.h.
#pragma once

#include <cstdint>

#include "runtime/instruction_set.h"

namespace blast_deploy::machine {

struct Probe {
  InstructionSet instruction_set;
  // Multiply-adds of a value below 1 in chains that do not wait for each other, all in registers. Returns how
  // many floating-point operations that were, a multiply-add counting two.
  std::int64_t (*multiply_add)(float value, std::int64_t rounds, float* result);
  // Adds up `count` floats, a multiple of kSummedAtOnce, best aligned to 64 bytes.
  float (*sum)(const float* values, std::int64_t count);
};

constexpr std::int64_t kSummedAtOnce = 128;

// Throws std::invalid_argument if this library was not compiled for it.
const Probe& probe_for(InstructionSet set);

}  // namespace blast_deploy::machine
