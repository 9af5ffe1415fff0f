#include "blast/layout.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "blast/panels.h"

namespace blast_deploy::blast {
namespace {

constexpr std::int64_t kLargestSize = std::int64_t{1} << 31;    // of each dimension
constexpr std::int64_t kLargestPacked = std::int64_t{1} << 40;  // floats

void check(const char* name, std::int64_t value) {
  if (value < 1 || value >= kLargestSize) {
    throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) +
                                ", and must be from 1 to " + std::to_string(kLargestSize - 1));
  }
}

// Whether a * b * c exceeds the limit; all are positive.
bool exceeds_limit(std::int64_t a, std::int64_t b, std::int64_t c) {
  std::int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) || __builtin_mul_overflow(product, c, &product) ||
         product > kLargestPacked;
}

// Moves values whatever they mean: zero is all bits zero in every element type.
template <typename Bits>
void pack_values(const Layout& layout, const void* u_values, const void* s_values, const void* v_values,
                 void* packed_values) {
  const auto* const u = static_cast<const Bits*>(u_values);
  const auto* const s = static_cast<const Bits*>(s_values);
  const auto* const v = static_cast<const Bits*>(v_values);
  auto* packed = static_cast<Bits*>(packed_values);
  const std::int64_t m = layout.sizes.out_features;
  const std::int64_t n = layout.sizes.in_features;
  const std::int64_t b1 = layout.sizes.blocks_out;
  const std::int64_t b2 = layout.sizes.blocks_in;
  const std::int64_t r = layout.sizes.rank;
  const std::int64_t p = layout.block_rows;
  const std::int64_t q = layout.block_columns;
  for (std::int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
    const std::int64_t first = chunk * layout.chunk_rank;
    const std::int64_t rank = rank_of_chunk(layout, chunk);
    for (std::int64_t j = 0; j < b2; ++j) {
      const std::int64_t valid = n - j * q;
      const Bits* const factor = v + (j * r + first) * q;
      packed = pack_panels(q, rank, packed, [=](std::int64_t column, std::int64_t k) {
        return column < valid ? factor[k * q + column] : Bits{0};
      });
    }
    for (std::int64_t block = 0; block < b1 * b2; ++block) {
      packed = std::copy_n(s + block * r + first, rank, packed);
      packed = std::fill_n(packed, round_up(rank, kAlignment) - rank, Bits{0});
    }
    for (std::int64_t i = 0; i < b1; ++i) {
      const std::int64_t valid = m - i * p;
      const Bits* const factor = u + i * p * r + first;
      packed = pack_panels(rank, p, packed, [=](std::int64_t k, std::int64_t row) {
        return row < valid ? factor[row * r + k] : Bits{0};
      });
    }
  }
}

}  // namespace

Layout plan(const Sizes& sizes) {
  check("out_features", sizes.out_features);
  check("in_features", sizes.in_features);
  check("the number of block rows", sizes.blocks_out);
  check("the number of block columns", sizes.blocks_in);
  check("the rank", sizes.rank);
  Layout layout{};
  layout.sizes = sizes;
  layout.block_rows = divide_up(sizes.out_features, sizes.blocks_out);
  layout.block_columns = divide_up(sizes.in_features, sizes.blocks_in);
  const std::int64_t padded_rank = round_up(sizes.rank, kPanelWidth);
  if (exceeds_limit(round_up(layout.block_rows, kPanelWidth), sizes.blocks_out, padded_rank) ||
      exceeds_limit(layout.block_columns, sizes.blocks_in, padded_rank) ||
      exceeds_limit(sizes.blocks_out, sizes.blocks_in, padded_rank)) {
    throw std::invalid_argument("the packed factors would exceed " + std::to_string(kLargestPacked) +
                                " values; use a smaller rank or fewer blocks");
  }
  layout.chunks = sizes.rank <= kLargestChunk ? 1 : divide_up(sizes.rank, kUsualChunk);
  layout.chunk_rank =
      layout.chunks == 1 ? sizes.rank : round_up(divide_up(sizes.rank, layout.chunks), kPanelWidth);
  layout.chunks = divide_up(sizes.rank, layout.chunk_rank);
  layout.size = (layout.chunks - 1) * chunk_size(layout, layout.chunk_rank) +
                chunk_size(layout, rank_of_chunk(layout, layout.chunks - 1));
  return layout;
}

void pack(const Layout& layout, std::size_t value_bytes, const void* u, const void* s, const void* v,
          void* packed) {
  if (value_bytes == 8) return pack_values<std::uint64_t>(layout, u, s, v, packed);
  if (value_bytes == 4) return pack_values<std::uint32_t>(layout, u, s, v, packed);
  pack_values<std::uint16_t>(layout, u, s, v, packed);
}

}  // namespace blast_deploy::blast
