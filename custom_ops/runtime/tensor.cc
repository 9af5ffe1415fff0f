#include "runtime/tensor.h"

#include <stdexcept>

namespace blast_deploy {
namespace {

void* data_of(const Api& api, const abi::Value* value) {
  void* data = nullptr;
  api.check(abi::kGetTensorMutableData, const_cast<abi::Value*>(value), &data);
  return data;
}

}  // namespace

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(shape[axis]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

Tensor read_tensor(const Api& api, const abi::Value* value) {
  abi::TensorTypeAndShape* type = nullptr;
  api.check(abi::kGetTensorTypeAndShape, value, &type);
  const Owned<abi::TensorTypeAndShape> owned(type, {api, abi::kReleaseTensorTypeAndShape});
  std::size_t axes = 0;
  api.check(abi::kGetDimensionsCount, type, &axes);
  Tensor tensor{data_of(api, value), Shape(axes)};
  api.check(abi::kGetDimensions, type, tensor.shape.data(), axes);
  return tensor;
}

Tensor read_input(const Api& api, const abi::KernelContext* context, std::size_t index) {
  const abi::Value* value = nullptr;
  api.check(abi::kGetInput, context, index, &value);
  if (value == nullptr) {
    throw std::invalid_argument("input " + std::to_string(index) + " is missing, and must be given");
  }
  return read_tensor(api, value);
}

bool read_optional(const Api& api, const abi::KernelContext* context, std::size_t index, Tensor* tensor) {
  const abi::Value* value = nullptr;
  api.check(abi::kGetInput, context, index, &value);
  if (value == nullptr) return false;
  *tensor = read_tensor(api, value);
  return true;
}

void* make_output(const Api& api, abi::KernelContext* context, std::size_t index, const Shape& shape) {
  abi::Value* value = nullptr;
  api.check(abi::kGetOutput, context, index, shape.data(), shape.size(), &value);
  if (value == nullptr) {
    throw std::invalid_argument("output " + std::to_string(index) + " is missing, and must have a name");
  }
  return data_of(api, value);
}

}  // namespace blast_deploy
