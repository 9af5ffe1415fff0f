#include "quantized/layout.h"

#include <algorithm>

namespace blast_deploy::quantized {
namespace {

std::uint8_t* pack_coupling(const Layout& layout, std::int64_t group, const std::int8_t* s,
                            std::uint8_t* packed) {
  const std::int64_t rank = layout.sizes.rank;
  const std::int64_t first = group * kGroup;
  const std::int64_t blocks = layout.sizes.blocks_out * layout.sizes.blocks_in;
  const std::int64_t bytes = round_up(blocks * kGroup, kCacheLine);
  std::uint8_t* const end = std::fill_n(packed, bytes, std::uint8_t{0});
  for (std::int64_t block = 0; block < blocks; ++block) {
    std::copy_n(s + block * rank + first, smaller(kGroup, rank - first), packed + block * kGroup);
  }
  return end;
}

}  // namespace

Layout plan(const Sizes& sizes, const Format& format) {
  check_format(format);
  const blast::Layout checked = blast::plan(sizes);  // refuses sizes that cannot be
  Layout layout{};
  layout.sizes = sizes;
  layout.format = format;
  layout.block_rows = checked.block_rows;
  layout.block_columns = checked.block_columns;
  layout.chunks = divide_up(sizes.rank, kGroup);
  const std::int64_t s_bytes = round_up(sizes.blocks_out * sizes.blocks_in * kGroup, kCacheLine);
  layout.group_bytes = sizes.blocks_in * panel_bytes(format, kPanelWidth, layout.block_columns) + s_bytes;
  layout.u_offset = s_offset(layout, layout.chunks - 1) + s_bytes;
  layout.size = u_offset(layout, sizes.blocks_out);
  return layout;
}

void pack(const Layout& layout, const Factors& factors, std::uint8_t* packed) {
  const auto& [m, n, b1, b2, rank] = layout.sizes;
  const std::int64_t p = layout.block_rows;
  const std::int64_t q = layout.block_columns;
  const std::int64_t u_scales = scales_of_row(layout.format, rank);
  const std::int64_t v_scales = scales_of_row(layout.format, q);
  for (std::int64_t group = 0; group < layout.chunks; ++group) {
    const std::int64_t first = group * kGroup;
    for (std::int64_t j = 0; j < b2; ++j) {
      const std::int64_t row = j * rank + first;
      packed = pack_panel(layout.format, "V", width_of_group(layout, group), q,
                          {factors.v + row * q, factors.v_scale + row * v_scales, q, v_scales, rank - first,
                           smaller(q, n - j * q)},
                          packed);
    }
    packed = pack_coupling(layout, group, factors.s, packed);
  }
  for (std::int64_t i = 0; i < b1; ++i) {
    packed = pack_matrix(layout.format, "U", p, rank,
                         {factors.u + i * p * rank, factors.u_scale + i * p * u_scales, rank, u_scales,
                          smaller(p, m - i * p), rank},
                         packed);
  }
}

}  // namespace blast_deploy::quantized
