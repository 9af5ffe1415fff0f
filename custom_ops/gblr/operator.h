// The GBLR operator as ONNX Runtime runs it. What it means is stated in structures/contract.py.
#pragma once

#include <cstddef>

#include "blast/runner.h"
#include "gblr/linear.h"
#include "runtime/contract.h"
#include "runtime/element_type.h"
#include "runtime/node.h"

namespace blast_deploy::gblr {

using Runner = blast::LayerRunner<Linear>;

// GblrLinearPacked: reads factors that were packed before, where they lie. They must be constant, because
// what they say of themselves is checked once, when the session is made.
class PackedLinearOperator {
 public:
  static constexpr const char* kName = contract::gblr_linear_packed::kName;
  static constexpr int kSinceVersion = contract::gblr_linear_packed::kSinceVersion;
  static constexpr std::size_t kInputs = contract::gblr_linear_packed::kInputs;
  static constexpr std::size_t kRequiredInputs = contract::gblr_linear_packed::kRequiredInputs;
  static constexpr std::size_t kOutputs = contract::gblr_linear_packed::kOutputs;
  static constexpr const int* kInputTypes = contract::gblr_linear_packed::kInputTypes;
  static constexpr bool kVariadic = false;

  PackedLinearOperator(const Node& node, ElementType type);
  void compute(abi::KernelContext* context) const;
  static void infer_shape(const Api& api, abi::ShapeInferenceContext* context);

 private:
  Runner runner_;
  Runner::Layer layer_;
};

}  // namespace blast_deploy::gblr
