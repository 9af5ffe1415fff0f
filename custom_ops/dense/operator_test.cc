// The dense operator from creation to result in a stand-in runtime, whose memory the sanitizers watch.
#include "dense/operator.h"

#include <string>
#include <thread>
#include <vector>

#include "runtime/contract.h"
#include "runtime/instruction_set.h"
#include "testing/check.h"
#include "testing/dense_problem.h"
#include "testing/stand_in_runtime.h"

namespace blast_deploy::dense {
namespace {

using testing::Array;
using testing::NodeDescription;
using testing::NodeKernel;

Array make_array(const std::vector<std::int64_t>& shape, const std::vector<float>& values) {
  Array array(ElementType::kFloat, shape);
  const auto* const bytes = reinterpret_cast<const char*>(values.data());
  array.bytes.assign(bytes, bytes + array.bytes.size());
  return array;
}

// A layer as a model holds it, its rows in two leading axes.
struct Layer {
  Problem problem;
  NodeDescription node;
  Array packed, bias, x;

  Layer(Index out_features, Index in_features, Index rows)
      : problem(make_problem(out_features, in_features, rows)) {
    packed = Array(ElementType::kFloat, {problem.layout.size});
    pack(problem.layout, sizeof(float), problem.weight.data(), packed.bytes.data());
    bias = make_array({out_features}, problem.bias);
    x = make_array({rows, 1, in_features}, problem.x);
    node.name = "layer";
    node.integers = {
        {"in_features", in_features}, {"out_features", out_features}, {"layout_version", kLayoutVersion}};
    node.texts = {{"instruction_set", to_string(instruction_sets().front())}};
    node.constants = {{1, packed}, {2, bias}};
  }

  std::vector<const Array*> inputs() const { return {&x, &packed, &bias}; }

  bool is_right(const Array& y) const {
    if (y.shape != std::vector<std::int64_t>{problem.rows, 1, problem.layout.out_features}) return false;
    const auto* const values = reinterpret_cast<const float*>(y.bytes.data());
    return is_close(problem, std::vector<double>(values, values + y.count()),
                    std::numeric_limits<float>::epsilon(), 0);
  }
};

const char* const kName = contract::dense_linear_packed::kName;

std::string refusal(const NodeDescription& node) {
  return NodeKernel(kName, ElementType::kFloat, node).refusal;
}

TEST(layers_give_what_double_precision_gives) {
  for (const Index rows : {0, 1, 2, 70, 71, 200}) {
    for (const bool constant : {true, false}) {
      Layer layer(97, 301, rows);
      if (!constant) layer.node.constants.clear();
      const NodeKernel kernel(kName, ElementType::kFloat, layer.node);
      std::string error;
      CHECK(kernel.refusal.empty());
      CHECK(layer.is_right(kernel.run(layer.inputs(), &error)) && error.empty());
    }
  }
}

TEST(sixteen_threads_on_one_kernel_change_no_bit) {
  const Layer layer(97, 301, 150);
  const NodeKernel kernel(kName, ElementType::kFloat, layer.node);
  std::string error;
  const Array alone = kernel.run(layer.inputs(), &error);
  std::vector<Array> found(16);
  std::vector<std::thread> threads;
  for (Array& y : found) {
    threads.emplace_back([&] {
      std::string own_error;
      y = kernel.run(layer.inputs(), &own_error);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Array& y : found) CHECK(y.bytes == alone.bytes);
}

TEST(what_does_not_fit_is_refused_when_the_kernel_is_made) {
  const Layer layer(9, 7, 1);
  NodeDescription node = layer.node;
  node.integers["layout_version"] = 2;
  CHECK(refusal(node) ==
        "DenseLinearPacked 'layer': the weight was packed in layout 2, and this library reads layout 1; "
        "compile the model again");
  node = layer.node;
  node.integers["in_features"] = 9;
  CHECK(refusal(node) ==
        "DenseLinearPacked 'layer': the tensor of packed weights has shape (112,), and must have (144,)");
  node = layer.node;
  node.integers["out_features"] = -1;
  CHECK(refusal(node) == "DenseLinearPacked 'layer': out_features is -1, and must be from 1 to 2147483647");
  node = layer.node;
  node.constants[2] = Array(ElementType::kFloat, {8});
  CHECK(refusal(node) == "DenseLinearPacked 'layer': bias has shape (8,), and must have (9,)");
}

TEST(what_does_not_fit_is_refused_when_it_is_fed) {
  const Layer layer(9, 7, 1);
  NodeDescription node = layer.node;
  node.constants.clear();
  const NodeKernel kernel(kName, ElementType::kFloat, node);
  std::string error;
  const Array scalar(ElementType::kFloat, {});
  kernel.run({&scalar, &layer.packed, &layer.bias}, &error);
  CHECK(error == "X has no axis, and must have at least one");
  kernel.run({&layer.x, &layer.bias, &layer.bias}, &error);
  CHECK(error == "the tensor of packed weights has shape (9,), and must have (112,)");
  kernel.run({&layer.x, &layer.packed, &layer.packed}, &error);
  CHECK(error == "bias has shape (112,), and must have (9,)");
}

}  // namespace
}  // namespace blast_deploy::dense

RUN_TESTS()
