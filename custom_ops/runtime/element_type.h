// Element types of tensors, numbered as ONNX does.
#pragma once

#include <cstddef>

namespace blast_deploy {

enum class ElementType : int { kFloat = 1, kFloat16 = 10, kDouble = 11, kBfloat16 = 16 };

constexpr ElementType kElementTypes[] = {ElementType::kFloat, ElementType::kFloat16, ElementType::kDouble,
                                         ElementType::kBfloat16};

// Bytes of one value.
static constexpr std::size_t value_bytes(ElementType type) {
  return type == ElementType::kDouble ? 8 : type == ElementType::kFloat ? 4 : 2;
}

}  // namespace blast_deploy
