// What Python calls through ctypes: packing at compile time, and the kernel alone for tests.
// Functions return 0, or 1 with one sentence about what was wrong in `error`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/c_interface.h"

// In this order: out_features, in_features, components.
struct BlastDeployGblrSizes {
  std::int64_t values[3];
};

// A matrix as GblrLinear has it; of values, as many as the widths add up to.
struct BlastDeployGblrFactors {
  const float* u;
  const std::int64_t* u_start;
  const std::int64_t* u_width;
  const float* v;
  const std::int64_t* v_start;
  const std::int64_t* v_width;
};

// Writes the bytes of the packed matrix and the weights in it, padding included. Reads
// no values.
BLAST_DEPLOY_EXPORT int blast_deploy_gblr_packed_size(const BlastDeployGblrSizes* sizes,
                                                      const BlastDeployGblrFactors* factors,
                                                      std::int64_t* bytes_and_weights, char* error,
                                                      std::size_t error_size);

BLAST_DEPLOY_EXPORT int blast_deploy_gblr_pack(const BlastDeployGblrSizes* sizes,
                                               const BlastDeployGblrFactors* factors, std::uint8_t* packed,
                                               char* error, std::size_t error_size);

// Computes y (rows x out_features) from x (rows x in_features) on this thread, cut as for several; packed
// bytes lie on a multiple of 8.
BLAST_DEPLOY_EXPORT int blast_deploy_gblr_linear(const BlastDeployGblrSizes* sizes,
                                                 const char* instruction_set, const std::uint8_t* packed,
                                                 std::int64_t bytes, const float* bias, const float* x,
                                                 std::int64_t rows, float* y, std::int64_t threads,
                                                 char* error, std::size_t error_size);
