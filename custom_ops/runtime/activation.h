// What a kernel may do to each value of Y as the last thing before it adds a residual and stores it.
#pragma once

#include <string>

namespace blast_deploy {

enum class Activation { kNone, kGelu, kGeluTanh, kSilu };

// By the name that structures/contract.py gives it; throws std::invalid_argument for any other.
Activation activation_named(const std::string& name);

}  // namespace blast_deploy
