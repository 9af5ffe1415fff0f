// Layers that one node computes together: every bit as each by itself, and broken nodes refused.
#include <cstdio>
#include <string>
#include <vector>

#include "blast/operator.h"
#include "runtime/contract.h"
#include "runtime/instruction_set.h"
#include "testing/blast_layer.h"
#include "testing/check.h"
#include "testing/stand_in_runtime.h"

namespace blast_deploy::blast {
namespace {

// A node of several layers that read one X, and what each of them gives by itself.
struct Group {
  ElementType type;
  NodeDescription node;
  Array x;
  std::vector<Array> weights;  // factors and bias, layer after layer
  std::vector<Array> expected;

  Group(ElementType element_type, const std::vector<Sizes>& sizes, const Axes& leading,
        const std::string& instruction_set)
      : type(element_type) {
    std::int64_t rows = 1;
    for (const std::int64_t axis : leading) rows *= axis;
    node.name = "group";
    for (const Sizes& each : sizes) add(Layer(type, make_problem(each, rows), leading), instruction_set);
    node.texts["instruction_set"] = instruction_set;
    for (std::size_t index = 0; index < weights.size(); ++index) node.constants[index + 1] = weights[index];
  }

  std::vector<const Array*> inputs() const {
    std::vector<const Array*> found = {&x};
    for (const Array& each : weights) found.push_back(&each);
    return found;
  }

 private:
  void add(Layer layer, const std::string& instruction_set) {
    if (weights.empty()) x = layer.x;
    weights.push_back(layer.pack_factors(instruction_set));
    weights.push_back(layer.bias);
    std::string error;
    const NodeKernel kernel(contract::blast_linear_packed::kName, type, layer.node);
    expected.push_back(kernel.run({&x, &weights[weights.size() - 2], &weights.back()}, &error));
    CHECK(kernel.refusal.empty() && error.empty());
    for (const char* const name : {"out_features", "blocks_out", "rank"}) {
      node.lists[name].push_back(layer.node.integers[name]);
    }
    for (const char* const name : {"in_features", "blocks_in", "layout_version"}) {
      node.integers[name] = layer.node.integers[name];
    }
    std::string& activations = node.texts["activation"];
    activations += activations.empty() ? "none" : ",none";
  }
};

void check_bits(const Group& group) {
  const NodeKernel kernel(contract::blast_linear_group_packed::kName, group.type, group.node);
  CHECK(kernel.refusal.empty());
  std::string error;
  const std::vector<Array> found = kernel.run(group.inputs(), group.expected.size(), &error);
  CHECK(error.empty() && found.size() == group.expected.size());
  for (std::size_t index = 0; index < found.size(); ++index) {
    CHECK(found[index].shape == group.expected[index].shape);
    CHECK(found[index].bytes == group.expected[index].bytes);
  }
}

// With constant factors and with fed ones.
void check_group(ElementType type, const std::vector<Sizes>& sizes, std::int64_t rows) {
  Group group(type, sizes, {rows}, to_string(instruction_sets().front()));
  check_bits(group);
  group.node.constants.clear();
  check_bits(group);
}

// One to four layers of any sizes that share in_features and blocks_in.
std::vector<Sizes> random_sizes(Dice& dice) {
  std::vector<Sizes> sizes(static_cast<std::size_t>(dice.between(1, 4)));
  const Sizes shared = dice.sizes();
  for (Sizes& each : sizes) {
    each = dice.sizes();
    each.in_features = shared.in_features;
    each.blocks_in = shared.blocks_in;
  }
  return sizes;
}

// Changes one list or text of the node as a damaged or malicious file could.
void bend_lists(Dice& dice, NodeDescription& node) {
  constexpr std::int64_t kStrange[] = {
      0, -1, 7, std::int64_t{1} << 31, std::int64_t{1} << 62, std::numeric_limits<std::int64_t>::min()};
  auto list = node.lists.begin();
  std::advance(list, dice.between(0, static_cast<std::int64_t>(node.lists.size()) - 1));
  std::vector<std::int64_t>& values = list->second;
  const std::int64_t way = dice.between(0, 4);
  if (way == 0) values.clear();
  if (way == 1) values.push_back(dice.between(1, 5));
  if (way == 2) values.back() += dice.between(-3, 3);
  if (way == 3) values.back() = dice.pick(kStrange);
  if (way == 4) node.texts["activation"] += dice.one_in(2) ? ",silu" : ",";
}

TEST(groups_give_every_bit_of_their_layers) {
  for (const ElementType type : kElementTypes) {
    for (const std::int64_t rows : {0, 1, 20, 150}) {
      check_group(type, {{97, 101, 5, 3, 13}, {30, 101, 2, 3, 170}}, rows);
      check_group(type, {{384, 380, 4, 3, 190}, {96, 380, 2, 3, 40}, {384, 380, 3, 3, 330}}, rows);
    }
  }
}

TEST(a_list_that_lacks_a_layer_is_refused_by_name) {
  Group group(ElementType::kFloat, {{7, 5, 2, 1, 3}, {4, 5, 1, 1, 2}}, {2},
              to_string(instruction_sets().back()));
  group.node.lists["rank"].pop_back();
  const NodeKernel broken(contract::blast_linear_group_packed::kName, group.type, group.node);
  CHECK(broken.refusal.find("rank has 1 values, and must have 2") != std::string::npos);
}

TEST(random_groups_give_every_bit_of_their_layers) {
  const auto sets = instruction_sets();
  for (int seed = 0; seed < case_count() / 8; ++seed) {
    Dice dice(static_cast<unsigned>(seed) + 0x20000000U);
    const ElementType type = dice.pick(kElementTypes);
    check_bits(Group(type, random_sizes(dice), dice.leading(), to_string(dice.pick(sets))));
  }
}

TEST(broken_groups_are_refused_or_computed) {
  const auto sets = instruction_sets();
  int refused = 0;
  const int cases = case_count() / 4;
  for (int seed = 0; seed < cases; ++seed) {
    Dice dice(static_cast<unsigned>(seed) + 0x60000000U);
    const ElementType type = dice.pick(kElementTypes);
    Group group(type, random_sizes(dice), dice.leading(), to_string(dice.pick(sets)));
    if (dice.one_in(3)) group.node.constants.clear();
    if (dice.one_in(2)) bend_lists(dice, group.node);
    if (dice.one_in(3)) bend(dice, group.node);
    if (dice.one_in(3)) bend(dice, dice.one_in(3) ? group.x : group.weights[dice.between(0, 1)]);
    std::vector<const Array*> inputs = group.inputs();
    if (dice.one_in(6)) inputs.pop_back();
    const NodeKernel kernel(contract::blast_linear_group_packed::kName, type, group.node);
    std::string error = kernel.refusal;
    const std::size_t outputs = group.expected.size() - (dice.one_in(8) ? 1 : 0);
    if (error.empty()) kernel.run(inputs, outputs, &error);
    if (!error.empty()) ++refused;
  }
  CHECK(refused > cases / 3);
}

}  // namespace
}  // namespace blast_deploy::blast

RUN_TESTS()
