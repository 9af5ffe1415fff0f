// The coupling w_i = sum_j S_ij * z_j of all block columns with a few block rows, element by element.
#pragma once

#include "blast/kernel/product.h"
#include "blast/kernel/scratch.h"
#include "blast/layout.h"
#include "runtime/vector.h"

namespace blast_deploy::blast {
namespace {

// Rows that are coupled at once, so that each S is read once for all of them.
constexpr int kCoupledRows = kRegisters >= 32 ? 6 : 2;

struct Coupling {
  const Stored* s;
  Index s_block_row;     // from S_ij to S_i+1,j
  Index s_block_column;  // from S_ij to S_i,j+1
  const Real* z;         // panels of rows x width, one after the other
  Index z_block;         // from z_j to z_j+1
  Index blocks_in;
  Real* w;        // rows kRowStride apart
  Index w_block;  // from w_i to w_i+1
};

template <int Lanes, int Width, int Blocks, int Rows>
BLAST_DEPLOY_INLINE void couple_rows(const Coupling& coupling) {
  Vector<Real, Lanes> sum[Blocks][Rows] = {};
  for (Index j = 0; j < coupling.blocks_in; ++j) {
    const Real* const z = coupling.z + j * coupling.z_block;
    const Stored* const s = coupling.s + j * coupling.s_block_column;
    Vector<Real, Lanes> values[Rows];
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) values[row] = load<Lanes>(z + row * Width);
    BLAST_DEPLOY_UNROLL
    for (int i = 0; i < Blocks; ++i) {
      const Vector<Real, Lanes> scale = widen<Lanes>(s + i * coupling.s_block_row);
      BLAST_DEPLOY_UNROLL
      for (int row = 0; row < Rows; ++row) sum[i][row] += scale * values[row];
    }
  }
  BLAST_DEPLOY_UNROLL
  for (int i = 0; i < Blocks; ++i) {
    Real* const w = coupling.w + i * coupling.w_block;
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) store<Lanes>(w + row * kRowStride, sum[i][row]);
  }
}

template <int Width, int Blocks>
void couple_panel(Index rows, const Coupling& panel) {
  constexpr int lanes = Width < kLanes ? Width : kLanes;
  for (int column = 0; column < Width; column += lanes) {
    Coupling part = panel;
    part.s += column;
    part.z += column;
    part.w += column;
    Index left = rows;
    for (; left >= kCoupledRows; left -= kCoupledRows) {
      couple_rows<lanes, Width, Blocks, kCoupledRows>(part);
      part.z += kCoupledRows * Width;
      part.w += kCoupledRows * kRowStride;
    }
    for (; left > 0; --left) {
      couple_rows<lanes, Width, Blocks, 1>(part);
      part.z += Width;
      part.w += kRowStride;
    }
  }
}

template <int Blocks>
void couple_blocks(Index rows, Index rank, Coupling coupling) {
  for (Index first = 0, width = 0; first < rank; first += width) {
    width = panel_width(rank - first);
    if (width == 32) couple_panel<32, Blocks>(rows, coupling);
    if (width == 16) couple_panel<16, Blocks>(rows, coupling);
    if (width == 8) couple_panel<8, Blocks>(rows, coupling);
    coupling.s += width;
    coupling.z += rows * width;
    coupling.w += width;
  }
}

// Couples `blocks` block rows, at most kCoupledBlocks.
void couple(Index blocks, Index rows, Index rank, const Coupling& coupling) {
  if (blocks == 4) return couple_blocks<4>(rows, rank, coupling);
  if (blocks == 3) return couple_blocks<3>(rows, rank, coupling);
  if (blocks == 2) return couple_blocks<2>(rows, rank, coupling);
  couple_blocks<1>(rows, rank, coupling);
}

}  // namespace
}  // namespace blast_deploy::blast
