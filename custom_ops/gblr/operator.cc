#include "gblr/operator.h"

#include <stdexcept>
#include <string>

#include "runtime/instruction_set.h"
#include "runtime/shape_inference.h"

namespace blast_deploy::gblr {
namespace {

namespace packed = contract::gblr_linear_packed;

void check_layout_version(std::int64_t found) {
  if (found == kLayoutVersion) return;
  throw std::invalid_argument("the factors were packed in layout " + std::to_string(found) +
                              ", and this library reads layout " + std::to_string(kLayoutVersion) +
                              "; compile the model again");
}

Tensor packed_factors(const Node& node) {
  Tensor factors;
  if (!node.constant(packed::kInputFactors, &factors)) {
    throw std::invalid_argument("the packed factors must be constant; compile the model again");
  }
  if (factors.shape.size() != 1) {
    throw std::invalid_argument("the packed factors have shape " + to_string(factors.shape) +
                                ", and must have one axis");
  }
  return factors;
}

}  // namespace

PackedLinearOperator::PackedLinearOperator(const Node& node, ElementType) : runner_(node), layer_{} {
  check_layout_version(node.integer(packed::kAttributeLayoutVersion));
  Linear& linear = layer_.linear;
  linear.kernel = &kernel_for(require_instruction_set(node.text(packed::kAttributeInstructionSet)));
  linear.activation = activation_named(node.text_or(packed::kAttributeActivation, "none"));
  linear.limits =
      blast::limits_of(node, packed::kAttributeLargestTileRows, packed::kAttributeSmallestShareBytes,
                       packed::kAttributeSmallestShareOperations);
  const Tensor factors = packed_factors(node);
  linear.layout =
      read_layout({node.integer(packed::kAttributeOutFeatures), node.integer(packed::kAttributeInFeatures),
                   node.integer(packed::kAttributeComponents)},
                  factors.data, factors.shape.front());
  static_assert(packed::kInputBias == packed::kInputFactors + 1, "see LayerRunner::Inputs");
  layer_.inputs = {packed::kInputBias, packed::kInputResidual};
  layer_.packed = blast::constant_factors(node, linear.layout, packed::kInputBias);
}

void PackedLinearOperator::compute(abi::KernelContext* context) const { runner_.run(context, {layer_}); }

void PackedLinearOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axis(api, context, packed::kAttributeOutFeatures);
}

}  // namespace blast_deploy::gblr
