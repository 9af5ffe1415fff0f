// The operators from creation to result in a stand-in runtime, whose memory the sanitizers watch: one kernel
// on many threads, and any number of random layers, honest and broken ones.
#include "blast/operator.h"

#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "runtime/contract.h"
#include "runtime/instruction_set.h"
#include "testing/blast_problem.h"
#include "testing/check.h"
#include "testing/stand_in_runtime.h"

namespace blast_deploy::blast {
namespace {

using testing::Array;
using testing::NodeDescription;
using testing::NodeKernel;
using Axes = std::vector<std::int64_t>;

// Random cases of each kind; the slow suite asks for many more.
int case_count() {
  const char* const text = std::getenv("BLAST_DEPLOY_FUZZ_CASES");
  return text == nullptr ? 2000 : std::atoi(text);
}

template <typename Value>
void fill(Array& array, const std::vector<float>& values) {
  auto* const to = reinterpret_cast<Value*>(array.bytes.data());
  for (std::int64_t index = 0; index < array.count(); ++index)
    narrow(values[index % values.size()], to + index);
}

// An array of any shape with these values, repeated or cut off as it needs.
Array make_array(ElementType type, const Axes& shape, const std::vector<float>& values) {
  Array array(type, shape);
  if (array.count() == 0) return array;
  if (type == ElementType::kFloat) fill<float>(array, values);
  if (type == ElementType::kDouble) fill<double>(array, values);
  if (type == ElementType::kFloat16) fill<Half>(array, values);
  if (type == ElementType::kBfloat16) fill<Bfloat16>(array, values);
  return array;
}

template <typename Value>
std::vector<double> read(const Array& array) {
  const auto* const from = reinterpret_cast<const Value*>(array.bytes.data());
  std::vector<double> values;
  for (std::int64_t index = 0; index < array.count(); ++index) values.push_back(widened(from[index]));
  return values;
}

std::vector<double> read_array(const Array& array) {
  if (array.type == ElementType::kDouble) return read<double>(array);
  if (array.type == ElementType::kFloat16) return read<Half>(array);
  if (array.type == ElementType::kBfloat16) return read<Bfloat16>(array);
  return read<float>(array);
}

double epsilon_of(ElementType type) {
  return type == ElementType::kDouble ? std::numeric_limits<double>::epsilon()
                                      : std::numeric_limits<float>::epsilon();
}

double rounding_of(ElementType type) {
  if (type == ElementType::kFloat16) return 0x1p-11;
  return type == ElementType::kBfloat16 ? 0x1p-8 : 0;
}

// A layer as a model would hold it: a node with constant factors, or with some that are fed.
struct Layer {
  ElementType type;
  Problem problem;
  NodeDescription node;
  Array u, s, v, bias, x;

  Layer(ElementType element_type, const Problem& numbers, const Axes& leading)
      : type(element_type), problem(numbers) {
    const auto& [m, n, b1, b2, rank] = problem.layout.sizes;
    u = make_array(type, {b1, problem.layout.block_rows, rank}, problem.u);
    s = make_array(type, {b1, b2, rank}, problem.s);
    v = make_array(type, {b2, rank, problem.layout.block_columns}, problem.v);
    bias = make_array(type, {m}, problem.bias);
    Axes shape = leading;
    shape.push_back(n);
    x = make_array(type, shape, problem.x);
    node.name = "layer";
    node.integers = {{"in_features", n}, {"out_features", m}};
  }

  void make_constant() { node.constants = {{1, u}, {2, s}, {3, v}, {4, bias}}; }

  std::vector<const Array*> inputs() const { return {&x, &u, &s, &v, &bias}; }

  // Turns the node into one whose factors were packed before.
  Array pack_factors(const std::string& instruction_set) {
    const auto& [m, n, b1, b2, rank] = problem.layout.sizes;
    Array packed(type, {problem.layout.size});
    pack(problem.layout, value_bytes(type), u.bytes.data(), s.bytes.data(), v.bytes.data(),
         packed.bytes.data());
    node.integers = {{"in_features", n}, {"out_features", m}, {"blocks_out", b1},
                     {"blocks_in", b2},  {"rank", rank},      {"layout_version", kLayoutVersion}};
    node.texts = {{"instruction_set", instruction_set}};
    node.constants = {{1, packed}, {2, bias}};
    return packed;
  }

  bool is_right(const Array& y) const {
    Axes shape = x.shape;
    shape.back() = problem.layout.sizes.out_features;
    if (y.type != type || y.shape != shape) return false;
    return is_close(expect(problem), problem.layout, read_array(y), epsilon_of(type), rounding_of(type));
  }
};

// Draws everything that a case needs.
class Dice {
 public:
  explicit Dice(unsigned seed) : random_(seed) {}

  std::int64_t between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }
  bool one_in(int count) { return between(1, count) == 1; }
  template <typename Values>
  auto pick(const Values& values) {
    return *(std::begin(values) + between(0, std::end(values) - std::begin(values) - 1));
  }

  Sizes sizes() {
    const std::int64_t most = one_in(20) ? 600 : 70;
    const std::int64_t rank = one_in(10) ? between(150, 340) : between(1, 45);
    return {between(1, most), between(1, most), between(1, 9), between(1, 9), rank};
  }

  Axes leading() {
    Axes axes(static_cast<std::size_t>(between(0, 3)));
    for (std::int64_t& axis : axes) axis = between(0, 6);
    if (one_in(12)) axes = {between(60, 160)};
    return axes;
  }

 private:
  std::mt19937 random_;
};

Layer random_layer(Dice& dice) {
  const Axes leading = dice.leading();
  std::int64_t rows = 1;
  for (const std::int64_t axis : leading) rows *= axis;
  return {dice.pick(kElementTypes), make_problem(dice.sizes(), rows), leading};
}

// Values that break sums but may break nothing else.
void poison(Dice& dice, std::vector<float>& values) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kStrange[] = {std::numeric_limits<float>::quiet_NaN(),
                                kInfinity,
                                -kInfinity,
                                0.0F,
                                -0.0F,
                                std::numeric_limits<float>::max(),
                                std::numeric_limits<float>::denorm_min()};
  for (int count = 0; count < 3 && !values.empty(); ++count) {
    values[dice.between(0, static_cast<std::int64_t>(values.size()) - 1)] = dice.pick(kStrange);
  }
}

// Changes one thing about the shape of an array, its content staying as long as the new shape asks for.
void bend(Dice& dice, Array& array) {
  Axes shape = array.shape;
  const std::int64_t way = dice.between(0, 4);
  if (way == 0 && !shape.empty()) shape.pop_back();
  if (way == 1) shape.push_back(dice.between(0, 3));
  if (way == 2 && shape.size() > 1) std::swap(shape.front(), shape.back());
  if (way >= 3 && !shape.empty()) {
    std::int64_t& axis = shape[dice.between(0, static_cast<std::int64_t>(shape.size()) - 1)];
    axis = std::max<std::int64_t>(0, axis + dice.between(-2, 2));
  }
  array = make_array(array.type, shape, {0.5F, -0.25F, 1.0F});
}

// Changes one attribute to something that a damaged or malicious file could hold.
void bend(Dice& dice, NodeDescription& node) {
  constexpr std::int64_t kStrange[] = {0,
                                       -1,
                                       1,
                                       7,
                                       std::int64_t{1} << 31,
                                       (std::int64_t{1} << 31) - 1,
                                       std::int64_t{1} << 62,
                                       std::numeric_limits<std::int64_t>::min(),
                                       std::numeric_limits<std::int64_t>::max()};
  auto changed = node.integers.begin();
  std::advance(changed, dice.between(0, static_cast<std::int64_t>(node.integers.size()) - 1));
  if (dice.one_in(4)) {
    node.integers.erase(changed);
  } else {
    changed->second = dice.one_in(2) ? changed->second + dice.between(-3, 3) : dice.pick(kStrange);
  }
}

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

// Layers of one X, as one node: every bit as each by itself, with constant factors and with fed ones.
void check_group(ElementType type, const std::vector<Sizes>& sizes, std::int64_t rows) {
  const std::string set = to_string(instruction_sets().front());
  std::vector<Layer> layers;
  for (const Sizes& each : sizes) layers.emplace_back(type, make_problem(each, rows), Axes{rows});
  const Array x = layers.front().x;
  std::vector<Array> packed;
  std::vector<Array> expected;
  std::string error;
  NodeDescription group;
  group.name = "group";
  for (Layer& layer : layers) {
    packed.push_back(layer.pack_factors(set));
    const NodeKernel kernel(contract::blast_linear_packed::kName, type, layer.node);
    expected.push_back(kernel.run({&x, &packed.back(), &layer.bias}, &error));
    CHECK(error.empty());
    group.lists["out_features"].push_back(layer.node.integers["out_features"]);
    group.lists["blocks_out"].push_back(layer.node.integers["blocks_out"]);
    group.lists["rank"].push_back(layer.node.integers["rank"]);
    group.texts["activation"] += group.texts["activation"].empty() ? "none" : ",none";
  }
  group.integers = layers.front().node.integers;
  group.texts["instruction_set"] = set;
  std::vector<const Array*> inputs = {&x};
  for (std::size_t index = 0; index < layers.size(); ++index) {
    inputs.push_back(&packed[index]);
    inputs.push_back(&layers[index].bias);
    group.constants[2 * index + 1] = packed[index];
  }
  for (int fed = 0; fed < 2; ++fed) {
    if (fed == 1) group.constants.clear();
    const NodeKernel kernel(contract::blast_linear_group_packed::kName, type, group);
    CHECK(kernel.refusal.empty());
    const std::vector<Array> found = kernel.run(inputs, layers.size(), &error);
    CHECK(error.empty());
    for (std::size_t index = 0; index < found.size(); ++index) {
      CHECK(found[index].shape == expected[index].shape && found[index].bytes == expected[index].bytes);
    }
  }
  group.lists["rank"].pop_back();
  const NodeKernel broken(contract::blast_linear_group_packed::kName, type, group);
  CHECK(broken.refusal.find("rank has") != std::string::npos);
}

TEST(groups_give_every_bit_of_their_layers) {
  for (const ElementType type : kElementTypes) {
    for (const std::int64_t rows : {0, 1, 20, 150}) {
      check_group(type, {{97, 101, 5, 3, 13}, {30, 101, 2, 3, 170}}, rows);
      check_group(type, {{384, 380, 4, 3, 190}, {96, 380, 2, 3, 40}, {384, 380, 3, 3, 330}}, rows);
    }
  }
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
