#include "dense/linear.h"

namespace blast_deploy::dense {
namespace {

constexpr std::size_t kCacheLine = 64;

void* align(void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return reinterpret_cast<void*>((address + kCacheLine - 1) / kCacheLine * kCacheLine);
}

}  // namespace

std::size_t Linear::scratch_bytes(const Tiling& tiling) const {
  return static_cast<std::size_t>(kernel->scratch_bytes(layout, tiling.tile_rows)) + kCacheLine;
}

void Linear::multiply(const Tiling& tiling, std::int64_t tile, const void* packed, const void* bias,
                      const void* x, void* y, void* scratch) const {
  const std::int64_t first =
      tile * tiling.tile_rows * static_cast<std::int64_t>(value_bytes(kernel->element_type));
  const auto* const x_rows = static_cast<const char*>(x) + first * layout.in_features;
  auto* const y_rows = static_cast<char*>(y) + first * layout.out_features;
  kernel->multiply(layout, {packed, bias, x_rows, tiling.rows_of(tile), y_rows, align(scratch)});
}

}  // namespace blast_deploy::dense
