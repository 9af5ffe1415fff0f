#include "blast/operator.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/instruction_set.h"
#include "runtime/shape_inference.h"

namespace blast_deploy::blast {
namespace {

namespace plain = contract::blast_linear;
namespace packed = contract::blast_linear_packed;
namespace group = contract::blast_linear_group_packed;

constexpr Runner::Inputs kPlainInputs{plain::kInputBias, Runner::kNone};
constexpr Runner::Inputs kPackedInputs{packed::kInputBias, packed::kInputResidual};

constexpr char kFactors[] = "the tensor of packed factors";

const Kernel* best_kernel(ElementType type) { return &kernel_for(instruction_sets().front(), type); }

void check_factor(const char* name, const Tensor& factor, const Shape& needed) {
  if (factor.shape != needed) {
    throw std::invalid_argument(std::string(name) + " has shape " + to_string(factor.shape) +
                                ", and must have " + to_string(needed));
  }
}

// The sizes that the factors' shapes and the attributes state; refuses those that do not agree.
Sizes check_factors(const Tensor& u, const Tensor& s, const Tensor& v, std::int64_t out_features,
                    std::int64_t in_features) {
  if (u.shape.size() != 3 || s.shape.size() != 3 || v.shape.size() != 3) {
    throw std::invalid_argument("U, S and V have shapes " + to_string(u.shape) + ", " + to_string(s.shape) +
                                " and " + to_string(v.shape) + ", and must have three axes each");
  }
  const Sizes sizes{out_features, in_features, u.shape[0], v.shape[0], u.shape[2]};
  const Layout layout = plan(sizes);
  check_factor("U", u, {sizes.blocks_out, layout.block_rows, sizes.rank});
  check_factor("S", s, {sizes.blocks_out, sizes.blocks_in, sizes.rank});
  check_factor("V", v, {sizes.blocks_in, sizes.rank, layout.block_columns});
  return sizes;
}

std::size_t packed_bytes(const Linear& linear) {
  return static_cast<std::size_t>(linear.layout.size) * value_bytes(linear.kernel->element_type);
}

const Kernel* promised_kernel(const Node& node, const char* version, const char* set, ElementType type) {
  const std::int64_t found = node.integer(version);
  if (found < kOldestLayoutVersion || found > kLayoutVersion) {
    throw std::invalid_argument("the factors were packed in layout " + std::to_string(found) +
                                ", and this library reads layouts " + std::to_string(kOldestLayoutVersion) +
                                " to " + std::to_string(kLayoutVersion) + "; compile the model again");
  }
  return &kernel_for(require_instruction_set(node.text(set)), type);
}

Limits limits_of(const Node& node, const char* tile_rows, const char* share_bytes,
                 const char* share_operations) {
  const Limits usual;
  const Limits limits{node.integer_or(tile_rows, usual.largest_tile_rows),
                      node.integer_or(share_bytes, usual.smallest_share_bytes),
                      node.integer_or(share_operations, usual.smallest_share_operations)};
  check_limits(limits);
  return limits;
}

// Where a layer's factors lie if they never change; refuses a wrong number of them, and a wrong bias.
const void* constant_factors(const Node& node, const Layout& layout, std::size_t factors_input,
                             std::size_t bias_input) {
  Tensor factors;
  if (node.constant(factors_input, &factors)) check_factor(kFactors, factors, {layout.size});
  Tensor bias;
  if (node.constant(bias_input, &bias)) check_bias(bias, layout.sizes.out_features);
  return factors.data;
}

// Runs layers of which some have factors that are not constant; each stands before its layer's bias.
void run_layers(const Runner& runner, abi::KernelContext* context, const std::vector<Runner::Layer>& layers) {
  const auto fed = [](const Runner::Layer& layer) { return layer.packed == nullptr; };
  if (std::none_of(layers.begin(), layers.end(), fed)) return runner.run(context, layers);
  std::vector<Runner::Layer> complete = layers;
  for (Runner::Layer& layer : complete) {
    const Tensor factors = read_input(runner.api(), context, layer.inputs.bias - 1);
    check_factor(kFactors, factors, {layer.linear.layout.size});
    layer.packed = factors.data;
  }
  runner.run(context, complete);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words(1);
  for (const char letter : text) {
    if (letter == ',') {
      words.emplace_back();
    } else {
      words.back() += letter;
    }
  }
  return words;
}

void check_count(const char* attribute, std::size_t count, std::size_t layers) {
  if (count != layers) {
    throw std::invalid_argument(std::string(attribute) + " has " + std::to_string(count) +
                                " values, and must have " + std::to_string(layers) + ", one for each layer");
  }
}

}  // namespace

void LinearOperator::Free::operator()(void* memory) const { std::free(memory); }

LinearOperator::LinearOperator(const Node& node, ElementType type)
    : runner_(node),
      out_features_(node.integer(plain::kAttributeOutFeatures)),
      in_features_(node.integer(plain::kAttributeInFeatures)),
      linear_{{}, best_kernel(type)} {
  Tensor bias;
  if (node.constant(plain::kInputBias, &bias)) check_bias(bias, out_features_);
  Tensor u;
  Tensor s;
  Tensor v;
  if (!node.constant(plain::kInputU, &u) || !node.constant(plain::kInputS, &s) ||
      !node.constant(plain::kInputV, &v)) {
    return;
  }
  linear_.layout = plan(check_factors(u, s, v, out_features_, in_features_));
  constexpr std::size_t kCacheLine = 64;
  const std::size_t bytes = packed_bytes(linear_);
  packed_.reset(std::aligned_alloc(kCacheLine, (bytes + kCacheLine - 1) / kCacheLine * kCacheLine));
  if (packed_ == nullptr) throw std::bad_alloc();
  pack(linear_.layout, value_bytes(type), u.data, s.data, v.data, packed_.get());
}

void LinearOperator::compute(abi::KernelContext* context) const {
  if (packed_ != nullptr) return runner_.run(context, {{linear_, packed_.get(), kPlainInputs}});
  const Tensor u = read_input(runner_.api(), context, plain::kInputU);
  const Tensor s = read_input(runner_.api(), context, plain::kInputS);
  const Tensor v = read_input(runner_.api(), context, plain::kInputV);
  const Linear linear{plan(check_factors(u, s, v, out_features_, in_features_)), linear_.kernel};
  const Scratch memory(runner_.allocator(), packed_bytes(linear));
  pack(linear.layout, value_bytes(linear.kernel->element_type), u.data, s.data, v.data, memory.get());
  runner_.run(context, {{linear, memory.get(), kPlainInputs}});
}

void LinearOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axis(api, context, plain::kAttributeOutFeatures);
}

PackedLinearOperator::PackedLinearOperator(const Node& node, ElementType type) : runner_(node) {
  Linear linear{};
  linear.kernel =
      promised_kernel(node, packed::kAttributeLayoutVersion, packed::kAttributeInstructionSet, type);
  linear.activation = activation_named(node.text_or(packed::kAttributeActivation, "none"));
  linear.limits = limits_of(node, packed::kAttributeLargestTileRows, packed::kAttributeSmallestShareBytes,
                            packed::kAttributeSmallestShareOperations);
  linear.layout = plan({node.integer(packed::kAttributeOutFeatures),
                        node.integer(packed::kAttributeInFeatures), node.integer(packed::kAttributeBlocksOut),
                        node.integer(packed::kAttributeBlocksIn), node.integer(packed::kAttributeRank)});
  static_assert(packed::kInputBias == packed::kInputFactors + 1, "see run_layers");
  layers_ = {{linear, constant_factors(node, linear.layout, packed::kInputFactors, packed::kInputBias),
              kPackedInputs}};
}

void PackedLinearOperator::compute(abi::KernelContext* context) const {
  run_layers(runner_, context, layers_);
}

void PackedLinearOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axis(api, context, packed::kAttributeOutFeatures);
}

GroupPackedOperator::GroupPackedOperator(const Node& node, ElementType type) : runner_(node) {
  const Kernel* const kernel =
      promised_kernel(node, group::kAttributeLayoutVersion, group::kAttributeInstructionSet, type);
  const std::int64_t in_features = node.integer(group::kAttributeInFeatures);
  const std::int64_t blocks_in = node.integer(group::kAttributeBlocksIn);
  const std::vector<std::int64_t> out_features = node.integers(group::kAttributeOutFeatures);
  const std::vector<std::int64_t> blocks_out = node.integers(group::kAttributeBlocksOut);
  const std::vector<std::int64_t> ranks = node.integers(group::kAttributeRank);
  const std::vector<std::string> activations = split(node.text(group::kAttributeActivation));
  const Limits limits = limits_of(node, group::kAttributeLargestTileRows, group::kAttributeSmallestShareBytes,
                                  group::kAttributeSmallestShareOperations);
  const std::size_t count = out_features.size();
  if (count == 0)
    throw std::invalid_argument("out_features is empty, and must have one value for each layer");
  check_count(group::kAttributeBlocksOut, blocks_out.size(), count);
  check_count(group::kAttributeRank, ranks.size(), count);
  check_count(group::kAttributeActivation, activations.size(), count);
  for (std::size_t index = 0; index < count; ++index) {
    const std::size_t factors = group::kInputLayers + 2 * index;
    const Layout layout =
        plan({out_features[index], in_features, blocks_out[index], blocks_in, ranks[index]});
    layers_.push_back({{layout, kernel, activation_named(activations[index]), limits},
                       constant_factors(node, layout, factors, factors + 1),
                       {factors + 1, Runner::kNone}});
  }
}

void GroupPackedOperator::compute(abi::KernelContext* context) const {
  run_layers(runner_, context, layers_);
}

void GroupPackedOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axes(api, context, group::kAttributeOutFeatures);
}

}  // namespace blast_deploy::blast
