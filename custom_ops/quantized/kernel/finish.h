// The product of quantised rows with panels of a matrix whose results are columns of Y: bias, activation
// function, residual.
#pragma once

#include "blast/kernel.h"
#include "blast/kernel/activation.h"
#include "quantized/kernel/product.h"

namespace blast_deploy::quantized {
namespace {

alignas(64) constexpr float kZeros[kPanelWidth] = {};
alignas(64) constexpr float kOnes[kPanelWidth] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// Groups of a row that share a scale, at 4 bits.
Index block_groups(const Format& format) { return format.bits == 8 ? 1 : format.block_size / kGroup; }

// The scales of a panel's rows.
const float* row_scales(const Format& format, const uint8_t* panel, Index bytes, Index width) {
  if (format.bits == 4) return kOnes;
  return reinterpret_cast<const float*>(panel + bytes - width * static_cast<Index>(sizeof(float)));
}

template <int Bits>
void multiply_width(Index width, Index rows, const Product& product) {
  if (width == 32) return multiply_parts<Bits, 32>(rows, product);
  multiply_parts<Bits, 16>(rows, product);
}

// A packed matrix.
struct Matrix {
  Format format;
  const uint8_t* packed;
  Index rows;
  Index depth;
};

// Scratch memory of a Finish: one panel of results, and its bias.
constexpr Index sums_bytes(Index rows) {
  return (rows + 1) * kPanelWidth * static_cast<Index>(sizeof(float));
}

// With several parts of rows, a panel is read in segments that stay in the first-level cache.
constexpr Index kSegmentGroups = 16;

struct Finish {
  const blast::Tile& tile;
  Index out_features;
  float* sums;  // sums_bytes(tile.rows)

  // Panels [first, last) of a matrix that gives `valid` columns of Y from `column` on; the rest is padding.
  // The rows on the left lie side by side, one group after the other.
  template <int Bits>
  void multiply(const Matrix& matrix, Index first, Index last, Index valid, Index column,
                const Group* left) const {
    const Index step = panel_bytes(matrix.format, kPanelWidth, matrix.depth);
    for (Index panel = first; panel < last && panel * kPanelWidth < valid; ++panel) {
      const Index begin = panel * kPanelWidth;
      const Index width = panel_width(matrix.rows - begin);
      const uint8_t* const packed = matrix.packed + panel * step;
      Product product{};
      product.left = left;
      product.left_stride = tile.rows;
      product.panel = packed;
      product.block_groups = block_groups(matrix.format);
      product.factor =
          row_scales(matrix.format, packed, panel_bytes(matrix.format, width, matrix.depth), width);
      multiply_columns<Bits>(divide_up(matrix.depth, kGroup), width, smaller(width, valid - begin),
                             column + begin, product);
    }
  }

 private:
  // One panel, of which `columns` columns are not padding.
  template <int Bits>
  void multiply_columns(Index groups, Index width, Index columns, Index column, Product product) const {
    float* const bias = sums + tile.rows * kPanelWidth;
    memcpy(bias, static_cast<const float*>(tile.bias) + column, static_cast<size_t>(columns) * sizeof(float));
    const float* const factor = product.factor;
    float* const y = static_cast<float*>(tile.y) + column;
    const Index segment = tile.rows > kRows<Bits> ? kSegmentGroups : groups;
    for (Index group = 0; group < groups; group += segment) {
      const bool is_last = group + segment >= groups;
      const bool is_direct = is_last && columns == width;
      product.groups = smaller(segment, groups - group);
      product.start = group == 0 ? nullptr : sums;
      product.start_stride = kPanelWidth;
      product.factor = is_last ? factor : nullptr;
      product.bias = bias;
      product.out = is_direct ? y : sums;
      product.out_stride = is_direct ? out_features : kPanelWidth;
      multiply_width<Bits>(width, tile.rows, product);
      product.left += product.groups * product.left_stride;
      product.panel += product.groups * (Bits * 4 * width) +
                       (Bits == 4 ? divide_up(product.groups, product.block_groups) * kCacheLine : 0);
    }
    finish(columns, column, product);
    if (columns == width) return;
    for (Index row = 0; row < tile.rows; ++row) {
      memcpy(y + row * out_features, sums + row * kPanelWidth, static_cast<size_t>(columns) * sizeof(float));
    }
  }

  // Does to some columns of Y what the product did not.
  void finish(Index columns, Index column, const Product& product) const {
    blast::activate<kLanes>(tile.activation, tile.rows, columns, product.out, product.out_stride);
    if (tile.residual == nullptr) return;
    const float* residual = static_cast<const float*>(tile.residual) + column;
    for (Index row = 0; row < tile.rows; ++row, residual += out_features) {
      float* const out = product.out + row * product.out_stride;
      for (Index index = 0; index < columns; ++index) out[index] += residual[index];
    }
  }
};

}  // namespace
}  // namespace blast_deploy::quantized
