// The instruction sets that kernels are compiled for, and which of them this machine can run.
#pragma once

#include <string>
#include <vector>

namespace blast_deploy {

// Of one architecture, in rising order.
enum class InstructionSet { kX86_64, kX86_64_v3, kX86_64_v4, kNeon };

// Caps what this machine is taken to have, as `BLAST_DEPLOY_MAX_INSTRUCTION_SET=x86-64-v3` would; for tests
// and for telling instruction sets apart on one machine. Read whenever a kernel is made, never while one
// runs.
constexpr char kMaxInstructionSetVariable[] = "BLAST_DEPLOY_MAX_INSTRUCTION_SET";

const char* to_string(InstructionSet set);

// Those that this machine can run, best first; throws std::invalid_argument if the variable names none.
std::vector<InstructionSet> instruction_sets();

// The named one; throws std::invalid_argument with one sentence if it is unknown or this machine lacks it.
InstructionSet require_instruction_set(const std::string& name);

}  // namespace blast_deploy
