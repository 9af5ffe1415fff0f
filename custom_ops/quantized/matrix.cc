#include "quantized/matrix.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace blast_deploy::quantized {
namespace {

constexpr std::int64_t kQuad = 4;  // columns of a row that lie side by side

std::int64_t value_at(const Format& format, const char* name, const Values& values, std::int64_t row,
                      std::int64_t column) {
  if (row >= values.rows || column >= values.columns) return 0;
  const std::int64_t value = values.values[row * values.stride + column];
  if (format.bits == 4 && (value < -8 || value > 7)) {
    throw std::invalid_argument(std::string(name) + " holds " + std::to_string(value) +
                                ", and values of 4 bits must be from -8 to 7");
  }
  return value;
}

// The scale of a row's block that begins with column `first`.
float scale_at(const Values& values, std::int64_t row, std::int64_t first, std::int64_t block) {
  if (row >= values.rows || first >= values.columns) return 0;
  return values.scales[row * values.scale_stride + block];
}

std::uint8_t* pack_row_scales(std::int64_t width, const Values& values, std::uint8_t* packed) {
  for (std::int64_t row = 0; row < width; ++row) {
    const float scale = scale_at(values, row, 0, 0);
    std::memcpy(packed, &scale, sizeof scale);
    packed += sizeof scale;
  }
  return packed;
}

std::uint8_t* pack_block_scales(const Format& format, const char* name, std::int64_t width,
                                std::int64_t first, const Values& values, std::uint8_t* packed) {
  std::fill_n(packed, kCacheLine, std::uint8_t{0});
  for (std::int64_t row = 0; row < width; ++row) {
    const float scale = scale_at(values, row, first, first / format.block_size);
    std::uint32_t bits = 0;
    std::memcpy(&bits, &scale, sizeof bits);
    if ((bits & 0xffffU) != 0) {
      throw std::invalid_argument(std::string(name) + " has the scale " + std::to_string(scale) +
                                  ", and scales of 4-bit blocks must be exact in bfloat16; round them to it");
    }
    const auto upper = static_cast<std::uint16_t>(bits >> 16);
    std::memcpy(packed + row * static_cast<std::int64_t>(sizeof upper), &upper, sizeof upper);
  }
  return packed + kCacheLine;
}

}  // namespace

void check_format(const Format& format) {
  const bool is_known = format.bits == 8
                            ? format.block_size == 0
                            : format.bits == 4 && (format.block_size == 32 || format.block_size == 64);
  if (is_known) return;
  throw std::invalid_argument(
      "bits is " + std::to_string(format.bits) + " and block_size " + std::to_string(format.block_size) +
      ", and there are kernels for 8 bits with block_size 0 (one scale for a row) and "
      "for 4 bits with block_size 32 or 64");
}

std::uint8_t* pack_panel(const Format& format, const char* name, std::int64_t width, std::int64_t depth,
                         const Values& values, std::uint8_t* packed) {
  const auto stored = [&](std::int64_t row, std::int64_t column) {
    return static_cast<std::uint8_t>(value_at(format, name, values, row, column) +
                                     (format.bits == 8 ? 128 : 8));
  };
  const std::int64_t step = format.bits == 8 ? kQuad : 2 * kQuad;
  for (std::int64_t first = 0; first < round_up(depth, kGroup); first += step) {
    if (format.bits == 4 && first % format.block_size == 0) {
      packed = pack_block_scales(format, name, width, first, values, packed);
    }
    for (std::int64_t row = 0; row < width; ++row) {
      for (std::int64_t column = first; column < first + kQuad; ++column) {
        const std::uint8_t lower = stored(row, column);
        *packed++ =
            format.bits == 8 ? lower : static_cast<std::uint8_t>(lower | (stored(row, column + kQuad) << 4));
      }
    }
  }
  return format.bits == 8 ? pack_row_scales(width, values, packed) : packed;
}

std::uint8_t* pack_matrix(const Format& format, const char* name, std::int64_t rows, std::int64_t depth,
                          const Values& values, std::uint8_t* packed) {
  Values rest = values;
  for (std::int64_t first = 0; first < rows; first += kPanelWidth) {
    packed = pack_panel(format, name, panel_width(rows - first), depth, rest, packed);
    rest.values += kPanelWidth * rest.stride;
    rest.scales += kPanelWidth * rest.scale_stride;
    rest.rows -= kPanelWidth;
  }
  return packed;
}

}  // namespace blast_deploy::quantized
