// The quantised operators as ONNX Runtime runs them. What they mean is stated in structures/contract.py.
#pragma once

#include <cstddef>

#include "blast/runner.h"
#include "quantized/linear.h"
#include "runtime/contract.h"
#include "runtime/element_type.h"
#include "runtime/node.h"

namespace blast_deploy::quantized {

// QBlastLinearPacked: reads factors that were packed before, where they lie.
class PackedLinearOperator {
 public:
  static constexpr const char* kName = contract::q_blast_linear_packed::kName;
  static constexpr int kSinceVersion = contract::q_blast_linear_packed::kSinceVersion;
  static constexpr std::size_t kInputs = contract::q_blast_linear_packed::kInputs;
  static constexpr std::size_t kRequiredInputs = contract::q_blast_linear_packed::kRequiredInputs;
  static constexpr std::size_t kOutputs = contract::q_blast_linear_packed::kOutputs;
  static constexpr bool kVariadic = false;
  static constexpr const int* kInputTypes = contract::q_blast_linear_packed::kInputTypes;

  PackedLinearOperator(const Node& node, ElementType type);
  void compute(abi::KernelContext* context) const;
  static void infer_shape(const Api& api, abi::ShapeInferenceContext* context);

 private:
  using Runner = blast::LayerRunner<Linear>;

  Runner runner_;
  Runner::Layer layer_;  // packed is nullptr where its factors are not constant
};

// QDenseLinearPacked: the same of a dense weight.
class PackedDenseOperator {
 public:
  static constexpr const char* kName = contract::q_dense_linear_packed::kName;
  static constexpr int kSinceVersion = contract::q_dense_linear_packed::kSinceVersion;
  static constexpr std::size_t kInputs = contract::q_dense_linear_packed::kInputs;
  static constexpr std::size_t kRequiredInputs = contract::q_dense_linear_packed::kRequiredInputs;
  static constexpr std::size_t kOutputs = contract::q_dense_linear_packed::kOutputs;
  static constexpr bool kVariadic = false;
  static constexpr const int* kInputTypes = contract::q_dense_linear_packed::kInputTypes;

  PackedDenseOperator(const Node& node, ElementType type);
  void compute(abi::KernelContext* context) const;
  static void infer_shape(const Api& api, abi::ShapeInferenceContext* context);

 private:
  using Runner = blast::LayerRunner<DenseLinear>;

  Runner runner_;
  Runner::Layer layer_;
};

}  // namespace blast_deploy::quantized
