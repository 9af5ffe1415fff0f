// How the factors of one BLAST matrix are stored: in exactly the order in which the kernel reads them.
//
// The rank is cut into chunks. Each chunk holds, one after the other, for its rank components k:
//   V: for each block column j, the panels of V_j^T   (q rows of k, cut into panels along k)
//   S: for each block (i, j), the chunk of S_ij       (padded with zeros to kAlignment)
//   U: for each block row i, the panels of U_i^T      (k rows of p, cut into panels along p)
// A panel is a matrix of 32, 16 or 8 columns, stored row after row; a matrix is cut into panels of 32 and
// at most one each of 16 and 8, so that it is padded with zeros to a multiple of 8. Each panel starts on a
// multiple of kAlignment. The kernel reads weights as one stream, from the first float to the last.
// The layout is the same for all instruction sets and element types; it counts in values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace blast_deploy::blast {

// Version 2 stores what version 1 does; a library that knows no epilogues must refuse it.
constexpr std::int64_t kLayoutVersion = 2;
constexpr std::int64_t kOldestLayoutVersion = 1;
constexpr std::int64_t kPanelWidth = 32;
constexpr std::int64_t kAlignment = 16;      // values: one cache line of floats
constexpr std::int64_t kLargestChunk = 160;  // rank components
constexpr std::int64_t kUsualChunk = 128;    // where the rank needs several chunks

// Sizes of a BLAST matrix: out_features x in_features in blocks_out x blocks_in blocks of one rank.
struct Sizes {
  std::int64_t out_features;
  std::int64_t in_features;
  std::int64_t blocks_out;
  std::int64_t blocks_in;
  std::int64_t rank;
};

// The functions here are static, not inline, because the kernels call them: the linker must not share one
// copy among sources that are compiled for different instruction sets.
static constexpr std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

static constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return divide_up(value, multiple) * multiple;
}

static constexpr std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

static constexpr std::int64_t larger(std::int64_t a, std::int64_t b) { return a < b ? b : a; }

// Width of the panel that starts where `columns` columns are left.
static constexpr std::int64_t panel_width(std::int64_t columns) {
  return columns > 24 ? 32 : columns > 8 ? 16 : 8;
}

// Values of one panel.
static constexpr std::int64_t panel_size(std::int64_t rows, std::int64_t width) {
  return round_up(rows * width, kAlignment);
}

// Values of all panels of one rows x columns matrix.
static constexpr std::int64_t panels_size(std::int64_t rows, std::int64_t columns) {
  std::int64_t size = 0;
  const std::int64_t full = columns / kPanelWidth;
  size += full * panel_size(rows, kPanelWidth);
  for (std::int64_t left = columns - full * kPanelWidth; left > 0; left -= panel_width(left)) {
    size += panel_size(rows, panel_width(left));
  }
  return size;
}

// Sizes that follow from `Sizes`; make it with `plan`.
struct Layout {
  Sizes sizes;
  std::int64_t block_rows;     // p
  std::int64_t block_columns;  // q
  std::int64_t chunk_rank;     // rank components of every chunk but the last
  std::int64_t chunks;
  std::int64_t size;  // values in all
};

// Rank components of one chunk.
static constexpr std::int64_t rank_of_chunk(const Layout& layout, std::int64_t chunk) {
  return smaller(layout.chunk_rank, layout.sizes.rank - chunk * layout.chunk_rank);
}

// Values of one chunk: its V, its S and its U.
static constexpr std::int64_t v_size(const Layout& layout, std::int64_t rank) {
  return layout.sizes.blocks_in * panels_size(layout.block_columns, rank);
}
static constexpr std::int64_t s_size(const Layout& layout, std::int64_t rank) {
  return layout.sizes.blocks_out * layout.sizes.blocks_in * round_up(rank, kAlignment);
}
static constexpr std::int64_t chunk_size(const Layout& layout, std::int64_t rank) {
  return v_size(layout, rank) + s_size(layout, rank) +
         layout.sizes.blocks_out * panels_size(rank, layout.block_rows);
}

// Where a chunk begins.
static constexpr std::int64_t chunk_offset(const Layout& layout, std::int64_t chunk) {
  return chunk * chunk_size(layout, layout.chunk_rank);
}

// Throws std::invalid_argument with one sentence if no such matrix exists or it is too large to address.
Layout plan(const Sizes& sizes);

// Packs U (b1, p, r), S (b1, b2, r) and V (b2, r, q), all contiguous and of values of `value_bytes` bytes (2,
// 4 or 8), into `layout.size` values. Rows and columns past out_features and in_features are written as zeros
// whatever they hold.
void pack(const Layout& layout, std::size_t value_bytes, const void* u, const void* s, const void* v,
          void* packed);

}  // namespace blast_deploy::blast
