// The one source of all probes, compiled once per instruction set. BLAST_DEPLOY_PROBE names the Probe that it
// defines, BLAST_DEPLOY_INSTRUCTION_SET what it was compiled for; nothing else here has external linkage.
#include "machine/probe.h"

#include "runtime/vector.h"

namespace blast_deploy::machine {
namespace {

constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(float));
using Floats = Vector<float, kLanes>;

// As many as the registers hold beside the factor, the summand and a product: more than are on their way at
// once in any processor's multipliers.
constexpr int kChains = kRegisters - 4;

std::int64_t multiply_add(float value, std::int64_t rounds, float* result) {
  const Floats multiplier = broadcast<kLanes>(value);
  const Floats summand = multiplier;
  Floats chains[kChains];
  BLAST_DEPLOY_UNROLL
  for (int chain = 0; chain < kChains; ++chain) chains[chain] = summand * static_cast<float>(chain);
  for (std::int64_t round = 0; round < rounds; ++round) {
    BLAST_DEPLOY_UNROLL
    for (int chain = 0; chain < kChains; ++chain) chains[chain] = chains[chain] * multiplier + summand;
  }
  Floats all{};
  BLAST_DEPLOY_UNROLL
  for (int chain = 0; chain < kChains; ++chain) all += chains[chain];
  *result = all[0];
  return rounds * kChains * kLanes * 2;
}

float sum(const float* values, std::int64_t count) {
  constexpr int vectors = 8;
  static_assert(kSummedAtOnce % (vectors * kLanes) == 0, "the loop takes whole steps");
  Floats sums[vectors] = {};
  for (const float* const end = values + count; values != end; values += vectors * kLanes) {
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < vectors; ++v) sums[v] += load<kLanes>(values + v * kLanes);
  }
  Floats all{};
  BLAST_DEPLOY_UNROLL
  for (int v = 0; v < vectors; ++v) all += sums[v];
  float total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += all[lane];
  return total;
}

}  // namespace

extern const Probe BLAST_DEPLOY_PROBE;
const Probe BLAST_DEPLOY_PROBE = {InstructionSet::BLAST_DEPLOY_INSTRUCTION_SET, multiply_add, sum};

}  // namespace blast_deploy::machine
