// The product of a few rows with panels of a packed matrix: nearly all of a layer's time is spent here.
#pragma once

#include "blast/kernel/numbers.h"
#include "blast/layout.h"
#include "runtime/vector.h"

namespace blast_deploy::blast {
namespace {

constexpr int kCacheLineBytes = 64;

// Values from one row of a left matrix to the next. Fixed, so that rows are reached by constant offsets from
// one pointer; an odd number of cache lines, so that rows do not compete for the same cache sets.
constexpr Index kLongestRow = 256;
constexpr Index kRowStride = kLongestRow + kCacheLineBytes / sizeof(Real);

// How far ahead of the weights in use the next ones are fetched into the second-level cache: of one panel,
// and of several that are read at the same time. Further ahead is worse where memory pages are small.
constexpr Index kPrefetchDistance = 6144 / sizeof(Stored);
constexpr Index kSharedPrefetchDistance = 8192 / sizeof(Stored);

// The same where a panel is read in several groups of columns: nearer, a group fetches what the one before
// read.
constexpr Index kGroupPrefetchDistance = 16384 / sizeof(Stored);
constexpr int kPrefetchStep = kCacheLineBytes / sizeof(Stored);
constexpr int kSecondLevelCache = 2;

// Rows that are multiplied at once: as many as the registers hold sums of, beside the weights and one value.
constexpr int kColumnVectors = kRegisters == 32 && kVectorBytes == 16 ? 4 : 2;
constexpr int kRows = (kRegisters - kColumnVectors - 2) / kColumnVectors;

// out = start + left x panel + bias + residual for panels of one width that lie one after the other.
struct Product {
  const Real* left;  // rows x depth, kRowStride apart
  const Stored* panel;
  Index depth;
  const Real* start;
  Index start_stride;  // from row to row; 0 gives all rows the same start
  Real* out;
  Index out_stride;
  const Real* bias = nullptr;      // the same for all rows, one panel after the other; none if nullptr
  const Real* residual = nullptr;  // as wide as the panels, added last; none if nullptr
  Index residual_stride = 0;
  Index panel_step = 0;  // from panel to panel
  Index start_step = 0;
  Index out_step = 0;
};

template <int Width, int Lanes, int Vectors, int Panels, int Rows>
BLAST_DEPLOY_INLINE void multiply_rows(const Product& product) {
  Vector<Real, Lanes> sum[Rows][Panels][Vectors];
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < Rows; ++row) {
    BLAST_DEPLOY_UNROLL
    for (int p = 0; p < Panels; ++p) {
      const Real* const start = product.start + row * product.start_stride + p * product.start_step;
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) sum[row][p][v] = load<Lanes>(start + v * Lanes);
    }
  }
  const Real* left = product.left;
  const Stored* panel = product.panel;
  // The end of each panel fetches the start of the one that follows those multiplied now.
  constexpr Index one = Vectors * Lanes == Width ? kPrefetchDistance : kGroupPrefetchDistance;
  constexpr Index distance = (Panels == 1 ? one : kSharedPrefetchDistance / Panels) / Width;
  const Real* const last = left + product.depth;
  const Real* end = Panels == 1 ? last : last - smaller(product.depth, distance);
  Index ahead = distance * Width;
  while (true) {
    for (; left != end; ++left, panel += Width) {
      BLAST_DEPLOY_UNROLL
      for (int p = 0; p < Panels; ++p) {
        const Stored* const columns = panel + p * product.panel_step;
        Vector<Real, Lanes> weights[Vectors];
        BLAST_DEPLOY_UNROLL
        for (int v = 0; v < Vectors; ++v) weights[v] = widen<Lanes>(columns + v * Lanes);
        BLAST_DEPLOY_UNROLL
        for (int v = 0; v < Vectors * Lanes; v += kPrefetchStep) {
          __builtin_prefetch(columns + ahead + v, 0, kSecondLevelCache);
        }
        BLAST_DEPLOY_UNROLL
        for (int row = 0; row < Rows; ++row) {
          const Vector<Real, Lanes> value = broadcast<Lanes>(left[row * kRowStride]);
          BLAST_DEPLOY_UNROLL
          for (int v = 0; v < Vectors; ++v) sum[row][p][v] += value * weights[v];
        }
      }
    }
    if (end == last) break;
    end = last;
    ahead += (Panels - 1) * product.panel_step;
  }
  if (product.bias != nullptr) {
    BLAST_DEPLOY_UNROLL
    for (int p = 0; p < Panels; ++p) {
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        const Vector<Real, Lanes> bias = load<Lanes>(product.bias + p * Width + v * Lanes);
        BLAST_DEPLOY_UNROLL
        for (int row = 0; row < Rows; ++row) sum[row][p][v] += bias;
      }
    }
  }
  if (product.residual != nullptr) {
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) {
      BLAST_DEPLOY_UNROLL
      for (int p = 0; p < Panels; ++p) {
        const Real* const residual = product.residual + row * product.residual_stride + p * Width;
        BLAST_DEPLOY_UNROLL
        for (int v = 0; v < Vectors; ++v) sum[row][p][v] += load<Lanes>(residual + v * Lanes);
      }
    }
  }
  BLAST_DEPLOY_UNROLL
  for (int row = 0; row < Rows; ++row) {
    BLAST_DEPLOY_UNROLL
    for (int p = 0; p < Panels; ++p) {
      Real* const out = product.out + row * product.out_stride + p * product.out_step;
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < Vectors; ++v) store<Lanes>(out + v * Lanes, sum[row][p][v]);
    }
  }
}

// One panel, in groups of columns that the registers hold.
template <int Width, int Vectors, int Panels, int Rows>
void multiply_groups(Product product) {
  constexpr int lanes = Width < kLanes ? Width : kLanes;
  constexpr int vectors = Width / lanes < Vectors ? Width / lanes : Vectors;
  for (int column = 0; column < Width; column += lanes * vectors) {
    multiply_rows<Width, lanes, vectors, Panels, Rows>(product);
    product.panel += lanes * vectors;
    product.start += lanes * vectors;
    product.out += lanes * vectors;
    if (product.bias != nullptr) product.bias += lanes * vectors;
    if (product.residual != nullptr) product.residual += lanes * vectors;
  }
}

// Finds the instance for a number of rows that is known only at run time, at most Rows.
template <int Width, int Rows>
void multiply_exactly(Index rows, const Product& product) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return multiply_exactly<Width, Rows - 1>(rows, product);
  }
  multiply_groups<Width, kColumnVectors, 1, Rows>(product);
}

template <int Width>
void multiply_panel(Index rows, Product product) {
  for (Index parts = divide_up(rows, kRows); parts > 0; --parts) {
    const Index count = divide_up(rows, parts);
    multiply_exactly<Width, kRows>(count, product);
    product.left += count * kRowStride;
    product.start += count * product.start_stride;
    product.out += count * product.out_stride;
    if (product.residual != nullptr) product.residual += count * product.residual_stride;
    rows -= count;
  }
}

// With few rows, one panel has too few sums to keep the multipliers busy while each waits for its last
// addition.
constexpr Index kFewRows = 3;
constexpr int kPanelVectors = kPanelWidth / kLanes;
constexpr int kPanelsOfOneRow = kPanelVectors >= 8 ? 1 : 8 / kPanelVectors;
constexpr int kPanelsOfFewRows = kPanelVectors >= 4 ? 1 : 2;

// Vectors of a panel whose sums fit in the registers for that many rows.
constexpr int vectors_at_once(int rows, int panels) {
  int vectors = kPanelVectors;
  while (rows * panels * vectors > kRegisters - 4) vectors /= 2;
  return vectors;
}

// How many panels to multiply at once where `columns` are left.
BLAST_DEPLOY_INLINE Index panels_at_once(Index rows, Index columns) {
  if (rows > kFewRows) return 1;
  const Index full = smaller(columns / kPanelWidth, rows == 1 ? kPanelsOfOneRow : kPanelsOfFewRows);
  return full < 1 ? 1 : full;
}

template <int Panels, int Rows>
void multiply_few(Index panels, const Product& product) {
  if constexpr (Panels > 1) {
    if (panels < Panels) return multiply_few<Panels - 1, Rows>(panels, product);
  }
  multiply_groups<kPanelWidth, vectors_at_once(Rows, Panels), Panels, Rows>(product);
}

// Multiplies all rows with `panels` panels (see panels_at_once) of the given width.
void multiply(Index width, Index panels, Index rows, const Product& product) {
  if (width == 8) return multiply_panel<8>(rows, product);
  if (width == 16) return multiply_panel<16>(rows, product);
  if (rows == 1) return multiply_few<kPanelsOfOneRow, 1>(panels, product);
  if (rows == 2) return multiply_few<kPanelsOfFewRows, 2>(panels, product);
  if (rows == 3) return multiply_few<kPanelsOfFewRows, 3>(panels, product);
  multiply_panel<32>(rows, product);
}

}  // namespace
}  // namespace blast_deploy::blast
