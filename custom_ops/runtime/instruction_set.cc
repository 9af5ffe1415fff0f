#include "runtime/instruction_set.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace blast_deploy {
namespace {

struct Name {
  InstructionSet set;
  const char* text;
};

constexpr Name kNames[] = {
    {InstructionSet::kX86_64, "x86-64"},
    {InstructionSet::kX86_64_v3, "x86-64-v3"},
    {InstructionSet::kX86_64_v4, "x86-64-v4"},
    {InstructionSet::kNeon, "neon"},
};

// The processor's own, in rising order. The compiler's check asks the operating system too.
std::vector<InstructionSet> of_processor() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  std::vector<InstructionSet> sets = {InstructionSet::kX86_64};
  if (__builtin_cpu_supports("x86-64-v3")) sets.push_back(InstructionSet::kX86_64_v3);
  if (__builtin_cpu_supports("x86-64-v4")) sets.push_back(InstructionSet::kX86_64_v4);
  return sets;
#elif defined(__aarch64__)
  return {InstructionSet::kNeon};
#else
#error "no kernels are compiled for this architecture"
#endif
}

const Name* find(const std::string& text) {
  const auto* const found =
      std::find_if(std::begin(kNames), std::end(kNames), [&](const Name& name) { return name.text == text; });
  return found == std::end(kNames) ? nullptr : found;
}

bool is_neon(InstructionSet set) { return set == InstructionSet::kNeon; }

std::string list(const std::vector<InstructionSet>& sets) {
  std::string text;
  for (const InstructionSet set : sets) text += (text.empty() ? "" : ", ") + std::string(to_string(set));
  return text;
}

}  // namespace

const char* to_string(InstructionSet set) {
  for (const Name& name : kNames) {
    if (name.set == set) return name.text;
  }
  return "unknown";
}

std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> sets = of_processor();
  const char* const cap = std::getenv(kMaxInstructionSetVariable);
  if (cap != nullptr && *cap != '\0') {
    const Name* const name = find(cap);
    if (name == nullptr || is_neon(name->set) != is_neon(sets.front())) {
      throw std::invalid_argument(std::string(kMaxInstructionSetVariable) + " is '" + cap +
                                  "', and must be one of " + list(sets));
    }
    sets.erase(std::upper_bound(sets.begin(), sets.end(), name->set), sets.end());
  }
  std::reverse(sets.begin(), sets.end());
  return sets;
}

InstructionSet require_instruction_set(const std::string& text) {
  const std::vector<InstructionSet> sets = instruction_sets();
  const Name* const name = find(text);
  if (name == nullptr) {
    throw std::invalid_argument("the instruction set '" + text + "' is unknown; this machine has " +
                                list(sets));
  }
  if (std::find(sets.begin(), sets.end(), name->set) == sets.end()) {
    throw std::invalid_argument("it was made for " + text + ", and this machine has only " + list(sets) +
                                "; compile the model for this machine");
  }
  return name->set;
}

}  // namespace blast_deploy
