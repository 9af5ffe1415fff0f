// How one GBLR matrix W = sum_k u_k v_k^T is stored: in exactly the order in which the kernel reads it.
//
// Components are sorted by the column on which v_k starts; kBundle of them are a bundle, which one share of
// the work computes. Both axes are cut into tiles of kTile entries. A run lists the components that touch a
// tile, in order, and of each the kTile weights that it has there; entries that it does not cover are zeros.
// An interval that wraps around is listed at both ends of the axis.
//
//   V: for each tile of columns, a run of each bundle
//   U: for each tile of rows, one run of all components
//
// So all runs, and with them all weights, follow each other as they are read, whatever the rows.
//
// In bytes, each part from a multiple of 64:
//   header: 8 int64: version, out_features, in_features, components, listings, 0, 0, 0
//   int64 first listing of each run, and their end
//   uint16 component of each listing
//   float weights, kTile for each listing
// The layout is the same for all instruction sets; numbers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blast/layout.h"

namespace blast_deploy::gblr {

using blast::divide_up;
using blast::larger;
using blast::round_up;
using blast::smaller;

constexpr std::int64_t kLayoutVersion = 2;
constexpr std::int64_t kTile = 8;
constexpr std::int64_t kBundle = 128;
constexpr std::int64_t kLargestComponents = 65535;

struct Sizes {
  std::int64_t out_features;
  std::int64_t in_features;
  std::int64_t components;
};

// Where the parts of a packed matrix lie; made by `pack` or, from packed bytes, by `read_layout`.
struct Layout {
  Sizes sizes;
  std::int64_t chunks;  // always 1: a phase covers all
  std::int64_t bundles;
  std::int64_t v_tiles;
  std::int64_t u_tiles;
  std::int64_t listings;
  std::int64_t weights;       // padding included
  std::int64_t first_offset;  // bytes
  std::int64_t index_offset;
  std::int64_t weight_offset;
  std::int64_t size;
};

// The functions here are static, not inline, because the kernels call them (see blast/layout.h).

// Runs of V; those of U follow.
static constexpr std::int64_t v_runs(const Layout& layout) { return layout.v_tiles * layout.bundles; }

// One side of the matrix as GblrLinear has it: components on circular intervals.
struct Factor {
  const float* values;         // of component after component, each from its start; not read by `plan`
  const std::int64_t* starts;  // (components,)
  const std::int64_t* widths;
};

// Throws std::invalid_argument with one sentence if the intervals do not fit the sizes, or there are more
// components than indices can tell apart.
Layout plan(const Sizes& sizes, const Factor& u, const Factor& v);

// Packs a matrix into `plan(...).size` bytes.
void pack(const Sizes& sizes, const Factor& u, const Factor& v, void* packed);

// Reads the layout of packed bytes; they may be hostile. Throws std::invalid_argument with one sentence
// unless they are of these sizes and everything in them lies where the kernel may look for it.
Layout read_layout(const Sizes& sizes, const void* packed, std::int64_t size);

}  // namespace blast_deploy::gblr
