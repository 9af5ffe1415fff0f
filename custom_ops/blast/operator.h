// The BLAST operators as ONNX Runtime runs them. What they mean is stated in structures/contract.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "blast/runner.h"
#include "runtime/contract.h"
#include "runtime/element_type.h"
#include "runtime/node.h"

namespace blast_deploy::blast {

// BlastLinear: packs constant factors when the session is made, others in every run.
class LinearOperator {
 public:
  static constexpr const char* kName = contract::blast_linear::kName;
  static constexpr int kSinceVersion = contract::blast_linear::kSinceVersion;
  static constexpr std::size_t kInputs = contract::blast_linear::kInputs;
  static constexpr std::size_t kRequiredInputs = contract::blast_linear::kRequiredInputs;
  static constexpr std::size_t kOutputs = contract::blast_linear::kOutputs;
  static constexpr const int* kInputTypes = contract::blast_linear::kInputTypes;
  static constexpr bool kVariadic = false;

  LinearOperator(const Node& node, ElementType type);
  void compute(abi::KernelContext* context) const;
  static void infer_shape(const Api& api, abi::ShapeInferenceContext* context);

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  using Packed = std::unique_ptr<void, Free>;

  Linear plan_linear(const Tensor& u, const Tensor& s, const Tensor& v) const;

  Runner runner_;
  std::int64_t out_features_;
  std::int64_t in_features_;
  Packed packed_;  // empty where the factors are not constant
  Linear linear_;
};

// BlastLinearPacked: reads factors that were packed before, where they lie. They are constant in every model
// that is compiled, but older runtimes put a cast before a float16 node that stands alone, and then they are
// not.
class PackedLinearOperator {
 public:
  static constexpr const char* kName = contract::blast_linear_packed::kName;
  static constexpr int kSinceVersion = contract::blast_linear_packed::kSinceVersion;
  static constexpr std::size_t kInputs = contract::blast_linear_packed::kInputs;
  static constexpr std::size_t kRequiredInputs = contract::blast_linear_packed::kRequiredInputs;
  static constexpr std::size_t kOutputs = contract::blast_linear_packed::kOutputs;
  static constexpr const int* kInputTypes = contract::blast_linear_packed::kInputTypes;
  static constexpr bool kVariadic = false;

  PackedLinearOperator(const Node& node, ElementType type);
  void compute(abi::KernelContext* context) const;
  static void infer_shape(const Api& api, abi::ShapeInferenceContext* context);

 private:
  Runner runner_;
  std::vector<Runner::Layer> layers_;  // one; packed is nullptr where its factors are not constant
};

// BlastLinearGroupPacked: several such layers of one input, computed together.
class GroupPackedOperator {
 public:
  static constexpr const char* kName = contract::blast_linear_group_packed::kName;
  static constexpr int kSinceVersion = contract::blast_linear_group_packed::kSinceVersion;
  static constexpr std::size_t kInputs = contract::blast_linear_group_packed::kInputs;
  static constexpr std::size_t kRequiredInputs = contract::blast_linear_group_packed::kRequiredInputs;
  static constexpr std::size_t kOutputs = contract::blast_linear_group_packed::kOutputs;
  static constexpr const int* kInputTypes = contract::blast_linear_group_packed::kInputTypes;
  static constexpr bool kVariadic = true;

  GroupPackedOperator(const Node& node, ElementType type);
  void compute(abi::KernelContext* context) const;
  static void infer_shape(const Api& api, abi::ShapeInferenceContext* context);

 private:
  Runner runner_;
  std::vector<Runner::Layer> layers_;  // packed is nullptr where the factors are not constant
};

}  // namespace blast_deploy::blast
