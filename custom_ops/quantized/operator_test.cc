// The quantised operators from creation to result in a stand-in runtime, whose memory the sanitizers watch:
// one kernel on many threads, and any number of random layers, honest and broken ones.
#include "quantized/operator.h"

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "runtime/contract.h"
#include "runtime/instruction_set.h"
#include "testing/blast_layer.h"
#include "testing/check.h"
#include "testing/quantized_problem.h"
#include "testing/stand_in_runtime.h"

namespace blast_deploy::quantized {
namespace {

using blast::Axes;
using blast::bend;
using blast::Dice;
using testing::Array;
using testing::NodeDescription;
using testing::NodeKernel;

Array byte_array(const Axes& shape) {
  Array array;
  array.shape = shape;
  array.bytes.resize(static_cast<std::size_t>(array.count()));
  return array;
}

// A layer as a model holds it, of either kind.
template <typename Problem>
struct Layer {
  Problem problem;
  NodeDescription node;
  Array packed, bias, x, residual;

  Layer(const Problem& numbers, const std::string& set, const Axes& leading) : problem(numbers) {
    packed = byte_array({problem.layout.size});
    auto* const bytes = reinterpret_cast<std::uint8_t*>(packed.bytes.data());
    const auto& sizes = problem.layout.sizes;
    const auto& format = problem.layout.format;
    node.name = "layer";
    node.integers = {{"in_features", sizes.in_features},
                     {"out_features", sizes.out_features},
                     {"bits", format.bits},
                     {"block_size", format.block_size},
                     {"layout_version", kLayoutVersion}};
    node.texts = {{"instruction_set", set}};
    add(problem, bytes);
    bias = blast::make_array(ElementType::kFloat, {sizes.out_features}, problem.bias);
    Axes shape = leading;
    shape.push_back(sizes.in_features);
    x = blast::make_array(ElementType::kFloat, shape, problem.x);
    node.constants = {{1, packed}, {2, bias}};
  }

  const char* name() const { return name_of(problem); }

  std::vector<const Array*> inputs() const {
    std::vector<const Array*> all = {&x, &packed, &bias};
    if (!residual.shape.empty()) all.push_back(&residual);
    return all;
  }

  bool gives(const Array& y) const {
    Axes shape = x.shape;
    shape.back() = problem.layout.sizes.out_features;
    if (y.shape != shape) return false;
    const auto* const values = reinterpret_cast<const float*>(y.bytes.data());
    return is_right(problem, std::vector<float>(values, values + y.count()));
  }

 private:
  static const char* name_of(const quantized::Problem&) { return contract::q_blast_linear_packed::kName; }
  static const char* name_of(const DenseProblem&) { return contract::q_dense_linear_packed::kName; }

  void add(const quantized::Problem& own, std::uint8_t* bytes) {
    const auto& [m, n, b1, b2, rank] = own.layout.sizes;
    pack(own.layout, own.factors(), bytes);
    node.integers["blocks_out"] = b1;
    node.integers["blocks_in"] = b2;
    node.integers["rank"] = rank;
    if (own.residual.empty()) return;
    residual = blast::make_array(ElementType::kFloat, {own.rows, m}, own.residual);
  }

  void add(const DenseProblem& own, std::uint8_t* bytes) {
    pack(own.layout, own.weight.values.data(), own.weight.scales.data(), bytes);
  }
};

using BlastLayer = Layer<Problem>;
using DenseLayer = Layer<DenseProblem>;

template <typename Layer>
std::string refusal(const Layer& layer) {
  return NodeKernel(layer.name(), ElementType::kFloat, layer.node).refusal;
}

std::string best_set() { return to_string(instruction_sets().front()); }

Format random_format(Dice& dice) {
  const std::vector<Format> formats = {{8, 0}, {4, 32}, {4, 64}};
  return dice.pick(formats);
}

Problem random_problem(Dice& dice, std::int64_t rows) {
  Sizes sizes = dice.sizes();
  if (rows > 20) sizes.rank = std::min<std::int64_t>(sizes.rank, 70);  // the truth is slow
  return make_problem(sizes, random_format(dice), rows);
}

std::int64_t rows_of(const Axes& leading) {
  std::int64_t rows = 1;
  for (const std::int64_t axis : leading) rows *= axis;
  return rows;
}

// Runs a layer, or says why it would not.
template <typename Layer>
std::string outcome(const Layer& layer, bool* right) {
  const NodeKernel kernel(layer.name(), ElementType::kFloat, layer.node);
  std::string error = kernel.refusal;
  if (error.empty()) {
    const Array y = kernel.run(layer.inputs(), &error);
    *right = error.empty() && layer.gives(y);
  }
  return error;
}

TEST(random_layers_give_what_exact_integers_give) {
  const auto sets = instruction_sets();
  for (int seed = 0; seed < blast::case_count() / 4; ++seed) {
    Dice dice(static_cast<unsigned>(seed));
    const Axes leading = dice.leading();
    BlastLayer layer(random_problem(dice, rows_of(leading)), to_string(dice.pick(sets)), leading);
    if (dice.one_in(4)) layer.node.constants.clear();
    bool right = false;
    const std::string error = outcome(layer, &right);
    if (!right) std::fprintf(stderr, "seed %d: %s\n", seed, error.c_str());
    CHECK(right);
  }
}

TEST(random_dense_layers_give_what_exact_integers_give) {
  const auto sets = instruction_sets();
  for (int seed = 0; seed < blast::case_count() / 4; ++seed) {
    Dice dice(static_cast<unsigned>(seed));
    const Axes leading = dice.leading();
    const Sizes sizes = dice.sizes();
    const auto problem =
        make_dense_problem({sizes.out_features, sizes.in_features}, random_format(dice), rows_of(leading));
    DenseLayer layer(problem, to_string(dice.pick(sets)), leading);
    if (dice.one_in(4)) layer.node.constants.clear();
    bool right = false;
    const std::string error = outcome(layer, &right);
    if (!right) std::fprintf(stderr, "seed %d: %s\n", seed, error.c_str());
    CHECK(right);
  }
}

// Breaks one thing or several, or nothing that matters.
template <typename Layer>
void damage(Dice& dice, Layer& layer) {
  if (dice.one_in(2)) bend(dice, layer.node);
  if (dice.one_in(4)) bend(dice, layer.x);
  if (dice.one_in(4)) bend(dice, layer.bias);
  if (dice.one_in(4)) layer.node.constants.clear();
  if (dice.one_in(4)) {
    for (char& byte : layer.packed.bytes) byte = static_cast<char>(dice.between(-128, 127));
  } else if (dice.one_in(3)) {
    layer.packed = byte_array({std::max<std::int64_t>(0, layer.packed.count() + dice.between(-64, 64))});
  }
  if (!layer.node.constants.empty()) {
    layer.node.constants[1] = layer.packed;
    layer.node.constants[2] = layer.bias;
  }
}

TEST(broken_layers_and_strange_values_are_refused_or_computed) {
  const auto sets = instruction_sets();
  int refused = 0;
  for (int seed = 0; seed < blast::case_count(); ++seed) {
    Dice dice(static_cast<unsigned>(seed) + 0x40000000U);
    const Axes leading = dice.leading();
    const std::string set = to_string(dice.pick(sets));
    Problem problem = random_problem(dice, rows_of(leading));
    if (dice.one_in(3)) blast::poison(dice, problem.x);
    if (problem.layout.format.bits == 8 && dice.one_in(3)) blast::poison(dice, problem.u.scales);
    BlastLayer layer(problem, set, leading);
    damage(dice, layer);
    const NodeKernel kernel(layer.name(), ElementType::kFloat, layer.node);
    std::string error = kernel.refusal;
    if (error.empty()) kernel.run(layer.inputs(), &error);
    if (!error.empty()) ++refused;
  }
  // Most were broken in a way that matters.
  CHECK(refused > blast::case_count() / 3);
}

TEST(a_residual_and_an_activation_are_applied) {
  for (const std::int64_t rows : {0, 1, 20, 150}) {
    Problem problem = with_residual(make_problem({97, 101, 5, 3, 13}, {8, 0}, rows));
    problem.activation = Activation::kSilu;
    BlastLayer layer(problem, best_set(), {rows});
    layer.node.texts["activation"] = "silu";
    bool right = false;
    CHECK(outcome(layer, &right).empty() && right);
  }
}

// Sixteen threads run one kernel at the same time, each on its own Y.
void check_many_callers(const Problem& problem) {
  const BlastLayer layer(problem, best_set(), {problem.rows});
  const NodeKernel kernel(layer.name(), ElementType::kFloat, layer.node);
  std::string error;
  const Array alone = kernel.run(layer.inputs(), &error);
  CHECK(kernel.refusal.empty() && error.empty() && layer.gives(alone));
  std::vector<Array> found(16);
  std::vector<std::thread> threads;
  for (Array& y : found) {
    threads.emplace_back([&] {
      std::string own_error;
      for (int round = 0; round < 3; ++round) y = kernel.run(layer.inputs(), &own_error);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Array& y : found) CHECK(y.bytes == alone.bytes);
}

TEST(many_callers_change_no_bit_of_tiles) {
  check_many_callers(make_problem({97, 101, 5, 3, 13}, {4, 32}, 150));
}

TEST(many_callers_change_no_bit_of_shares) {
  const Problem problem = make_problem({384, 380, 4, 3, 190}, {8, 0}, 31);
  CHECK(make_schedules({&problem.layout}, ElementType::kFloat, problem.rows, 2).front().cut.shares == 2);
  check_many_callers(problem);
}

TEST(nodes_that_promise_something_else_are_refused) {
  const Problem problem = make_problem({97, 101, 5, 3, 13}, {8, 0}, 1);
  BlastLayer layer(problem, best_set(), {1});
  layer.node.integers["layout_version"] = 2;
  CHECK(refusal(layer) ==
        "QBlastLinearPacked 'layer': the factors were packed in layout 2, and this library reads layout 1; "
        "compile the model again");
  layer.node.integers["layout_version"] = 1;
  layer.node.integers["bits"] = 4;
  CHECK(refusal(layer).find("bits is 4 and block_size 0") != std::string::npos);
  layer.node.integers["bits"] = 8;
  layer.node.texts["instruction_set"] = "avx10";
  CHECK(refusal(layer).find("the instruction set 'avx10' is unknown") != std::string::npos);
  layer.node.texts["instruction_set"] = best_set();
  layer.node.constants[1] = byte_array({problem.layout.size + 1});
  CHECK(refusal(layer).find("the tensor of packed factors has shape") != std::string::npos);
  layer.node.constants[1] = layer.packed;
  layer.node.integers["smallest_share_bytes"] = 0;
  CHECK(refusal(layer).find("must be at least 1") != std::string::npos);
}

TEST(operators_say_that_factors_are_bytes) {
  for (const char* const name :
       {contract::q_blast_linear_packed::kName, contract::q_dense_linear_packed::kName}) {
    const abi::CustomOp* const op = testing::find_operator(name, ElementType::kFloat);
    CHECK(op->get_input_type(op, 0) == 1 && op->get_input_type(op, 1) == 2 && op->get_input_type(op, 2) == 1);
    CHECK(op->get_output_type(op, 0) == 1);
  }
}

}  // namespace
}  // namespace blast_deploy::quantized

RUN_TESTS()
