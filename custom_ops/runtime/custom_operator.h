// Makes the record by which ONNX Runtime knows an operator from a class that implements it.
//
// Such a class has
//   static constexpr const char* kName; int kSinceVersion;
//   static constexpr std::size_t kInputs, kRequiredInputs, kOutputs;  // optional inputs come last
//   static constexpr const int* kInputTypes;  // as contract.h has them
//   static constexpr bool kVariadic;  // whether the last input and the last output stand for any number
//   Operator(const Node&, ElementType);                 // checks everything that can be checked; throws
//   void compute(abi::KernelContext*) const;            // re-entrant; throws
//   static void infer_shape(const Api&, abi::ShapeInferenceContext*);
#pragma once

#include <limits>
#include <stdexcept>
#include <string>

#include "runtime/abi.h"
#include "runtime/api.h"
#include "runtime/contract.h"
#include "runtime/element_type.h"
#include "runtime/node.h"

namespace blast_deploy {

struct CustomOperator : abi::CustomOp {
  const abi::FunctionTable* table = nullptr;
  ElementType element_type{};
};

namespace internal {

template <typename Operator>
struct Instance {
  Api api;
  Operator implementation;
};

inline const CustomOperator* self(const abi::CustomOp* op) { return static_cast<const CustomOperator*>(op); }

inline int element_type(const abi::CustomOp* op, std::size_t) {
  return static_cast<int>(self(op)->element_type);
}

template <typename Operator>
int input_type(const abi::CustomOp* op, std::size_t index) {
  const int fixed = Operator::kInputTypes[index];
  return fixed == contract::kSharedType ? element_type(op, index) : fixed;
}

template <typename Operator>
abi::Status* create(const abi::CustomOp* op, const abi::FunctionTable* table, const abi::KernelInfo* info,
                    void** kernel) {
  const Api api(table);
  return guarded(api, [&] {
    const Node node(api, info);
    try {
      *kernel = new Instance<Operator>{api, Operator(node, self(op)->element_type)};
    } catch (const std::exception& error) {
      throw Failure(abi::kInvalidArgument,
                    std::string(Operator::kName) + " '" + node.name() + "': " + error.what());
    }
  });
}

template <typename Operator>
abi::Status* infer_shape(const abi::CustomOp* op, abi::ShapeInferenceContext* context) {
  const Api api(self(op)->table);
  return guarded(api, [&] { Operator::infer_shape(api, context); });
}

template <typename Operator>
abi::Status* compute(void* kernel, abi::KernelContext* context) {
  const auto& owned = *static_cast<const Instance<Operator>*>(kernel);
  return guarded(owned.api, [&] { owned.implementation.compute(context); });
}

}  // namespace internal

// Makes the record for one element type, whose kernel runs on the CPU.
template <typename Operator>
CustomOperator make_operator(const abi::FunctionTable* table, ElementType element_type) {
  CustomOperator op{};
  op.table = table;
  op.element_type = element_type;
  op.version = abi::kApiVersion;
  op.get_name = [](const abi::CustomOp*) { return Operator::kName; };
  op.get_execution_provider_type = [](const abi::CustomOp*) -> const char* { return nullptr; };
  op.get_input_type = internal::input_type<Operator>;
  op.get_input_count = [](const abi::CustomOp*) { return Operator::kInputs; };
  op.get_output_type = internal::element_type;
  op.get_output_count = [](const abi::CustomOp*) { return Operator::kOutputs; };
  op.destroy_kernel = [](void* kernel) { delete static_cast<internal::Instance<Operator>*>(kernel); };
  op.get_input_characteristic = [](const abi::CustomOp*, std::size_t index) {
    if (Operator::kVariadic && index + 1 == Operator::kInputs) return int{abi::kVariadic};
    return int{index < Operator::kRequiredInputs ? abi::kRequired : abi::kOptional};
  };
  op.get_output_characteristic = [](const abi::CustomOp*, std::size_t index) {
    return int{Operator::kVariadic && index + 1 == Operator::kOutputs ? abi::kVariadic : abi::kRequired};
  };
  op.get_input_memory_type = [](const abi::CustomOp*, std::size_t) { return int{abi::kDefaultMemory}; };
  op.get_variadic_input_min_arity = [](const abi::CustomOp*) { return 1; };
  op.get_variadic_input_homogeneity = [](const abi::CustomOp*) { return 1; };
  op.get_variadic_output_min_arity = [](const abi::CustomOp*) { return 1; };
  op.get_variadic_output_homogeneity = [](const abi::CustomOp*) { return 1; };
  op.create_kernel_checked = internal::create<Operator>;
  op.compute_kernel_checked = internal::compute<Operator>;
  op.infer_output_shape = internal::infer_shape<Operator>;
  op.get_start_version = [](const abi::CustomOp*) { return Operator::kSinceVersion; };
  op.get_end_version = [](const abi::CustomOp*) { return std::numeric_limits<int>::max(); };
  return op;
}

}  // namespace blast_deploy
