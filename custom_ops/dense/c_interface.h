// What Python calls through ctypes: packing a dense weight, and its kernel alone for tests.
// Functions return 0, or 1 with one sentence about what was wrong in `error`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/c_interface.h"

BLAST_DEPLOY_EXPORT int blast_deploy_dense_packed_size(std::int64_t out_features, std::int64_t in_features,
                                                       std::int64_t* values, char* error,
                                                       std::size_t error_size);

// Packs a contiguous weight (out_features, in_features) into as many values as
// blast_deploy_dense_packed_size states. The element type is ONNX's number for it.
BLAST_DEPLOY_EXPORT int blast_deploy_dense_pack(std::int64_t out_features, std::int64_t in_features,
                                                int element_type, const void* weight, void* packed,
                                                char* error, std::size_t error_size);

// Computes y (rows x out_features) from x (rows x in_features) on this thread.
BLAST_DEPLOY_EXPORT int blast_deploy_dense_linear(std::int64_t out_features, std::int64_t in_features,
                                                  int element_type, const char* instruction_set,
                                                  const void* packed, const void* bias, const void* x,
                                                  std::int64_t rows, void* y, char* error,
                                                  std::size_t error_size);
