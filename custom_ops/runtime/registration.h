// The entry point that ONNX Runtime looks up in an operator library.
#pragma once

#include "runtime/abi.h"

extern "C" __attribute__((visibility("default"))) blast_deploy::abi::Status* RegisterCustomOps(
    blast_deploy::abi::SessionOptions* options, const blast_deploy::abi::ApiBase* base);
