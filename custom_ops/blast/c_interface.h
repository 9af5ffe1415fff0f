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
                                                       std::int64_t* values, char* error,
                                                       std::size_t error_size);

// Packs contiguous U, S and V into as many values as blast_deploy_blast_packed_size states. The element type
// is ONNX's number for it.
BLAST_DEPLOY_EXPORT int blast_deploy_blast_pack(const BlastDeployBlastSizes* sizes, int element_type,
                                                const void* u, const void* s, const void* v, void* packed,
                                                char* error, std::size_t error_size);

// How a packed layer of so many rows is cut. Limits in the order of the operator's attributes,
// largest_tile_rows first; writes 1 for the path of few rows or 0, rows of a tile, tiles, shares of a tile,
// chunks of a phase.
BLAST_DEPLOY_EXPORT int blast_deploy_blast_schedule(const BlastDeployBlastSizes* sizes, int element_type,
                                                    std::int64_t rows, std::int64_t threads,
                                                    const std::int64_t* limits, std::int64_t* values,
                                                    char* error, std::size_t error_size);

// Computes y (rows x out_features) from x (rows x in_features) on this thread, cut as for several.
BLAST_DEPLOY_EXPORT int blast_deploy_blast_linear(const BlastDeployBlastSizes* sizes, int element_type,
                                                  const char* instruction_set, const void* packed,
                                                  const void* bias, const void* x, std::int64_t rows, void* y,
                                                  std::int64_t threads, char* error, std::size_t error_size);
