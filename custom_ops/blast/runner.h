// Runs layers on the threads and the scratch memory of ONNX Runtime.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "blast/job.h"
#include "blast/linear.h"
#include "runtime/node.h"
#include "runtime/processors.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace blast_deploy::blast {

// The number of rows of X; refuses any shape but (..., in_features), with one sentence.
std::int64_t check_rows(const Tensor& x, std::int64_t in_features);

// Refuses any shape but (out_features,), with one sentence.
void check_bias(const Tensor& bias, std::int64_t out_features);

// Refuses any shape but (size,), with one sentence.
void check_factors(const Tensor& factors, std::int64_t size);

// Refuses any shape but that of Y, with one sentence.
void check_residual(const Tensor& residual, const Shape& y_shape);

// The limits that a node's attributes of these names state, or the usual ones; refuses impossible ones.
Limits limits_of(const Node& node, const char* tile_rows, const char* share_bytes,
                 const char* share_operations);

// Where a layer's factors lie if they never change, or nullptr; they stand before its bias. Refuses a wrong
// number of them, and a wrong bias.
template <typename Layout>
const void* constant_factors(const Node& node, const Layout& layout, std::size_t bias_input) {
  Tensor factors;
  if (node.constant(bias_input - 1, &factors)) check_factors(factors, layout.size);
  Tensor bias;
  if (node.constant(bias_input, &bias)) check_bias(bias, layout.sizes.out_features);
  return factors.data;
}

// Of layers of type `Linear`, a TiledLinear.
template <typename Linear>
class LayerRunner {
 public:
  explicit LayerRunner(const Node& node)
      : api_(node.api()), allocator_(node.allocator()), threads_(usable_processors()) {}

  const Api& api() const { return api_; }
  abi::Allocator* allocator() const { return allocator_.get(); }

  // Positions of the inputs that a layer reads beside X (input 0).
  struct Inputs {
    std::size_t bias;      // its factors stand before it
    std::size_t residual;  // may be missing; kNone where the operator takes none
  };
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  // A layer of a run.
  struct Layer {
    Linear linear;
    const void* packed;  // nullptr where the factors are not constant
    Inputs inputs;
  };

  // Reads the inputs, refuses wrong shapes and writes Y, that of layer i to output i. There is at least one
  // layer; all read one X of the same width, with kernels of one element type.
  void run(abi::KernelContext* context, const std::vector<Layer>& layers) const {
    const Linear& first = layers.front().linear;
    const Tensor x = read_input(api_, context, 0);
    const std::int64_t rows = check_rows(x, first.layout.sizes.in_features);
    std::vector<decltype(&first.layout)> layouts;
    for (const Layer& layer : layers) layouts.push_back(&layer.linear.layout);
    const auto schedules =
        make_schedules(layouts, first.kernel->element_type, rows, threads_.next(), first.limits);
    std::vector<typename Job<Linear>::Part> parts;
    parts.reserve(layers.size());
    for (std::size_t index = 0; index < layers.size(); ++index) {
      parts.push_back(
          {layers[index].linear, schedules[index], read_operands(context, layers[index], x, index)});
    }
    if (rows == 0) return;
    threads_.observe(Job<Linear>(parts, allocator_.get()).run(api_, context));
  }

 private:
  // Reads what a layer computes on, and has its output made.
  Operands read_operands(abi::KernelContext* context, const Layer& layer, const Tensor& x,
                         std::size_t output) const {
    const std::int64_t out_features = layer.linear.layout.sizes.out_features;
    const Tensor bias = read_input(api_, context, layer.inputs.bias);
    check_bias(bias, out_features);
    Shape y_shape = x.shape;
    y_shape.back() = out_features;
    Tensor factors;
    if (layer.packed == nullptr) {
      factors = read_input(api_, context, layer.inputs.bias - 1);
      check_factors(factors, layer.linear.layout.size);
    }
    Tensor residual;
    if (layer.inputs.residual != kNone && read_optional(api_, context, layer.inputs.residual, &residual)) {
      check_residual(residual, y_shape);
    }
    return {layer.packed == nullptr ? factors.data : layer.packed, bias.data, x.data, residual.data,
            make_output(api_, context, output, y_shape)};
  }

  Api api_;
  Owned<abi::Allocator> allocator_;
  mutable ThreadEstimate threads_;
};

using Runner = LayerRunner<Linear>;

}  // namespace blast_deploy::blast
