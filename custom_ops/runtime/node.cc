#include "runtime/node.h"

namespace blast_deploy {
namespace {

// ONNX Runtime's strings are read twice: once for the size, which counts the final zero, and once for the
// text.
template <typename Read>
std::string read_text(Read read) {
  std::size_t size = 0;
  read(nullptr, &size);
  std::string text(size, '\0');
  if (size > 0) read(&text[0], &size);
  while (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

}  // namespace

std::string Node::name() const {
  return read_text(
      [this](char* text, std::size_t* size) { api_.check(abi::kGetNodeName, info_, text, size); });
}

std::int64_t Node::integer(const char* attribute) const {
  std::int64_t value = 0;
  api_.check(abi::kGetIntegerAttribute, info_, attribute, &value);
  return value;
}

std::vector<std::int64_t> Node::integers(const char* attribute) const {
  std::size_t count = 0;
  api_.check(abi::kGetIntegersAttribute, info_, attribute, nullptr, &count);
  std::vector<std::int64_t> values(count);
  if (count > 0) api_.check(abi::kGetIntegersAttribute, info_, attribute, values.data(), &count);
  return values;
}

std::string Node::text(const char* attribute) const {
  return read_text([this, attribute](char* text, std::size_t* size) {
    api_.check(abi::kGetStringAttribute, info_, attribute, text, size);
  });
}

std::int64_t Node::integer_or(const char* attribute, std::int64_t missing) const {
  try {
    return integer(attribute);
  } catch (const Failure&) {
    return missing;
  }
}

std::string Node::text_or(const char* attribute, const char* missing) const {
  try {
    return text(attribute);
  } catch (const Failure&) {
    return missing;
  }
}

bool Node::constant(std::size_t input, Tensor* tensor) const {
  int is_constant = 0;
  const abi::Value* value = nullptr;
  api_.check(abi::kGetConstantInput, info_, input, &is_constant, &value);
  if (is_constant == 0 || value == nullptr) return false;
  *tensor = read_tensor(api_, value);
  return true;
}

Owned<abi::Allocator> Node::allocator() const {
  abi::Allocator* allocator = nullptr;
  api_.check(abi::kGetAllocator, info_, abi::kDefaultMemory, &allocator);
  return {allocator, {api_, abi::kReleaseAllocator}};
}

}  // namespace blast_deploy
