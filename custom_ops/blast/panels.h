// Writes matrices as panels (see layout.h). Not for kernels: it has inline functions of the C++ library.
#pragma once

#include <algorithm>
#include <cstdint>

#include "blast/layout.h"

namespace blast_deploy::blast {

// Writes rows x columns values as panels, taking value(row, column) where valid, and returns the end.
template <typename Bits, typename Value>
Bits* pack_panels(std::int64_t rows, std::int64_t columns, Bits* packed, Value value) {
  for (std::int64_t first = 0, width; first < columns; first += width) {
    width = panel_width(columns - first);
    Bits* const end = packed + panel_size(rows, width);
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = first; column < first + width; ++column) {
        *packed++ = column < columns ? value(row, column) : Bits{0};
      }
    }
    packed = std::fill_n(packed, end - packed, Bits{0});
  }
  return packed;
}

}  // namespace blast_deploy::blast
