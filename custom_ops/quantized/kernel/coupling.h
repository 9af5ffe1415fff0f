// The coupling w_i = sum_j S_ij * z_j of all block columns with some block rows, for one group of the rank,
// and its quantisation.
#pragma once

#include "quantized/kernel/groups.h"
#include "quantized/kernel/integers.h"
#include "quantized/matrix.h"

namespace blast_deploy::quantized {
namespace {

// What is summed at once: each S is widened once for so many rows, each z read once for so many block rows.
constexpr int kCoupledVectors = kGroupVectors < 2 ? kGroupVectors : 2;
constexpr int kCoupledBlocks = kRegisters == 32 ? 2 : 1;
constexpr int kCoupledRows = kRegisters == 32 ? 6 : 4;

struct Coupling {
  const int8_t* s;  // S_ij of one block row after the other, kGroup values each
  Index blocks_in;
  const float* z;  // rows of kGroup values, one z_j after the other
  Index z_block;   // from z_j to z_j+1
  Group* w;        // rows side by side
  Index w_block;   // from w_i to w_i+1
};

template <int Blocks, int Rows>
BLAST_DEPLOY_INLINE void couple_part(const Coupling& coupling, int first, float (&w)[Blocks][Rows][kGroup]) {
  Reals sums[Blocks][Rows][kCoupledVectors] = {};
  const float* z = coupling.z + first;
  const int8_t* s = coupling.s + first;
  for (Index j = 0; j < coupling.blocks_in; ++j, z += coupling.z_block, s += kGroup) {
    BLAST_DEPLOY_UNROLL
    for (int v = 0; v < kCoupledVectors; ++v) {
      Reals scales[Blocks];
      BLAST_DEPLOY_UNROLL
      for (int i = 0; i < Blocks; ++i)
        scales[i] = widen_bytes(s + i * coupling.blocks_in * kGroup + v * kLanes);
      BLAST_DEPLOY_UNROLL
      for (int row = 0; row < Rows; ++row) {
        const Reals values = load<kLanes>(z + row * kGroup + v * kLanes);
        BLAST_DEPLOY_UNROLL
        for (int i = 0; i < Blocks; ++i) sums[i][row][v] += scales[i] * values;
      }
    }
  }
  BLAST_DEPLOY_UNROLL
  for (int i = 0; i < Blocks; ++i) {
    BLAST_DEPLOY_UNROLL
    for (int row = 0; row < Rows; ++row) {
      BLAST_DEPLOY_UNROLL
      for (int v = 0; v < kCoupledVectors; ++v)
        store<kLanes>(w[i][row] + first + v * kLanes, sums[i][row][v]);
    }
  }
}

template <int Bits, int Blocks, int Rows>
void couple_rows(const Coupling& coupling) {
  float w[Blocks][Rows][kGroup];
  for (int first = 0; first < kGroup; first += kCoupledVectors * kLanes) couple_part(coupling, first, w);
  for (int i = 0; i < Blocks; ++i) {
    for (int row = 0; row < Rows; ++row) quantise<Bits>(w[i][row], coupling.w + i * coupling.w_block + row);
  }
}

template <int Bits, int Blocks, int Rows>
void couple_exactly(Index rows, const Coupling& coupling) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return couple_exactly<Bits, Blocks, Rows - 1>(rows, coupling);
  }
  couple_rows<Bits, Blocks, Rows>(coupling);
}

template <int Bits, int Blocks>
void couple_blocks(Index rows, Coupling coupling) {
  for (Index left = rows; left > 0; left -= kCoupledRows) {
    couple_exactly<Bits, Blocks, kCoupledRows>(smaller(left, kCoupledRows), coupling);
    coupling.z += kCoupledRows * kGroup;
    coupling.w += kCoupledRows;
  }
}

// Couples `blocks` block rows.
template <int Bits>
void couple(Index blocks, Index rows, Coupling coupling) {
  for (; blocks >= kCoupledBlocks; blocks -= kCoupledBlocks) {
    couple_blocks<Bits, kCoupledBlocks>(rows, coupling);
    coupling.s += kCoupledBlocks * coupling.blocks_in * kGroup;
    coupling.w += kCoupledBlocks * coupling.w_block;
  }
  if (blocks > 0) couple_blocks<Bits, 1>(rows, coupling);
}

}  // namespace
}  // namespace blast_deploy::quantized
