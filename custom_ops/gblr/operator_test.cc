// The operator from creation to result in a stand-in runtime, whose memory the sanitizers watch: random
// layers, honest and broken ones.
#include "gblr/operator.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/contract.h"
#include "runtime/instruction_set.h"
#include "testing/blast_layer.h"
#include "testing/check.h"
#include "testing/gblr_problem.h"
#include "testing/stand_in_runtime.h"

namespace blast_deploy::gblr {
namespace {

using blast::Axes;
using blast::bend;
using blast::Dice;
using testing::Array;
using testing::NodeDescription;
using testing::NodeKernel;

struct Layer {
  Problem problem;
  NodeDescription node;
  Array packed, bias, x;

  Layer(const Problem& numbers, const std::string& set, const Axes& leading) : problem(numbers) {
    node.name = "layer";
    node.integers = {{"in_features", problem.sizes.in_features},
                     {"out_features", problem.sizes.out_features},
                     {"components", problem.sizes.components},
                     {"layout_version", kLayoutVersion}};
    node.texts = {{"instruction_set", set}};
    const std::vector<char> bytes = problem.packed();
    packed.shape = {static_cast<std::int64_t>(bytes.size())};
    packed.bytes.assign(bytes.begin(), bytes.end());
    bias = blast::make_array(ElementType::kFloat, {problem.sizes.out_features}, problem.bias);
    Axes shape = leading;
    shape.push_back(problem.sizes.in_features);
    x = blast::make_array(ElementType::kFloat, shape, problem.x);
    keep();
  }

  // Lets the node have what is packed and the bias as they are now.
  void keep() { node.constants = {{1, packed}, {2, bias}}; }

  std::vector<const Array*> inputs() const { return {&x, &packed, &bias}; }

  std::string refusal() const {
    return NodeKernel(contract::gblr_linear_packed::kName, ElementType::kFloat, node).refusal;
  }

  // Runs the layer, or says why it would not.
  std::string outcome(bool* right) const {
    const NodeKernel kernel(contract::gblr_linear_packed::kName, ElementType::kFloat, node);
    std::string error = kernel.refusal;
    if (!error.empty()) return error;
    const Array y = kernel.run(inputs(), &error);
    if (!error.empty()) return error;
    const auto* const values = reinterpret_cast<const float*>(y.bytes.data());
    *right = is_right(problem, std::vector<float>(values, values + y.count()));
    return error;
  }
};

std::string best_set() { return to_string(instruction_sets().front()); }

Layer random_layer(Dice& dice, unsigned seed) {
  const Axes leading = dice.leading();
  std::int64_t rows = 1;
  for (const std::int64_t axis : leading) rows *= axis;
  const Sizes sizes{dice.between(1, 60), dice.between(1, 60), dice.between(0, rows > 20 ? 20 : 150)};
  const auto sets = instruction_sets();
  return Layer(make_problem(sizes, rows, Widths::kAny, seed), to_string(dice.pick(sets)), leading);
}

TEST(random_layers_are_right) {
  for (int seed = 0; seed < blast::case_count() / 4; ++seed) {
    Dice dice(static_cast<unsigned>(seed));
    bool right = false;
    const std::string error = random_layer(dice, static_cast<unsigned>(seed)).outcome(&right);
    if (!right) std::fprintf(stderr, "seed %d: %s\n", seed, error.c_str());
    CHECK(right);
  }
}

// Breaks one thing or several. Most of what bytes say of themselves lies before the weights.
void damage(Dice& dice, Layer& layer) {
  if (dice.one_in(3)) bend(dice, layer.node);
  if (dice.one_in(4)) bend(dice, layer.x);
  if (dice.one_in(4)) bend(dice, layer.bias);
  auto& bytes = layer.packed.bytes;
  const auto last = static_cast<std::int64_t>(bytes.size()) - 1;
  for (std::int64_t flips = dice.between(0, 3); flips > 0; --flips) {
    const std::int64_t most = dice.one_in(2) ? last : std::min<std::int64_t>(last, 400);
    bytes[static_cast<std::size_t>(dice.between(0, most))] ^= static_cast<char>(1 << dice.between(0, 7));
  }
  if (dice.one_in(8)) {
    bytes.resize(static_cast<std::size_t>(std::max<std::int64_t>(0, last + dice.between(-70, 70))));
    layer.packed.shape = {static_cast<std::int64_t>(bytes.size())};
  }
  layer.keep();
  if (dice.one_in(16)) layer.node.constants.clear();
}

TEST(broken_layers_are_refused_or_computed) {
  int refused = 0;
  for (int seed = 0; seed < blast::case_count(); ++seed) {
    Dice dice(static_cast<unsigned>(seed) + 0x40000000U);
    Layer layer = random_layer(dice, static_cast<unsigned>(seed));
    damage(dice, layer);
    bool right = false;
    if (!layer.outcome(&right).empty()) ++refused;
  }
  CHECK(refused > blast::case_count() / 3);
}

TEST(nodes_that_promise_something_else_are_refused) {
  Layer layer(make_problem({20, 30, 10}, 1), best_set(), {1});
  bool right = false;
  CHECK(layer.outcome(&right).empty() && right);
  layer.node.integers["layout_version"] = 3;
  CHECK(layer.refusal() ==
        "GblrLinearPacked 'layer': the factors were packed in layout 3, and this library reads layout 2; "
        "compile the model again");
  layer.node.integers["layout_version"] = 2;
  layer.node.integers["components"] = 11;
  CHECK(layer.refusal().find("their header has other sizes than the node") != std::string::npos);
  layer.node.integers["components"] = 10;
  layer.node.constants.clear();
  CHECK(layer.refusal().find("the packed factors must be constant") != std::string::npos);
}

TEST(an_index_past_the_components_is_refused) {
  Layer layer(make_problem({20, 30, 10}, 1), best_set(), {1});
  const Layout layout = read_layout(layer.problem.sizes, layer.packed.bytes.data(), layer.packed.shape[0]);
  const std::uint16_t past = 10;
  std::memcpy(layer.packed.bytes.data() + layout.index_offset, &past, sizeof(past));
  layer.keep();
  CHECK(layer.refusal().find("a run lists a component that it cannot have") != std::string::npos);
}

TEST(intervals_that_do_not_fit_are_refused) {
  Problem problem = make_problem({20, 30, 2}, 1);
  problem.v.starts[1] = 30;
  CHECK_THROWS(plan(problem.sizes, problem.u.factor(), problem.v.factor()),
               "a start is 30, and must be from 0 to 29");
  CHECK_THROWS(plan({20, 30, kLargestComponents + 1}, problem.u.factor(), problem.v.factor()),
               "the number of components is 65536, and must be from 0 to 65535");
}

}  // namespace
}  // namespace blast_deploy::gblr

RUN_TESTS()
