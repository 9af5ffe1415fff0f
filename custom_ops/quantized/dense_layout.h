// How the weight of a quantised dense layer is stored: as one matrix (see matrix.h).
#pragma once

#include <cstdint>

#include "quantized/matrix.h"

namespace blast_deploy::quantized {

constexpr std::int64_t kDenseLayoutVersion = 1;

struct DenseSizes {
  std::int64_t out_features;
  std::int64_t in_features;
};

// Make it with `plan_dense`.
struct DenseLayout {
  DenseSizes sizes;
  Format format;
  std::int64_t chunks;  // 1: all of X is quantised, then multiplied
  std::int64_t size;    // bytes in all
};

// Throws std::invalid_argument with one sentence if no such matrix exists, it is too large to address, or
// there are no kernels for the format.
DenseLayout plan_dense(const DenseSizes& sizes, const Format& format);

// Packs a weight (out_features, in_features) and its scales (out_features, blocks of in_features), all
// contiguous, into `layout.size` bytes. Throws std::invalid_argument with one sentence if a value does not
// fit the format.
void pack(const DenseLayout& layout, const std::int8_t* weight, const float* scale, std::uint8_t* packed);

}  // namespace blast_deploy::quantized
