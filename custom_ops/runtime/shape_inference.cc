#include "runtime/shape_inference.h"

#include <cstdint>
#include <vector>

#include "runtime/tensor.h"

namespace blast_deploy {
namespace {

std::int64_t read_integer(const Api& api, const abi::ShapeInferenceContext* context, const char* name) {
  const abi::OperatorAttribute* attribute = nullptr;
  api.check(abi::kGetShapeAttribute, context, name, &attribute);
  std::int64_t value = 0;
  std::size_t bytes = 0;
  api.check(abi::kReadAttribute, attribute, abi::kIntegerAttribute, &value, sizeof value, &bytes);
  return value;
}

}  // namespace

void infer_last_axis(const Api& api, abi::ShapeInferenceContext* context, const char* attribute) {
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
  shape.back() = read_integer(api, context, attribute);
  names.back() = "";

  abi::TensorTypeAndShape* output = nullptr;
  api.check(abi::kCreateTensorTypeAndShape, &output);
  const Owned<abi::TensorTypeAndShape> owned(output, {api, abi::kReleaseTensorTypeAndShape});
  api.check(abi::kSetElementType, output, element_type);
  api.check(abi::kSetDimensions, output, shape.data(), axes);
  api.check(abi::kSetSymbolicDimensions, output, names.data(), axes);
  api.check(abi::kSetOutputShape, context, std::size_t{0}, output);
}

}  // namespace blast_deploy
