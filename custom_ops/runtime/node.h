// What a node tells its kernel when a session is made.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/api.h"
#include "runtime/tensor.h"

namespace blast_deploy {

class Node {
 public:
  Node(const Api& api, const abi::KernelInfo* info) : api_(api), info_(info) {}

  const Api& api() const { return api_; }
  std::string name() const;

  // The value of a required attribute; throws Failure if it is missing or of another type.
  std::int64_t integer(const char* attribute) const;
  std::vector<std::int64_t> integers(const char* attribute) const;
  std::string text(const char* attribute) const;

  // The value of an attribute that may be missing.
  std::int64_t integer_or(const char* attribute, std::int64_t missing) const;
  std::string text_or(const char* attribute, const char* missing) const;

  // Whether an input never changes; then `tensor` is set to it, and stays valid as long as the session.
  bool constant(std::size_t input, Tensor* tensor) const;

  // The runtime's allocator for scratch memory.
  Owned<abi::Allocator> allocator() const;

 private:
  Api api_;
  const abi::KernelInfo* info_;
};

}  // namespace blast_deploy
