// ONNX Runtime's function table with checked calls: a failed one throws, and `guarded` turns whatever was
// thrown into a status again, so that no exception crosses the C boundary.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "runtime/abi.h"

namespace blast_deploy {

// A refusal that ONNX Runtime reports with its code and one sentence.
class Failure : public std::runtime_error {
 public:
  Failure(abi::ErrorCode code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  abi::ErrorCode code() const { return code_; }

 private:
  abi::ErrorCode code_;
};

// Keeps a parameter out of template argument deduction.
template <typename T>
struct Exactly {
  using Type = T;
};

class Api {
 public:
  explicit Api(const abi::FunctionTable* table) : table_(table) {}

  // Calls a function and returns what it returns.
  template <typename Result, typename... Arguments>
  Result call(abi::Slot<Result(Arguments...)> slot, typename Exactly<Arguments>::Type... arguments) const {
    const auto* const functions = reinterpret_cast<void* const*>(table_);
    return reinterpret_cast<Result (*)(Arguments...)>(functions[slot.position])(arguments...);
  }

  // Calls a function that returns a status; throws Failure with its message if it failed.
  template <typename... Arguments>
  void check(abi::Slot<abi::Status*(Arguments...)> slot,
             typename Exactly<Arguments>::Type... arguments) const {
    abi::Status* const status = call(slot, arguments...);
    if (status == nullptr) return;
    const auto code = static_cast<abi::ErrorCode>(call(abi::kGetErrorCode, status));
    const std::string message = call(abi::kGetErrorMessage, status);
    call(abi::kReleaseStatus, status);
    throw Failure(code, message);
  }

 private:
  const abi::FunctionTable* table_;
};

// Gives an object back to ONNX Runtime.
template <typename T>
struct Releaser {
  Api api;
  abi::Slot<void(T*)> slot;
  void operator()(T* object) const { api.call(slot, object); }
};

template <typename T>
using Owned = std::unique_ptr<T, Releaser<T>>;

// Runs `body` and returns what it threw as a status, or nullptr.
template <typename Body>
abi::Status* guarded(const Api& api, Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const Failure& failure) {
    return api.call(abi::kCreateStatus, failure.code(), failure.what());
  } catch (const std::invalid_argument& error) {
    return api.call(abi::kCreateStatus, abi::kInvalidArgument, error.what());
  } catch (const std::exception& error) {
    return api.call(abi::kCreateStatus, abi::kRuntimeException, error.what());
  } catch (...) {
    return api.call(abi::kCreateStatus, abi::kRuntimeException, "unknown error in the operator library");
  }
}

}  // namespace blast_deploy
