// What Python calls through ctypes: packing at compile time, and the kernel alone for tests.
// Functions return 0, or 1 with one sentence about what was wrong in `error`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/c_interface.h"

// In this order: out_features, in_features, blocks_out, blocks_in, rank.
struct BlastDeployBlastSizes {
  std::int64_t values[5];
};

BLAST_DEPLOY_EXPORT int blast_deploy_blast_packed_size(const BlastDeployBlastSizes* sizes,
                                                       std::int64_t* floats, char* error,
                                                       std::size_t error_size);

// Packs contiguous U, S and V into as many floats as blast_deploy_blast_packed_size states.
BLAST_DEPLOY_EXPORT int blast_deploy_blast_pack(const BlastDeployBlastSizes* sizes, const float* u,
                                                const float* s, const float* v, float* packed, char* error,
                                                std::size_t error_size);

// Computes y (rows x out_features) from x (rows x in_features) on this thread.
BLAST_DEPLOY_EXPORT int blast_deploy_blast_linear(const BlastDeployBlastSizes* sizes,
                                                  const char* instruction_set, const float* packed,
                                                  const float* bias, const float* x, std::int64_t rows,
                                                  float* y, char* error, std::size_t error_size);
