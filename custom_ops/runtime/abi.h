// The slice of ONNX Runtime's C interface that this library uses, declared by hand.
//
// ONNX Runtime hands out its interface as a table of functions that only ever grows at its end, so a function
// is known by its position. Each position below carries the function's type, and Api::call checks it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace blast_deploy::abi {

// The oldest interface that has all positions below, and the onnxruntime release that brought it.
constexpr std::uint32_t kApiVersion = 18;
constexpr char kOldestRuntime[] = "1.18";

struct Status;
struct Value;
struct KernelInfo;
struct KernelContext;
struct SessionOptions;
struct CustomOpDomain;
struct TensorTypeAndShape;
struct ShapeInferenceContext;
struct OperatorAttribute;
struct MemoryInfo;
struct FunctionTable;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2, kRuntimeException = 6, kNotImplemented = 9 };
enum MemoryType : int { kDefaultMemory = 0 };
enum AttributeType : int { kIntegerAttribute = 1, kIntegersAttribute = 2 };
enum InputCharacteristic : int { kRequired = 0, kOptional = 1, kVariadic = 2 };

struct ApiBase {
  const FunctionTable* (*get_api)(std::uint32_t version);
  const char* (*get_version_string)();
};

struct Allocator {
  std::uint32_t version;
  void* (*allocate)(Allocator*, std::size_t bytes);
  void (*free)(Allocator*, void*);
  const MemoryInfo* (*info)(const Allocator*);
};

// Position of a function of the given type in the function table.
template <typename Function>
struct Slot {
  std::size_t position;
};

constexpr Slot<Status*(int code, const char* message)> kCreateStatus{0};
constexpr Slot<int(const Status*)> kGetErrorCode{1};
constexpr Slot<const char*(const Status*)> kGetErrorMessage{2};
constexpr Slot<Status*(const char* domain, CustomOpDomain**)> kCreateCustomOpDomain{26};
constexpr Slot<Status*(CustomOpDomain*, const struct CustomOp*)> kAddCustomOp{27};
constexpr Slot<Status*(SessionOptions*, CustomOpDomain*)> kAddCustomOpDomain{28};
constexpr Slot<Status*(Value*, void** data)> kGetTensorMutableData{51};
constexpr Slot<Status*(TensorTypeAndShape**)> kCreateTensorTypeAndShape{57};
constexpr Slot<Status*(TensorTypeAndShape*, int element_type)> kSetElementType{58};
constexpr Slot<Status*(TensorTypeAndShape*, const std::int64_t*, std::size_t)> kSetDimensions{59};
constexpr Slot<Status*(const TensorTypeAndShape*, int* element_type)> kGetElementType{60};
constexpr Slot<Status*(const TensorTypeAndShape*, std::size_t*)> kGetDimensionsCount{61};
constexpr Slot<Status*(const TensorTypeAndShape*, std::int64_t*, std::size_t)> kGetDimensions{62};
constexpr Slot<Status*(const TensorTypeAndShape*, const char**, std::size_t)> kGetSymbolicDimensions{63};
constexpr Slot<Status*(const Value*, TensorTypeAndShape**)> kGetTensorTypeAndShape{65};
constexpr Slot<Status*(const KernelInfo*, const char* name, std::int64_t*)> kGetIntegerAttribute{86};
constexpr Slot<Status*(const KernelInfo*, const char* name, char*, std::size_t*)> kGetStringAttribute{87};
constexpr Slot<Status*(const KernelContext*, std::size_t index, const Value**)> kGetInput{90};
constexpr Slot<Status*(KernelContext*, std::size_t index, const std::int64_t*, std::size_t, Value**)>
    kGetOutput{91};
constexpr Slot<void(Status*)> kReleaseStatus{93};
constexpr Slot<void(TensorTypeAndShape*)> kReleaseTensorTypeAndShape{99};
constexpr Slot<void(Allocator*)> kReleaseAllocator{132};
constexpr Slot<Status*(const KernelInfo*, const char* name, std::int64_t*, std::size_t*)>
    kGetIntegersAttribute{163};
constexpr Slot<Status*(const KernelInfo*, char*, std::size_t*)> kGetNodeName{244};
constexpr Slot<Status*(const KernelInfo*, std::size_t index, int* is_constant, const Value**)>
    kGetConstantInput{249};
constexpr Slot<Status*(const ShapeInferenceContext*, std::size_t index, TensorTypeAndShape**)> kGetInputShape{
    268};
constexpr Slot<Status*(const ShapeInferenceContext*, const char* name, const OperatorAttribute**)>
    kGetShapeAttribute{269};
constexpr Slot<Status*(const ShapeInferenceContext*, std::size_t index, const TensorTypeAndShape*)>
    kSetOutputShape{270};
constexpr Slot<Status*(TensorTypeAndShape*, const char**, std::size_t)> kSetSymbolicDimensions{271};
constexpr Slot<Status*(const OperatorAttribute*, int type, void* data, std::size_t bytes, std::size_t* read)>
    kReadAttribute{272};
constexpr Slot<Status*(const KernelContext*, void (*)(void* data, std::size_t index), std::size_t total,
                       std::size_t batches, void* data)>
    kParallelFor{274};
constexpr Slot<Status*(const KernelInfo*, int memory_type, Allocator**)> kGetAllocator{278};

// What an operator library fills in for each operator; 26 words from interface 18 on.
struct CustomOp {
  std::uint32_t version;
  void* (*create_kernel)(const CustomOp*, const FunctionTable*, const KernelInfo*);
  const char* (*get_name)(const CustomOp*);
  const char* (*get_execution_provider_type)(const CustomOp*);
  int (*get_input_type)(const CustomOp*, std::size_t index);
  std::size_t (*get_input_count)(const CustomOp*);
  int (*get_output_type)(const CustomOp*, std::size_t index);
  std::size_t (*get_output_count)(const CustomOp*);
  void (*compute_kernel)(void* kernel, KernelContext*);
  void (*destroy_kernel)(void* kernel);
  int (*get_input_characteristic)(const CustomOp*, std::size_t index);
  int (*get_output_characteristic)(const CustomOp*, std::size_t index);
  int (*get_input_memory_type)(const CustomOp*, std::size_t index);
  int (*get_variadic_input_min_arity)(const CustomOp*);
  int (*get_variadic_input_homogeneity)(const CustomOp*);
  int (*get_variadic_output_min_arity)(const CustomOp*);
  int (*get_variadic_output_homogeneity)(const CustomOp*);
  Status* (*create_kernel_checked)(const CustomOp*, const FunctionTable*, const KernelInfo*, void** kernel);
  Status* (*compute_kernel_checked)(void* kernel, KernelContext*);
  Status* (*infer_output_shape)(const CustomOp*, ShapeInferenceContext*);
  int (*get_start_version)(const CustomOp*);
  int (*get_end_version)(const CustomOp*);
  std::size_t (*get_may_inplace)(int** input_index, int** output_index);
  void (*release_may_inplace)(int* input_index, int* output_index);
  std::size_t (*get_alias_map)(int** input_index, int** output_index);
  void (*release_alias_map)(int* input_index, int* output_index);
};
static_assert(sizeof(void*) != 8 || sizeof(CustomOp) == 26 * sizeof(void*), "layout of OrtCustomOp");

}  // namespace blast_deploy::abi
