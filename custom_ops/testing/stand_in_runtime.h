// A stand-in for ONNX Runtime, so that sanitizers see every access of the operators: its function table with
// the entries that the library calls, on tensors of its own that end exactly where their memory does. It is
// no runtime: nothing here decides when a kernel runs. The Python tests run the operators in the real one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/abi.h"
#include "runtime/element_type.h"
#include "runtime/registration.h"

namespace testing {

namespace abi = blast_deploy::abi;
using blast_deploy::ElementType;

struct Array {
  ElementType type{};
  std::vector<std::int64_t> shape;
  std::vector<char> bytes;

  Array() = default;
  Array(ElementType element_type, std::vector<std::int64_t> axes)
      : type(element_type), shape(std::move(axes)) {
    bytes.resize(static_cast<std::size_t>(count()) * value_bytes(type));
  }
  std::int64_t count() const {
    std::int64_t product = 1;
    for (const std::int64_t axis : shape) product *= axis;
    return product;
  }
};

// What a node has when its kernel is made; inputs that are not constant are left out.
struct NodeDescription {
  std::string name;
  std::map<std::string, std::int64_t> integers;
  std::map<std::string, std::string> texts;
  std::map<std::string, std::vector<std::int64_t>> lists = {};
  std::map<std::size_t, Array> constants;
};

// One run of a kernel.
struct Call {
  std::vector<const Array*> inputs;
  std::vector<Array> outputs;
  ElementType output_type{};
};

struct StandInStatus {
  int code;
  std::string message;
};

// The functions in the order of ONNX Runtime's table. Those that the library does not call are left empty.
class StandInTable {
 public:
  StandInTable() {
    set(abi::kCreateStatus, [](int code, const char* message) { return fail(code, message); });
    set(abi::kGetErrorCode, [](const abi::Status* status) { return as_status(status)->code; });
    set(abi::kGetErrorMessage,
        [](const abi::Status* status) -> const char* { return as_status(status)->message.c_str(); });
    set(abi::kReleaseStatus, [](abi::Status* status) { delete reinterpret_cast<StandInStatus*>(status); });
    set_registration();
    set_tensors();
    set_nodes();
    set_running();
  }

  const abi::FunctionTable* get() const { return reinterpret_cast<const abi::FunctionTable*>(functions_); }

  static const StandInStatus* as_status(const abi::Status* status) {
    return reinterpret_cast<const StandInStatus*>(status);
  }

 private:
  static abi::Status* fail(int code, const char* message) {
    return reinterpret_cast<abi::Status*>(new StandInStatus{code, message});
  }

  template <typename Function, typename Body>
  void set(abi::Slot<Function> slot, Body body) {
    functions_[slot.position] = reinterpret_cast<void*>(static_cast<Function*>(body));
  }

  void set_registration() {
    set(abi::kCreateCustomOpDomain, [](const char*, abi::CustomOpDomain** domain) -> abi::Status* {
      static std::vector<const abi::CustomOp*> operators;
      *domain = reinterpret_cast<abi::CustomOpDomain*>(&operators);
      return nullptr;
    });
    set(abi::kAddCustomOp, [](abi::CustomOpDomain* domain, const abi::CustomOp* op) -> abi::Status* {
      reinterpret_cast<std::vector<const abi::CustomOp*>*>(domain)->push_back(op);
      return nullptr;
    });
    set(abi::kAddCustomOpDomain,
        [](abi::SessionOptions* options, abi::CustomOpDomain* domain) -> abi::Status* {
          *reinterpret_cast<abi::CustomOpDomain**>(options) = domain;
          return nullptr;
        });
  }

  void set_tensors() {
    set(abi::kGetTensorMutableData, [](abi::Value* value, void** data) -> abi::Status* {
      *data = reinterpret_cast<Array*>(value)->bytes.data();
      return nullptr;
    });
    // A shape is told by the array itself, so there is nothing to make or release.
    set(abi::kGetTensorTypeAndShape,
        [](const abi::Value* value, abi::TensorTypeAndShape** shape) -> abi::Status* {
          *shape = reinterpret_cast<abi::TensorTypeAndShape*>(const_cast<abi::Value*>(value));
          return nullptr;
        });
    set(abi::kReleaseTensorTypeAndShape, [](abi::TensorTypeAndShape*) {});
    set(abi::kGetDimensionsCount,
        [](const abi::TensorTypeAndShape* shape, std::size_t* count) -> abi::Status* {
          *count = reinterpret_cast<const Array*>(shape)->shape.size();
          return nullptr;
        });
    set(abi::kGetDimensions,
        [](const abi::TensorTypeAndShape* shape, std::int64_t* axes, std::size_t count) -> abi::Status* {
          const auto& own = reinterpret_cast<const Array*>(shape)->shape;
          for (std::size_t axis = 0; axis < count; ++axis) axes[axis] = own[axis];
          return nullptr;
        });
  }

  void set_nodes() {
    set(abi::kGetNodeName, [](const abi::KernelInfo* info, char* text, std::size_t* size) -> abi::Status* {
      return give(node(info).name, text, size);
    });
    set(abi::kGetIntegerAttribute,
        [](const abi::KernelInfo* info, const char* name, std::int64_t* value) -> abi::Status* {
          const auto& all = node(info).integers;
          const auto found = all.find(name);
          if (found == all.end()) return fail(abi::kFail, "no such attribute");
          *value = found->second;
          return nullptr;
        });
    set(abi::kGetIntegersAttribute,
        [](const abi::KernelInfo* info, const char* name, std::int64_t* values,
           std::size_t* count) -> abi::Status* {
          const auto& all = node(info).lists;
          const auto found = all.find(name);
          if (found == all.end()) return fail(abi::kFail, "no such attribute");
          *count = found->second.size();
          if (values != nullptr) std::copy(found->second.begin(), found->second.end(), values);
          return nullptr;
        });
    set(abi::kGetStringAttribute,
        [](const abi::KernelInfo* info, const char* name, char* text, std::size_t* size) -> abi::Status* {
          const auto& all = node(info).texts;
          const auto found = all.find(name);
          if (found == all.end()) return fail(abi::kFail, "no such attribute");
          return give(found->second, text, size);
        });
    set(abi::kGetConstantInput,
        [](const abi::KernelInfo* info, std::size_t index, int* is_constant,
           const abi::Value** value) -> abi::Status* {
          const auto& all = node(info).constants;
          const auto found = all.find(index);
          *is_constant = found == all.end() ? 0 : 1;
          *value = found == all.end() ? nullptr : reinterpret_cast<const abi::Value*>(&found->second);
          return nullptr;
        });
    set(abi::kGetAllocator, [](const abi::KernelInfo*, int, abi::Allocator** allocator) -> abi::Status* {
      *allocator = new abi::Allocator{abi::kApiVersion,
                                      [](abi::Allocator*, std::size_t bytes) { return std::malloc(bytes); },
                                      [](abi::Allocator*, void* memory) { std::free(memory); }, nullptr};
      return nullptr;
    });
    set(abi::kReleaseAllocator, [](abi::Allocator* allocator) { delete allocator; });
  }

  void set_running() {
    set(abi::kGetInput,
        [](const abi::KernelContext* context, std::size_t index, const abi::Value** value) -> abi::Status* {
          const auto& inputs = reinterpret_cast<const Call*>(context)->inputs;
          *value = index < inputs.size() ? reinterpret_cast<const abi::Value*>(inputs[index]) : nullptr;
          return nullptr;
        });
    set(abi::kGetOutput,
        [](abi::KernelContext* context, std::size_t index, const std::int64_t* axes, std::size_t count,
           abi::Value** value) -> abi::Status* {
          auto& call = *reinterpret_cast<Call*>(context);
          *value = nullptr;
          if (index >= call.outputs.size()) return nullptr;  // as ONNX Runtime does
          Array& output = call.outputs[index];
          output = Array(call.output_type, std::vector<std::int64_t>(axes, axes + count));
          *value = reinterpret_cast<abi::Value*>(&output);
          return nullptr;
        });
    set(abi::kParallelFor,
        [](const abi::KernelContext*, void (*body)(void*, std::size_t), std::size_t total, std::size_t,
           void* data) -> abi::Status* {
          std::vector<std::thread> threads;
          for (std::size_t index = 1; index < total; ++index) threads.emplace_back(body, data, index);
          if (total > 0) body(data, 0);
          for (std::thread& thread : threads) thread.join();
          return nullptr;
        });
  }

  static const NodeDescription& node(const abi::KernelInfo* info) {
    return *reinterpret_cast<const NodeDescription*>(info);
  }

  // Strings are asked for twice: for their size, which counts the final zero, and for themselves.
  static abi::Status* give(const std::string& own, char* text, std::size_t* size) {
    if (text != nullptr) std::memcpy(text, own.c_str(), own.size() + 1);
    *size = own.size() + 1;
    return nullptr;
  }

  void* functions_[blast_deploy::abi::kGetAllocator.position + 1] = {};
};

inline const StandInTable& stand_in_table() {
  static const StandInTable table;
  return table;
}

// Says what a status means and gives it back; empty for none.
inline std::string take(abi::Status* status) {
  if (status == nullptr) return "";
  const std::unique_ptr<StandInStatus> owned(reinterpret_cast<StandInStatus*>(status));
  return owned->message;
}

// An operator as the library registers it, by name and element type.
inline const abi::CustomOp* find_operator(const std::string& name, ElementType type) {
  static const abi::CustomOpDomain* const domain = [] {
    const abi::ApiBase base{[](std::uint32_t) { return stand_in_table().get(); }, [] { return "stand-in"; }};
    abi::CustomOpDomain* registered = nullptr;
    take(RegisterCustomOps(reinterpret_cast<abi::SessionOptions*>(&registered), &base));
    return registered;
  }();
  for (const auto* const op : *reinterpret_cast<const std::vector<const abi::CustomOp*>*>(domain)) {
    if (op->get_name(op) == name && op->get_input_type(op, 0) == static_cast<int>(type)) return op;
  }
  return nullptr;
}

// The kernel of one node; `refusal` says why there is none.
class NodeKernel {
 public:
  // `node` must outlive the kernel.
  NodeKernel(const std::string& name, ElementType type, const NodeDescription& node)
      : op_(find_operator(name, type)), type_(type) {
    refusal = take(op_->create_kernel_checked(op_, stand_in_table().get(),
                                              reinterpret_cast<const abi::KernelInfo*>(&node), &kernel_));
  }
  ~NodeKernel() {
    if (kernel_ != nullptr) op_->destroy_kernel(kernel_);
  }
  NodeKernel(const NodeKernel&) = delete;
  NodeKernel& operator=(const NodeKernel&) = delete;

  // Runs the kernel; `error` is set to why it would not, and is empty if it did.
  Array run(const std::vector<const Array*>& inputs, std::string* error) const {
    return run(inputs, 1, error).front();
  }

  // The same for a kernel of several outputs.
  std::vector<Array> run(const std::vector<const Array*>& inputs, std::size_t outputs,
                         std::string* error) const {
    Call call{inputs, std::vector<Array>(outputs), type_};
    *error = take(op_->compute_kernel_checked(kernel_, reinterpret_cast<abi::KernelContext*>(&call)));
    return std::move(call.outputs);
  }

  std::string refusal;

 private:
  const abi::CustomOp* op_;
  ElementType type_;
  void* kernel_ = nullptr;
};

}  // namespace testing
