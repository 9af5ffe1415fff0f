// What all of the kernel's parts share.
#pragma once

#include <stdint.h>
#include <string.h>

#include "gblr/layout.h"
#include "runtime/vector.h"

namespace blast_deploy::gblr {
namespace {

using Index = int64_t;

constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(float));
using Floats = Vector<float, kLanes>;

// The numbers from 0 on, to name lanes with.
template <int... Lane>
struct Lanes {};

template <int Count, int... Lane>
struct CountLanes : CountLanes<Count - 1, Count - 1, Lane...> {};

template <int... Lane>
struct CountLanes<0, Lane...> {
  using Type = Lanes<Lane...>;
};

// Vectors of rows that are computed at once, and entries of a tile whose vectors the registers hold beside.
#if defined(__SSE2__) && !defined(__AVX__)
constexpr int kVectors = 2;
#else
constexpr int kVectors = 3;
#endif
constexpr int kEntries = kRegisters == 32 ? kTile : kHalf;

// With fewer rows than this, the lanes of a vector are components or entries instead of rows.
constexpr Index kFewRows = 3;

BLAST_DEPLOY_INLINE void copy(float* to, const float* from, Index count) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

BLAST_DEPLOY_INLINE void clear(float* values, Index count) {
  memset(values, 0, static_cast<size_t>(count) * sizeof(float));
}

// The components of one list of a cell, and their weights.
struct List {
  const uint16_t* components;
  const float* weights;
  Index count;
};

// The parts of packed bytes.
struct Packed {
  const Index* bundles;
  const Cell* v_cells;
  const Cell* u_cells;
  const uint16_t* indices;
  const float* weights;

  Packed(const Layout& layout, const void* packed) {
    const char* const bytes = static_cast<const char*>(packed);
    bundles = reinterpret_cast<const Index*>(bytes + layout.bundle_offset);
    v_cells = reinterpret_cast<const Cell*>(bytes + layout.cell_offset);
    u_cells = v_cells + layout.v_cells;
    indices = reinterpret_cast<const uint16_t*>(bytes + layout.index_offset);
    weights = reinterpret_cast<const float*>(bytes + layout.weight_offset);
  }
};

// The three lists of a cell.
struct Lists {
  List whole;
  List lower;
  List upper;
};

BLAST_DEPLOY_INLINE Lists lists_of(const Packed& packed, const Cell& cell, Index whole, Index lower) {
  const uint16_t* const components = packed.indices + cell.index;
  const float* const weights = packed.weights + cell.weight;
  return {{components, weights, cell.whole},
          {components + cell.whole, weights + whole * kTile, cell.lower},
          {components + cell.whole + cell.lower, weights + whole * kTile + lower * kHalf, cell.upper}};
}

BLAST_DEPLOY_INLINE Lists lists_of_v(const Packed& packed, const Cell& cell) {
  return lists_of(packed, cell, padded(cell.whole), padded(cell.lower));
}

BLAST_DEPLOY_INLINE Lists lists_of_u(const Packed& packed, const Cell& cell) {
  return lists_of(packed, cell, cell.whole, cell.lower);
}

}  // namespace
}  // namespace blast_deploy::gblr
