#include "quantized/operator.h"

#include <stdexcept>
#include <string>

#include "runtime/instruction_set.h"
#include "runtime/shape_inference.h"

namespace blast_deploy::quantized {
namespace {

namespace packed = contract::q_blast_linear_packed;
namespace dense = contract::q_dense_linear_packed;

void check_layout_version(std::int64_t found, std::int64_t own) {
  if (found == own) return;
  throw std::invalid_argument("the factors were packed in layout " + std::to_string(found) +
                              ", and this library reads layout " + std::to_string(own) +
                              "; compile the model again");
}

const Kernels& promised_kernels(const Node& node, const char* instruction_set) {
  return *kernels_for(require_instruction_set(node.text(instruction_set))).front();
}

}  // namespace

PackedLinearOperator::PackedLinearOperator(const Node& node, ElementType) : runner_(node), layer_{} {
  check_layout_version(node.integer(packed::kAttributeLayoutVersion), kLayoutVersion);
  Linear& linear = layer_.linear;
  linear.kernel = &promised_kernels(node, packed::kAttributeInstructionSet).blast;
  linear.activation = activation_named(node.text_or(packed::kAttributeActivation, "none"));
  linear.limits =
      blast::limits_of(node, packed::kAttributeLargestTileRows, packed::kAttributeSmallestShareBytes,
                       packed::kAttributeSmallestShareOperations);
  linear.layout = plan({node.integer(packed::kAttributeOutFeatures),
                        node.integer(packed::kAttributeInFeatures), node.integer(packed::kAttributeBlocksOut),
                        node.integer(packed::kAttributeBlocksIn), node.integer(packed::kAttributeRank)},
                       {node.integer(packed::kAttributeBits), node.integer(packed::kAttributeBlockSize)});
  static_assert(packed::kInputBias == packed::kInputFactors + 1, "see LayerRunner::Inputs");
  layer_.inputs = {packed::kInputBias, packed::kInputResidual};
  layer_.packed = blast::constant_factors(node, linear.layout, packed::kInputBias);
}

void PackedLinearOperator::compute(abi::KernelContext* context) const { runner_.run(context, {layer_}); }

void PackedLinearOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axis(api, context, packed::kAttributeOutFeatures);
}

PackedDenseOperator::PackedDenseOperator(const Node& node, ElementType) : runner_(node), layer_{} {
  check_layout_version(node.integer(dense::kAttributeLayoutVersion), kDenseLayoutVersion);
  DenseLinear& linear = layer_.linear;
  linear.kernel = &promised_kernels(node, dense::kAttributeInstructionSet).dense;
  linear.layout =
      plan_dense({node.integer(dense::kAttributeOutFeatures), node.integer(dense::kAttributeInFeatures)},
                 {node.integer(dense::kAttributeBits), node.integer(dense::kAttributeBlockSize)});
  static_assert(dense::kInputBias == dense::kInputWeights + 1, "see LayerRunner::Inputs");
  layer_.inputs = {dense::kInputBias, Runner::kNone};
  layer_.packed = blast::constant_factors(node, linear.layout, dense::kInputBias);
}

void PackedDenseOperator::compute(abi::KernelContext* context) const { runner_.run(context, {layer_}); }

void PackedDenseOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axis(api, context, dense::kAttributeOutFeatures);
}

}  // namespace blast_deploy::quantized
