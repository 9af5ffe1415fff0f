#include "blast/operator.h"

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
  static_assert(packed::kInputBias == packed::kInputFactors + 1, "see LayerRunner::Inputs");
  layers_ = {{linear, constant_factors(node, linear.layout, packed::kInputBias), kPackedInputs}};
}

void PackedLinearOperator::compute(abi::KernelContext* context) const { runner_.run(context, layers_); }

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
                       constant_factors(node, layout, factors + 1),
                       {factors + 1, Runner::kNone}});
  }
}

void GroupPackedOperator::compute(abi::KernelContext* context) const { runner_.run(context, layers_); }

void GroupPackedOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axes(api, context, group::kAttributeOutFeatures);
}

}  // namespace blast_deploy::blast
