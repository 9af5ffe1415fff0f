// The dense operator as ONNX Runtime runs it. What it means is stated in structures/contract.py.
#pragma once

#include <cstddef>

#include "dense/linear.h"
#include "runtime/contract.h"
#include "runtime/element_type.h"
#include "runtime/node.h"
#include "runtime/processors.h"
#include "runtime/threads.h"

namespace blast_deploy::dense {

// DenseLinearPacked: reads a weight that was packed before, where it lies. It is constant in every model that
// is made so, but older runtimes put a cast before a float16 node that stands alone, and then it is not.
class PackedLinearOperator {
 public:
  static constexpr const char* kName = contract::dense_linear_packed::kName;
  static constexpr int kSinceVersion = contract::dense_linear_packed::kSinceVersion;
  static constexpr std::size_t kInputs = contract::dense_linear_packed::kInputs;
  static constexpr std::size_t kRequiredInputs = contract::dense_linear_packed::kRequiredInputs;
  static constexpr std::size_t kOutputs = contract::dense_linear_packed::kOutputs;
  static constexpr const int* kInputTypes = contract::dense_linear_packed::kInputTypes;
  static constexpr bool kVariadic = false;

  PackedLinearOperator(const Node& node, ElementType type);
  void compute(abi::KernelContext* context) const;
  static void infer_shape(const Api& api, abi::ShapeInferenceContext* context);

 private:
  Api api_;
  Owned<abi::Allocator> allocator_;
  mutable ThreadEstimate threads_;
  const void* packed_ = nullptr;  // where the weight is constant
  Linear linear_{};
};

}  // namespace blast_deploy::dense
