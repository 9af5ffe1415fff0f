// A tensor that ONNX Runtime owns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/api.h"

namespace blast_deploy {

using Shape = std::vector<std::int64_t>;

struct Tensor {
  void* data = nullptr;
  Shape shape;
};

// "(2, 3)", as error sentences spell it.
std::string to_string(const Shape& shape);

// Views a tensor; the operators declare their element types, so that ONNX Runtime passes no other.
Tensor read_tensor(const Api& api, const abi::Value* value);

Tensor read_input(const Api& api, const abi::KernelContext* context, std::size_t index);

// An optional input; false where the node has none.
bool read_optional(const Api& api, const abi::KernelContext* context, std::size_t index, Tensor* tensor);

// Has ONNX Runtime allocate an output.
void* make_output(const Api& api, abi::KernelContext* context, std::size_t index, const Shape& shape);

}  // namespace blast_deploy
