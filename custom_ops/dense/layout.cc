#include "dense/layout.h"

#include <stdexcept>
#include <string>

#include "blast/panels.h"

namespace blast_deploy::dense {
namespace {

constexpr std::int64_t kLargestSize = std::int64_t{1} << 31;    // of each dimension
constexpr std::int64_t kLargestPacked = std::int64_t{1} << 40;  // values

void check(const char* name, std::int64_t value) {
  if (value < 1 || value >= kLargestSize) {
    throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) +
                                ", and must be from 1 to " + std::to_string(kLargestSize - 1));
  }
}

// Moves values whatever they mean: zero is all bits zero in every element type.
template <typename Bits>
void pack_values(const Layout& layout, const void* weight_values, void* packed_values) {
  const auto* const weight = static_cast<const Bits*>(weight_values);
  auto* packed = static_cast<Bits*>(packed_values);
  for (std::int64_t first = 0; first < layout.in_features; first += layout.segment) {
    packed = blast::pack_panels(
        columns_of_segment(layout, first), layout.out_features, packed,
        [=](std::int64_t k, std::int64_t row) { return weight[row * layout.in_features + first + k]; });
  }
}

}  // namespace

Layout plan(std::int64_t out_features, std::int64_t in_features) {
  check("out_features", out_features);
  check("in_features", in_features);
  if (blast::round_up(out_features, blast::kPanelWidth) > kLargestPacked / in_features) {
    throw std::invalid_argument("the packed weight would exceed " + std::to_string(kLargestPacked) +
                                " values; use fewer features");
  }
  const std::int64_t segments = blast::divide_up(in_features, kLongestSegment);
  Layout layout{out_features, in_features, blast::divide_up(in_features, segments), 0};
  for (std::int64_t first = 0; first < in_features; first += layout.segment) {
    layout.size += blast::panels_size(columns_of_segment(layout, first), out_features);
  }
  return layout;
}

void pack(const Layout& layout, std::size_t value_bytes, const void* weight, void* packed) {
  if (value_bytes == 8) return pack_values<std::uint64_t>(layout, weight, packed);
  if (value_bytes == 4) return pack_values<std::uint32_t>(layout, weight, packed);
  pack_values<std::uint16_t>(layout, weight, packed);
}

}  // namespace blast_deploy::dense
