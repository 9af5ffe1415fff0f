#include "runtime/activation.h"

#include <stdexcept>

namespace blast_deploy {

Activation activation_named(const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "silu") return Activation::kSilu;
  throw std::invalid_argument("activation is '" + name +
                              "', and must be none, gelu, gelu_tanh or silu; compile the model again");
}

}  // namespace blast_deploy
