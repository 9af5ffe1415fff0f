// How the factors of one quantised BLAST matrix are stored: in exactly the order in which the kernel reads
// them.
//
// First, for every kGroup components of the rank:
//   V: for each block column j, the panel of these rows of V_j  (see matrix.h)
//   S: for each block (i, j), kGroup values of S_ij as they are (those past the rank are zeros), then zeros
//   to
//      a multiple of 64 bytes
// then, for each block row i, the matrix U_i. The layout is the same for all instruction sets; it counts in
// bytes.
#pragma once

#include <cstdint>

#include "quantized/matrix.h"

namespace blast_deploy::quantized {

using blast::Sizes;

constexpr std::int64_t kLayoutVersion = 1;

// Sizes that follow from `Sizes` and `Format`; make it with `plan`.
struct Layout {
  Sizes sizes;
  Format format;
  std::int64_t block_rows;     // p
  std::int64_t block_columns;  // q
  std::int64_t chunks;         // groups of the rank
  std::int64_t group_bytes;    // of V and S of every group but the last
  std::int64_t u_offset;       // where U begins
  std::int64_t size;           // bytes in all
};

static constexpr std::int64_t width_of_group(const Layout& layout, std::int64_t group) {
  return panel_width(layout.sizes.rank - group * kGroup);
}

static constexpr std::int64_t v_panel_bytes(const Layout& layout, std::int64_t group) {
  return panel_bytes(layout.format, width_of_group(layout, group), layout.block_columns);
}

// Where the panel of V_j of a group, its S, and U_i begin.
static constexpr std::int64_t v_offset(const Layout& layout, std::int64_t group, std::int64_t j) {
  return group * layout.group_bytes + j * v_panel_bytes(layout, group);
}
static constexpr std::int64_t s_offset(const Layout& layout, std::int64_t group) {
  return v_offset(layout, group, layout.sizes.blocks_in);
}
static constexpr std::int64_t u_offset(const Layout& layout, std::int64_t i) {
  return layout.u_offset + i * matrix_bytes(layout.format, layout.block_rows, layout.sizes.rank);
}

// Throws std::invalid_argument with one sentence if no such matrix exists, it is too large to address, or
// there are no kernels for the format.
Layout plan(const Sizes& sizes, const Format& format);

// The factors as QBlastLinear has them, all contiguous; values of 4 bits each in a byte of its own. A row of
// a factor has as many scales as blocks.
struct Factors {
  const std::int8_t* u;  // (b1, p, r)
  const float* u_scale;  // (b1, p, blocks of r)
  const std::int8_t* s;  // (b1, b2, r)
  const std::int8_t* v;  // (b2, r, q)
  const float* v_scale;  // (b2, r, blocks of q)
};

// Packs factors into `layout.size` bytes. Rows and columns past out_features and in_features are written as
// zeros whatever they hold. Throws std::invalid_argument with one sentence if a value does not fit the
// format.
void pack(const Layout& layout, const Factors& factors, std::uint8_t* packed);

}  // namespace blast_deploy::quantized
