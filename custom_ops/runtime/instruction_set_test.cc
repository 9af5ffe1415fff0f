#include "runtime/instruction_set.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "testing/check.h"

namespace blast_deploy {
namespace {

// Sets the variable that caps instruction sets, for one test.
class Cap {
 public:
  explicit Cap(const char* name) { setenv(kMaxInstructionSetVariable, name, 1); }
  ~Cap() { unsetenv(kMaxInstructionSetVariable); }
  Cap(const Cap&) = delete;
  Cap& operator=(const Cap&) = delete;
};

const char* lowest() { return to_string(instruction_sets().back()); }

TEST(instruction_sets_come_best_first) {
  const auto sets = instruction_sets();
  CHECK(!sets.empty());
  CHECK(std::is_sorted(sets.rbegin(), sets.rend()));
}

TEST(each_is_found_by_its_name) {
  for (const InstructionSet set : instruction_sets()) CHECK(require_instruction_set(to_string(set)) == set);
}

TEST(the_cap_leaves_what_is_below_it) {
  const std::string name = lowest();
  const Cap cap(name.c_str());
  CHECK(instruction_sets().size() == 1);
  CHECK(to_string(instruction_sets().front()) == name);
}

TEST(an_unknown_cap_is_refused) {
  const std::string all = [] {
    auto sets = instruction_sets();
    std::reverse(sets.begin(), sets.end());
    std::string text;
    for (const InstructionSet set : sets) text += (text.empty() ? "" : ", ") + std::string(to_string(set));
    return text;
  }();
  const std::string other = std::string(lowest()) == "neon" ? "x86-64" : "neon";
  const Cap foreign(other.c_str());
  CHECK_THROWS(instruction_sets(),
               "BLAST_DEPLOY_MAX_INSTRUCTION_SET is '" + other + "', and must be one of " + all);
  const Cap cap("sse9");
  CHECK_THROWS(instruction_sets(), "BLAST_DEPLOY_MAX_INSTRUCTION_SET is 'sse9', and must be one of " + all);
}

TEST(a_cap_above_the_machine_and_an_empty_one_change_nothing) {
  const auto all = instruction_sets();
  const Cap above(std::string(lowest()) == "neon" ? "neon" : "x86-64-v4");
  CHECK(instruction_sets() == all);
  const Cap empty("");
  CHECK(instruction_sets() == all);
}

TEST(an_unknown_name_is_refused) {
  const std::string name = lowest();
  const Cap cap(name.c_str());
  CHECK_THROWS(require_instruction_set("avx10"),
               "the instruction set 'avx10' is unknown; this machine has " + name);
}

TEST(what_the_machine_lacks_is_refused) {
  const std::string name = lowest();
  const Cap cap(name.c_str());
  const std::string missing = name == "neon" ? "x86-64" : "x86-64-v4";
  CHECK_THROWS(require_instruction_set(missing), "it was made for " + missing +
                                                     ", and this machine has only " + name +
                                                     "; compile the model for this machine");
}

}  // namespace
}  // namespace blast_deploy

RUN_TESTS()
