// How one quantised matrix is stored: in exactly the order in which the kernels read it.
//
// The rows of a matrix (its outputs) are cut into panels of 32, and one of 16 where no more are left; columns
// (its depth) are padded to a multiple of kGroup. A panel holds, for every four columns, 4 bytes of each of
// its rows. Values are stored as unsigned numbers: 128 more than their worth at 8 bits, 8 more at 4 bits; of
// 4 bits two lie in a byte: the lower half of 4 bytes holds four columns, the upper half the next four. At 8
// bits one scale serves a whole row: a panel ends with a float for each of its rows. At 4 bits a scale serves
// a block of 32 or 64 columns of a row: each block begins with 64 bytes, a bfloat16 for each row. Padding has
// scale 0. Every panel is a multiple of 64 bytes. The format is the same for all instruction sets.
#pragma once

#include <cstdint>

#include "blast/layout.h"

namespace blast_deploy::quantized {

using blast::divide_up;
using blast::larger;
using blast::round_up;
using blast::smaller;

constexpr std::int64_t kGroup = 32;  // values that are quantised together where X and w are; see contract.py
constexpr std::int64_t kPanelWidth = 32;
constexpr std::int64_t kCacheLine = 64;

// How weights are quantised.
struct Format {
  std::int64_t bits;        // 8 or 4
  std::int64_t block_size;  // columns of a row that share a scale: 32 or 64 at 4 bits; 0 at 8 bits: all
};

// Throws std::invalid_argument with one sentence if there are no kernels for it.
void check_format(const Format& format);

// Blocks of a row that have a scale each.
static constexpr std::int64_t scales_of_row(const Format& format, std::int64_t columns) {
  return format.bits == 8 ? 1 : divide_up(columns, format.block_size);
}

// Width of the panel that starts where `rows` rows are left.
static constexpr std::int64_t panel_width(std::int64_t rows) { return rows > 16 ? 32 : 16; }

static constexpr std::int64_t panel_bytes(const Format& format, std::int64_t width, std::int64_t depth) {
  const std::int64_t padded = round_up(depth, kGroup);
  return format.bits == 8 ? width * (padded + static_cast<std::int64_t>(sizeof(float)))
                          : width * padded / 2 + scales_of_row(format, depth) * kCacheLine;
}

static constexpr std::int64_t matrix_bytes(const Format& format, std::int64_t rows, std::int64_t depth) {
  const std::int64_t rest = rows % kPanelWidth;
  return rows / kPanelWidth * panel_bytes(format, kPanelWidth, depth) +
         (rest > 0 ? panel_bytes(format, panel_width(rest), depth) : 0);
}

// Rows of a matrix as they are before they are packed: of `valid` rows of `columns` values each, and of one
// scale for each block of a row. What lies past them is padding.
struct Values {
  const std::int8_t* values;
  const float* scales;
  std::int64_t stride;        // from row to row of values
  std::int64_t scale_stride;  // and of scales
  std::int64_t rows;          // may be 0 or less
  std::int64_t columns;       // the same
};

// Packs one panel of a matrix of that depth and returns its end. `name` is that of the matrix. Throws
// std::invalid_argument with one sentence if a value does not fit 4 bits or a scale does not fit a bfloat16.
std::uint8_t* pack_panel(const Format& format, const char* name, std::int64_t width, std::int64_t depth,
                         const Values& values, std::uint8_t* packed);

// Packs a matrix of so many rows, with padding, and returns its end.
std::uint8_t* pack_matrix(const Format& format, const char* name, std::int64_t rows, std::int64_t depth,
                          const Values& values, std::uint8_t* packed);

}  // namespace blast_deploy::quantized
