#include "runtime/shape_inference.h"

#include <cstdint>
#include <vector>

#include "runtime/tensor.h"

namespace blast_deploy {
namespace {

// ONNX Runtime fills an array of the caller's, who has to know how long it may be.
constexpr std::size_t kMostOutputs = 64;

std::int64_t read_integer(const Api& api, const abi::ShapeInferenceContext* context, const char* name) {
  const abi::OperatorAttribute* attribute = nullptr;
  api.check(abi::kGetShapeAttribute, context, name, &attribute);
  std::int64_t value = 0;
  std::size_t bytes = 0;
  api.check(abi::kReadAttribute, attribute, abi::kIntegerAttribute, &value, sizeof value, &bytes);
  return value;
}

std::vector<std::int64_t> read_integers(const Api& api, const abi::ShapeInferenceContext* context,
                                        const char* name) {
  const abi::OperatorAttribute* attribute = nullptr;
  api.check(abi::kGetShapeAttribute, context, name, &attribute);
  std::vector<std::int64_t> values(kMostOutputs);
  std::size_t bytes = 0;
  api.check(abi::kReadAttribute, attribute, abi::kIntegersAttribute, values.data(),
            values.size() * sizeof values[0], &bytes);
  values.resize(bytes / sizeof values[0]);
  return values;
}

// Gives outputs the shape of input 0, each with a last axis of its own.
void set_last_axes(const Api& api, abi::ShapeInferenceContext* context,
                   const std::vector<std::int64_t>& last_axes) {
  abi::TensorTypeAndShape* input = nullptr;
  api.check(abi::kGetInputShape, context, std::size_t{0}, &input);
  if (input == nullptr) return;
  int element_type = 0;
  api.check(abi::kGetElementType, input, &element_type);
  std::size_t axes = 0;
  api.check(abi::kGetDimensionsCount, input, &axes);
  if (axes == 0) return;
  Shape shape(axes);
  std::vector<const char*> names(axes, "");
  api.check(abi::kGetDimensions, input, shape.data(), axes);
  api.check(abi::kGetSymbolicDimensions, input, names.data(), axes);
  names.back() = "";
  for (std::size_t index = 0; index < last_axes.size(); ++index) {
    shape.back() = last_axes[index];
    abi::TensorTypeAndShape* output = nullptr;
    api.check(abi::kCreateTensorTypeAndShape, &output);
    const Owned<abi::TensorTypeAndShape> owned(output, {api, abi::kReleaseTensorTypeAndShape});
    api.check(abi::kSetElementType, output, element_type);
    api.check(abi::kSetDimensions, output, shape.data(), axes);
    api.check(abi::kSetSymbolicDimensions, output, names.data(), axes);
    api.check(abi::kSetOutputShape, context, index, output);
  }
}

}  // namespace

void infer_last_axis(const Api& api, abi::ShapeInferenceContext* context, const char* attribute) {
  set_last_axes(api, context, {read_integer(api, context, attribute)});
}

void infer_last_axes(const Api& api, abi::ShapeInferenceContext* context, const char* attribute) {
  set_last_axes(api, context, read_integers(api, context, attribute));
}

}  // namespace blast_deploy
