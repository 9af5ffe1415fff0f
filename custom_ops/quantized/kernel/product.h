// The product of quantised rows with a panel of a packed matrix (see quantized/matrix.h): nearly all of a
// layer's time is spent here.
#pragma once

#include "quantized/kernel/groups.h"
#include "quantized/kernel/integers.h"
#include "quantized/matrix.h"
#include "runtime/vector.h"

namespace blast_deploy::quantized {
namespace {

// out = (start + sum over groups of quads x weights * their scales) * factor * kHeadroom + bias
struct Product {
  const Group* left;  // of the first row; rows lie side by side
  Index left_stride;  // from group to group
  const uint8_t* panel;
  Index groups;
  Index block_groups;   // that share a scale; only at 4 bits
  const float* start;   // none if nullptr
  Index start_stride;   // from row to row
  const float* factor;  // of each row of the panel; only the sum is stored if nullptr
  const float* bias;
  float* out;
  Index out_stride;
  Index ahead;  // from weights in use to those that are to be fetched, at 8 bits
};

// How far ahead of the weights in use the next ones are fetched into the second-level cache: where several
// parts of rows keep the multipliers busier than the memory, and of one row, where that helps the processor's
// own fetching over the ends of panels and pages (further ahead, it is in its way). With a few rows in one
// part the processor's own fetching is faster.
constexpr Index kPrefetchGroups = 16;
constexpr Index kPrefetchBytesOfOneRow = 3072;
constexpr int kSecondLevelCache = 2;

// Fetches what a product of one row would have fetched before.
BLAST_DEPLOY_INLINE void prefetch(const uint8_t* from, Index bytes) {
  for (Index line = 0; line < bytes; line += kCacheLine) {
    __builtin_prefetch(from + line, 0, kSecondLevelCache);
  }
}

// Rows that are multiplied at once, and vectors of a panel: as many sums as the registers hold beside weights
// and four values of a row.
template <int Bits>
constexpr int kRows = kRegisters == 32 ? (kVectorBytes == 64 ? (Bits == 8 ? 7 : 6) : 4) : 4;

template <int Bits, int Width>
constexpr int vectors_at_once(int rows) {
  int vectors = Width / kLanes;
  while (vectors > 1 && vectors * (rows + kWeightRegisters) + kWeightRegisters > kRegisters) vectors /= 2;
  return vectors;
}

template <int Bits, int Vectors, int Rows>
BLAST_DEPLOY_INLINE void add_quad(Integers (&sums)[Rows][Vectors], const Bytes (&bytes)[Vectors],
                                  const Group* left, int quad) {
  Weights weights[Vectors];
  BLAST_DEPLOY_UNROLL
  for (int v = 0; v < Vectors; ++v) weights[v] = prepare<Bits>(bytes[v]);
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < Rows; ++row) {
    const Quad values = load_quad(left[row].quads + quad * kQuadBytes);
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) sums[row][v] = dot(sums[row][v], weights[v], values);
  }
}

// Integer sums of one group; returns where its weights end.
template <int Bits, int Width, int Vectors, int Rows>
BLAST_DEPLOY_INLINE const uint8_t* add_group(Integers (&sums)[Rows][Vectors], const uint8_t* panel,
                                             Index ahead, const Group* left) {
  constexpr int step = 8 / Bits;  // quads in one read
  BLAST_DEPLOY_UNROLL
  for (int quad = 0; quad < kQuads; quad += step, panel += 4 * Width) {
    Bytes bytes[Vectors];
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) bytes[v] = load<kVectorBytes>(panel + v * kVectorBytes);
    if constexpr (Bits == 8) {
      BLAST_DEPLOY_UNROLL
      for (int line = 0; line < Vectors * kVectorBytes; line += static_cast<int>(kCacheLine)) {
        __builtin_prefetch(panel + ahead + line, 0, kSecondLevelCache);
      }
      add_quad<Bits>(sums, bytes, left, quad);
    } else {
      Bytes half[Vectors];
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) half[v] = lower_halves(bytes[v]);
      add_quad<Bits>(sums, half, left, quad);
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) half[v] = upper_halves(bytes[v]);
      add_quad<Bits>(sums, half, left, quad + 1);
    }
  }
  return panel;
}

template <int Bits, int Width, int Vectors, int Rows>
BLAST_DEPLOY_INLINE void multiply_rows(const Product& product, Index column) {
  Reals sums[Rows][Vectors];
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < Rows; ++row) {
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      sums[row][v] = product.start == nullptr
                         ? Reals{}
                         : load<kLanes>(product.start + row * product.start_stride + column + v * kLanes);
    }
  }
  const uint8_t* panel = product.panel + 4 * column;
  const Group* left = product.left;
  Reals scales[Vectors] = {};
  Index until_scale = 0;
  for (Index group = 0; group < product.groups; ++group, left += product.left_stride) {
    if (Bits == 4 && until_scale-- == 0) {
      const auto* const halves = reinterpret_cast<const uint16_t*>(panel - 4 * column) + column;
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) scales[v] = widen_scales(halves + v * kLanes);
      panel += kCacheLine;
      until_scale = product.block_groups - 1;
    }
    Integers integers[Rows][Vectors];
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) {
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) integers[row][v] = broadcast<kLanes>(left[row].start);
    }
    panel = add_group<Bits, Width>(integers, panel, product.ahead, left);
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) {
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        Reals worth = to_reals(integers[row][v]);
        if constexpr (Bits == 4) worth *= scales[v];
        sums[row][v] += worth * left[row].scale;
      }
    }
  }
  BLAST_DEPLOY_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    const Index first = column + v * kLanes;
    if (product.factor != nullptr) {
      const Reals factor = load<kLanes>(product.factor + first) * kHeadroom<Bits>;
      const Reals bias = load<kLanes>(product.bias + first);
      BLAST_DEPLOY_UNROLL
      for (int row = 0; row < Rows; ++row) sums[row][v] = sums[row][v] * factor + bias;
    }
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row)
      store<kLanes>(product.out + row * product.out_stride + first, sums[row][v]);
  }
}

template <int Bits, int Width, int Rows>
void multiply_panel(const Product& product) {
  constexpr int vectors = vectors_at_once<Bits, Width>(Rows);
  for (Index column = 0; column < Width; column += vectors * kLanes) {
    multiply_rows<Bits, Width, vectors, Rows>(product, column);
  }
}

// Finds the instance for a number of rows that is known only at run time, at most Rows.
template <int Bits, int Width, int Rows>
void multiply_exactly(Index rows, const Product& product) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return multiply_exactly<Bits, Width, Rows - 1>(rows, product);
  }
  multiply_panel<Bits, Width, Rows>(product);
}

// Multiplies all rows with one panel.
template <int Bits, int Width>
void multiply_parts(Index rows, Product product) {
  Index parts = divide_up(rows, kRows<Bits>);
  if (parts > 1) product.ahead = kPrefetchGroups * Bits * 4 * Width;
  if (rows == 1) product.ahead = kPrefetchBytesOfOneRow;
  for (; parts > 0; --parts) {
    const Index count = divide_up(rows, parts);
    multiply_exactly<Bits, Width, kRows<Bits>>(count, product);
    product.left += count;
    product.out += count * product.out_stride;
    if (product.start != nullptr) product.start += count * product.start_stride;
    rows -= count;
  }
}

}  // namespace
}  // namespace blast_deploy::quantized
