#include "blast/linear.h"

namespace blast_deploy::blast {
namespace {

// Larger tiles read the weights less often; smaller ones keep their scratch memory in the second-level cache.
// A multiple of the rows that the AVX-512 kernel takes at once.
constexpr std::int64_t kLargestTile = 70;

constexpr std::size_t kCacheLine = 64;

void* align(void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return reinterpret_cast<void*>((address + kCacheLine - 1) / kCacheLine * kCacheLine);
}

}  // namespace

Tiling tile_rows(std::int64_t rows) {
  if (rows <= kLargestTile) return {rows, rows, rows == 0 ? 0 : 1};
  // An even number, so that two threads have the same to do.
  const std::int64_t size = divide_up(rows, round_up(divide_up(rows, kLargestTile), 2));
  return {rows, size, divide_up(rows, size)};
}

std::size_t Linear::scratch_bytes(const Tiling& tiling) const {
  return static_cast<std::size_t>(kernel->scratch_bytes(layout, tiling.tile_rows)) + kCacheLine;
}

void Linear::multiply(const Tiling& tiling, std::int64_t tile, const void* packed, const void* bias,
                      const void* x, void* y, void* scratch) const {
  const std::int64_t first =
      tile * tiling.tile_rows * static_cast<std::int64_t>(value_bytes(kernel->element_type));
  const auto* const x_rows = static_cast<const char*>(x) + first * layout.sizes.in_features;
  auto* const y_rows = static_cast<char*>(y) + first * layout.sizes.out_features;
  kernel->multiply(layout, {packed, bias, x_rows, tiling.rows_of(tile), y_rows, align(scratch)});
}

}  // namespace blast_deploy::blast
