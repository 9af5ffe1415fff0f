// BLAST layers as a model would hold them, of random sizes and values, and ways to break them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "blast/layout.h"
#include "runtime/element_type.h"
#include "runtime/half.h"
#include "testing/blast_problem.h"
#include "testing/stand_in_runtime.h"

namespace blast_deploy::blast {
namespace {

using testing::Array;
using testing::NodeDescription;
using testing::NodeKernel;
using Axes = std::vector<std::int64_t>;

// Random cases of each kind; the slow suite asks for many more.
inline int case_count() {
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
inline Array make_array(ElementType type, const Axes& shape, const std::vector<float>& values) {
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

inline std::vector<double> read_array(const Array& array) {
  if (array.type == ElementType::kDouble) return read<double>(array);
  if (array.type == ElementType::kFloat16) return read<Half>(array);
  if (array.type == ElementType::kBfloat16) return read<Bfloat16>(array);
  return read<float>(array);
}

inline double epsilon_of(ElementType type) {
  return type == ElementType::kDouble ? std::numeric_limits<double>::epsilon()
                                      : std::numeric_limits<float>::epsilon();
}

inline double rounding_of(ElementType type) {
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

inline Layer random_layer(Dice& dice) {
  const Axes leading = dice.leading();
  std::int64_t rows = 1;
  for (const std::int64_t axis : leading) rows *= axis;
  return {dice.pick(kElementTypes), make_problem(dice.sizes(), rows), leading};
}

// Values that break sums but may break nothing else.
inline void poison(Dice& dice, std::vector<float>& values) {
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
inline void bend(Dice& dice, Array& array) {
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
inline void bend(Dice& dice, NodeDescription& node) {
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
  // Those that honest layers leave out.
  for (const char* const name : {"largest_tile_rows", "smallest_share_bytes", "smallest_share_operations"}) {
    if (dice.one_in(8)) node.integers[name] = dice.pick(kStrange);
  }
}

}  // namespace
}  // namespace blast_deploy::blast
