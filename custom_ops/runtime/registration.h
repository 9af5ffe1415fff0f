// The entry point that ONNX Runtime looks up in an operator library, and what is registered there.
#pragma once

#include <map>
#include <string>

#include "runtime/abi.h"

namespace blast_deploy {

// Operator type to the version of the domain from which it is registered, made from the very records that
// registration hands over.
std::map<std::string, int> registered_operators();

}  // namespace blast_deploy

extern "C" __attribute__((visibility("default"))) blast_deploy::abi::Status* RegisterCustomOps(
    blast_deploy::abi::SessionOptions* options, const blast_deploy::abi::ApiBase* base);
