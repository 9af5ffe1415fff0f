// What Python calls through ctypes: packing quantised layers at compile time, and their kernels alone for
// tests. Functions return 0, or 1 with one sentence about what was wrong in `error`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/c_interface.h"

// In this order: out_features, in_features, blocks_out, blocks_in, rank, bits, block_size (see Format); of a
// dense layer, the numbers of blocks and the rank are 0.
struct BlastDeployQuantizedSizes {
  std::int64_t values[7];
};

// Factors, their scales and the coupling as QBlastLinear has them, contiguous, with a byte for each value; of
// a dense layer, u (out_features, in_features) and its scales, and nothing else.
struct BlastDeployQuantizedFactors {
  const std::int8_t* u;
  const float* u_scale;
  const std::int8_t* s;
  const std::int8_t* v;
  const float* v_scale;
};

BLAST_DEPLOY_EXPORT int blast_deploy_quantized_packed_size(const BlastDeployQuantizedSizes* sizes,
                                                           std::int64_t* bytes, char* error,
                                                           std::size_t error_size);

BLAST_DEPLOY_EXPORT int blast_deploy_quantized_pack(const BlastDeployQuantizedSizes* sizes,
                                                    const BlastDeployQuantizedFactors* factors,
                                                    std::uint8_t* packed, char* error,
                                                    std::size_t error_size);

// Computes y (rows x out_features) from x (rows x in_features) on this thread, cut as for several.
BLAST_DEPLOY_EXPORT int blast_deploy_quantized_linear(const BlastDeployQuantizedSizes* sizes,
                                                      const char* instruction_set, const std::uint8_t* packed,
                                                      const float* bias, const float* x, std::int64_t rows,
                                                      float* y, std::int64_t threads, char* error,
                                                      std::size_t error_size);
