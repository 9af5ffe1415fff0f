// How one dense weight is stored: in exactly the order in which the kernel reads it.
//
// The columns of W are cut into segments of equal length, but the last, short enough for the kernel's rows of
// x. Each segment holds, one after the other, its panels of W^T (columns of W by out_features; see
// blast/layout.h for what a panel is). So a few panels and one segment of x are all that a core's own caches
// have to hold.
// The layout is the same for all instruction sets and element types; it counts in values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blast/layout.h"

namespace blast_deploy::dense {

constexpr std::int64_t kLayoutVersion = 1;
constexpr std::int64_t kLongestSegment = 256;

// Sizes that follow from those of W; make it with `plan`.
struct Layout {
  std::int64_t out_features;
  std::int64_t in_features;
  std::int64_t segment;  // columns of every segment but the last
  std::int64_t size;     // values in all
};

// Columns of the segment that begins with column `first`.
static constexpr std::int64_t columns_of_segment(const Layout& layout, std::int64_t first) {
  return blast::smaller(layout.segment, layout.in_features - first);
}

// Throws std::invalid_argument with one sentence if no such matrix exists or it is too large to address.
Layout plan(std::int64_t out_features, std::int64_t in_features);

// Packs W (out_features, in_features), contiguous and of values of `value_bytes` bytes (2, 4 or 8), into
// `layout.size` values.
void pack(const Layout& layout, std::size_t value_bytes, const void* weight, void* packed);

}  // namespace blast_deploy::dense
