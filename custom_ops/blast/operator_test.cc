// The operators from creation to result in a stand-in runtime, whose memory the sanitizers watch: one kernel
// on many threads, and any number of random layers, honest and broken ones.
#include "blast/operator.h"

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "runtime/contract.h"
#include "runtime/instruction_set.h"
#include "testing/blast_layer.h"
#include "testing/check.h"
#include "testing/stand_in_runtime.h"

namespace blast_deploy::blast {
namespace {

TEST(random_layers_give_what_double_precision_gives) {
  const auto sets = instruction_sets();
  for (int seed = 0; seed < case_count(); ++seed) {
    Dice dice(static_cast<unsigned>(seed));
    Layer layer = random_layer(dice);
    std::vector<const Array*> inputs = layer.inputs();
    const char* name = contract::blast_linear::kName;
    Array packed;
    if (dice.one_in(2)) {
      packed = layer.pack_factors(to_string(dice.pick(sets)));
      if (dice.one_in(4)) layer.node.constants.clear();
      inputs = {&layer.x, &packed, &layer.bias};
      name = contract::blast_linear_packed::kName;
    } else if (dice.one_in(2)) {
      layer.make_constant();
    }
    const NodeKernel kernel(name, layer.type, layer.node);
    std::string error = kernel.refusal;
    bool right = false;
    if (error.empty()) right = layer.is_right(kernel.run(inputs, &error));
    if (!error.empty() || !right) std::fprintf(stderr, "seed %d, %s: %s\n", seed, name, error.c_str());
    CHECK(error.empty() && right);
  }
}

TEST(broken_layers_and_strange_values_are_refused_or_computed) {
  const auto sets = instruction_sets();
  int refused = 0;
  for (int seed = 0; seed < case_count(); ++seed) {
    Dice dice(static_cast<unsigned>(seed) + 0x40000000U);
    Layer layer = random_layer(dice);
    for (auto* const values : {&layer.problem.u, &layer.problem.s, &layer.problem.v, &layer.problem.x}) {
      if (dice.one_in(3)) poison(dice, *values);
    }
    Layer broken(layer.type, layer.problem, Axes(layer.x.shape.begin(), layer.x.shape.end() - 1));
    Array* const arrays[] = {&broken.x, &broken.u, &broken.s, &broken.v, &broken.bias};
    const char* name = contract::blast_linear::kName;
    std::vector<const Array*> inputs = broken.inputs();
    Array packed;
    if (dice.one_in(2)) {
      packed = broken.pack_factors(to_string(dice.pick(sets)));
      if (dice.one_in(4)) {
        broken.node.constants.clear();
        bend(dice, packed);
      } else if (dice.one_in(2)) {
        bend(dice, broken.node.constants[1]);
      }
      inputs = {&broken.x, &packed, &broken.bias};
      name = contract::blast_linear_packed::kName;
    } else if (dice.one_in(2)) {
      bend(dice, *dice.pick(arrays));
      broken.make_constant();
    } else {
      bend(dice, *dice.pick(arrays));
    }
    if (dice.one_in(3)) bend(dice, broken.node);
    if (dice.one_in(6)) bend(dice, broken.x);
    const NodeKernel kernel(name, broken.type, broken.node);
    std::string error = kernel.refusal;
    if (error.empty()) kernel.run(inputs, &error);
    if (!error.empty()) ++refused;
  }
  // Most were broken in a way that matters.
  CHECK(refused > case_count() / 3);
}

// Sixteen threads run one kernel at the same time, each on its own Y.
void check_many_callers(ElementType type, const Problem& problem) {
  Layer layer(type, problem, {problem.rows});
  const Array packed = layer.pack_factors(to_string(instruction_sets().front()));
  const NodeKernel kernel(contract::blast_linear_packed::kName, type, layer.node);
  const std::vector<const Array*> inputs = {&layer.x, &packed, &layer.bias};
  std::string error;
  const Array alone = kernel.run(inputs, &error);
  CHECK(kernel.refusal.empty() && error.empty() && layer.is_right(alone));
  std::vector<Array> found(16);
  std::vector<std::thread> threads;
  for (Array& y : found) {
    threads.emplace_back([&] {
      std::string own_error;
      for (int round = 0; round < 3; ++round) y = kernel.run(inputs, &own_error);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Array& y : found) CHECK(y.bytes == alone.bytes);
}

TEST(many_callers_change_no_bit_of_tiles) {
  const Problem problem = make_problem({97, 101, 5, 3, 13}, 150);
  for (const ElementType type : kElementTypes) check_many_callers(type, problem);
}

TEST(many_callers_change_no_bit_of_shares) {
  const Problem problem = make_problem({384, 380, 4, 3, 190}, 20);
  for (const ElementType type : kElementTypes) {
    CHECK(make_schedule(problem.layout, type, problem.rows, 2).cut.shares == 2);
    check_many_callers(type, problem);
  }
}

}  // namespace
}  // namespace blast_deploy::blast

RUN_TESTS()
