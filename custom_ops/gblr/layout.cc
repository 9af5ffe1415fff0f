#include "gblr/layout.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace blast_deploy::gblr {
namespace {

constexpr std::int64_t kLargestSize = std::int64_t{1} << 31;    // of each dimension
constexpr std::int64_t kLargestPacked = std::int64_t{1} << 40;  // of weights, and of bytes
constexpr std::int64_t kPart = 64;                              // bytes that a part's start is a multiple of
constexpr std::int64_t kHeader = 8;                             // int64

void check(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + ", and must be from " +
                              std::to_string(least) + " to " + std::to_string(most));
}

void check_sizes(const Sizes& sizes) {
  check("out_features", sizes.out_features, 1, kLargestSize - 1);
  check("in_features", sizes.in_features, 1, kLargestSize - 1);
  check("the number of components", sizes.components, 0, kLargestComponents);
}

void check_intervals(const Sizes& sizes, const Factor& factor, std::int64_t size) {
  for (std::int64_t k = 0; k < sizes.components; ++k) {
    check("a start", factor.starts[k], 0, size - 1);
    check("a width", factor.widths[k], 1, size);
  }
}

// Which halves of a tile a component touches.
enum Touch : std::uint8_t { kNone = 0, kLower = 1, kUpper = 2, kWhole = 3 };

// What each tile of an axis of `size` entries is to a component.
std::vector<std::uint8_t> touches(std::int64_t start, std::int64_t width, std::int64_t size) {
  std::vector<std::uint8_t> found(static_cast<std::size_t>(divide_up(size, kTile)));
  const auto mark = [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t half = first / kHalf; half < divide_up(end, kHalf); ++half) {
      found[static_cast<std::size_t>(half / 2)] |= half % 2 == 0 ? kLower : kUpper;
    }
  };
  mark(start, smaller(start + width, size));
  if (start + width > size) mark(0, start + width - size);
  return found;
}

// A cell with its components, in the order in which it lists them.
struct Listing {
  Cell cell;
  std::vector<std::uint16_t> components;
};

// All listings of one axis for some components: those of each tile, empty ones too.
std::vector<Listing> list(const Factor& factor, const std::vector<std::int64_t>& order, std::int64_t first,
                          std::int64_t last, std::int64_t size) {
  std::vector<Listing> whole(static_cast<std::size_t>(divide_up(size, kTile)));
  std::vector<Listing> lower(whole.size());
  std::vector<Listing> upper(whole.size());
  for (std::int64_t k = first; k < last; ++k) {
    const auto own = static_cast<std::size_t>(order[static_cast<std::size_t>(k)]);
    const auto found = touches(factor.starts[own], factor.widths[own], size);
    for (std::size_t tile = 0; tile < found.size(); ++tile) {
      if (found[tile] == kNone) continue;
      auto& lists = found[tile] == kWhole ? whole : found[tile] == kLower ? lower : upper;
      lists[tile].components.push_back(static_cast<std::uint16_t>(k));
    }
  }
  for (std::size_t tile = 0; tile < whole.size(); ++tile) {
    Listing& all = whole[tile];
    all.cell.tile = static_cast<std::int32_t>(tile);
    all.cell.whole = static_cast<std::int32_t>(all.components.size());
    all.cell.lower = static_cast<std::int32_t>(lower[tile].components.size());
    all.cell.upper = static_cast<std::int32_t>(upper[tile].components.size());
    for (const auto* const half : {&lower[tile].components, &upper[tile].components}) {
      all.components.insert(all.components.end(), half->begin(), half->end());
    }
  }
  return whole;
}

// Everything of a packed matrix but its weights.
struct Plan {
  Layout layout;
  std::vector<std::int64_t> order;    // which component each sorted one was
  std::vector<std::int64_t> bundles;  // first cells
  std::vector<Listing> v;
  std::vector<Listing> u;
};

// Where the parts lie, from how much they hold.
void place(Layout* layout) {
  layout->chunks = 1;
  layout->bundles = divide_up(layout->sizes.components, kBundle);
  layout->u_cells = divide_up(layout->sizes.out_features, kTile);
  std::int64_t end = kHeader * 8;
  const auto part = [&](std::int64_t bytes) {
    const std::int64_t start = end;
    end = round_up(end + bytes, kPart);
    return start;
  };
  layout->bundle_offset = part((layout->bundles + 1) * 8);
  layout->cell_offset = part((layout->v_cells + layout->u_cells) * static_cast<std::int64_t>(sizeof(Cell)));
  layout->index_offset = part(layout->indices * 2);
  layout->weight_offset = part(layout->weights * 4);
  layout->size = end;
}

Plan make_plan(const Sizes& sizes, const Factor& u, const Factor& v) {
  check_sizes(sizes);
  check_intervals(sizes, u, sizes.out_features);
  check_intervals(sizes, v, sizes.in_features);
  Plan plan{};
  Layout& layout = plan.layout;
  layout.sizes = sizes;
  plan.order.resize(static_cast<std::size_t>(sizes.components));
  for (std::size_t k = 0; k < plan.order.size(); ++k) plan.order[k] = static_cast<std::int64_t>(k);
  std::stable_sort(plan.order.begin(), plan.order.end(),
                   [&](std::int64_t a, std::int64_t b) { return v.starts[a] < v.starts[b]; });
  const auto place_cell = [&](Listing& each, std::int64_t weights) {
    each.cell.index = layout.indices;
    each.cell.weight = layout.weights;
    layout.indices += listings(each.cell);
    layout.weights += weights;
    check("the number of packed weights", layout.weights, 0, kLargestPacked / 8);
  };
  for (std::int64_t first = 0; first < sizes.components; first += kBundle) {
    plan.bundles.push_back(layout.v_cells);
    const std::int64_t last = smaller(first + kBundle, sizes.components);
    for (Listing& each : list(v, plan.order, first, last, sizes.in_features)) {
      if (each.components.empty()) continue;
      place_cell(each, v_weights(each.cell));
      plan.v.push_back(std::move(each));
      ++layout.v_cells;
    }
  }
  plan.bundles.push_back(layout.v_cells);
  plan.u = list(u, plan.order, 0, sizes.components, sizes.out_features);
  for (Listing& each : plan.u) place_cell(each, u_weights(each.cell));
  place(&layout);
  return plan;
}

// Reads single values of a factor by component and entry.
class Values {
 public:
  Values(const Factor& factor, std::int64_t components, std::int64_t size) : factor_(factor), size_(size) {
    for (std::int64_t k = 0, first = 0; k < components; first += factor.widths[k++]) firsts_.push_back(first);
  }

  // Zero outside of the interval.
  float at(std::int64_t component, std::int64_t entry) const {
    std::int64_t step = entry - factor_.starts[component];
    if (step < 0) step += size_;
    if (entry >= size_ || step >= factor_.widths[component]) return 0.0F;
    return factor_.values[firsts_[static_cast<std::size_t>(component)] + step];
  }

 private:
  const Factor& factor_;
  std::int64_t size_;
  std::vector<std::int64_t> firsts_;
};

// One list of a cell: its components, and the entries of the tile that it holds.
struct List {
  const std::uint16_t* components;
  std::int64_t count;
  std::int64_t first_entry;
  std::int64_t entries;
};

std::vector<List> lists_of(const Listing& listing) {
  const Cell& cell = listing.cell;
  const std::uint16_t* const start = listing.components.data();
  const std::int64_t first = cell.tile * kTile;
  return {{start, cell.whole, first, kTile},
          {start + cell.whole, cell.lower, first, kHalf},
          {start + cell.whole + cell.lower, cell.upper, first + kHalf, kHalf}};
}

float* write_v(const Values& v, const std::vector<std::int64_t>& order, const List& list, float* to) {
  for (std::int64_t first = 0, width; first < list.count; first += width) {
    width = group_width(list.count - first);
    for (std::int64_t entry = 0; entry < list.entries; ++entry) {
      for (std::int64_t k = first; k < first + width; ++k) {
        *to++ = k < list.count ? v.at(order[list.components[k]], list.first_entry + entry) : 0.0F;
      }
    }
  }
  return to;
}

float* write_u(const Values& u, const std::vector<std::int64_t>& order, const List& list, float* to) {
  for (std::int64_t k = 0; k < list.count; ++k) {
    for (std::int64_t entry = 0; entry < list.entries; ++entry) {
      *to++ = u.at(order[list.components[k]], list.first_entry + entry);
    }
  }
  return to;
}

[[noreturn]] void refuse(const char* what) {
  throw std::invalid_argument(std::string("the packed factors are damaged: ") + what +
                              "; compile the model again");
}

// Checks what one cell says of itself; `first` and `last` bound its components.
void check_cell(const Layout& layout, const Cell& cell, std::int64_t weights, const std::uint16_t* indices,
                std::int64_t first, std::int64_t last) {
  const std::int64_t count = listings(cell);
  if (cell.index < 0 || cell.index > layout.indices - count) refuse("a cell has its indices outside");
  if (cell.weight < 0 || cell.weight > layout.weights - weights) refuse("a cell has its weights outside");
  for (std::int64_t each = cell.index; each < cell.index + count; ++each) {
    if (indices[each] < first || indices[each] >= last)
      refuse("a cell lists a component that it cannot have");
  }
}

void check_counts(const Cell& cell) {
  if (cell.whole < 0 || cell.lower < 0 || cell.upper < 0) refuse("a cell lists less than no components");
}

void check_parts(const Layout& layout, const char* bytes) {
  const auto* const bundles = reinterpret_cast<const std::int64_t*>(bytes + layout.bundle_offset);
  const auto* const cells = reinterpret_cast<const Cell*>(bytes + layout.cell_offset);
  const auto* const indices = reinterpret_cast<const std::uint16_t*>(bytes + layout.index_offset);
  if (bundles[0] != 0 || bundles[layout.bundles] != layout.v_cells)
    refuse("its bundles do not hold all cells");
  const std::int64_t tiles = divide_up(layout.sizes.in_features, kTile);
  for (std::int64_t bundle = 0; bundle < layout.bundles; ++bundle) {
    if (bundles[bundle] > bundles[bundle + 1] || bundles[bundle + 1] > layout.v_cells) {
      refuse("its bundles are not in order");
    }
    const std::int64_t last = smaller((bundle + 1) * kBundle, layout.sizes.components);
    for (std::int64_t each = bundles[bundle]; each < bundles[bundle + 1]; ++each) {
      const Cell& cell = cells[each];
      check_counts(cell);
      if (cell.tile < 0 || cell.tile >= tiles) refuse("a cell is of columns that the matrix lacks");
      check_cell(layout, cell, v_weights(cell), indices, bundle * kBundle, last);
    }
  }
  for (std::int64_t tile = 0; tile < layout.u_cells; ++tile) {
    const Cell& cell = cells[layout.v_cells + tile];
    check_counts(cell);
    if (cell.tile != tile) refuse("its cells of rows are not in order");
    check_cell(layout, cell, u_weights(cell), indices, 0, layout.sizes.components);
  }
}

}  // namespace

Layout plan(const Sizes& sizes, const Factor& u, const Factor& v) { return make_plan(sizes, u, v).layout; }

void pack(const Sizes& sizes, const Factor& u, const Factor& v, void* packed) {
  const Plan plan = make_plan(sizes, u, v);
  const Layout& layout = plan.layout;
  auto* const bytes = static_cast<char*>(packed);
  std::memset(bytes, 0, static_cast<std::size_t>(layout.size));
  const std::int64_t header[kHeader] = {
      kLayoutVersion, sizes.out_features, sizes.in_features, sizes.components,
      layout.v_cells, layout.indices,     layout.weights,    0};
  std::memcpy(bytes, header, sizeof(header));
  std::memcpy(bytes + layout.bundle_offset, plan.bundles.data(), plan.bundles.size() * 8);
  auto* cell = reinterpret_cast<Cell*>(bytes + layout.cell_offset);
  auto* index = reinterpret_cast<std::uint16_t*>(bytes + layout.index_offset);
  auto* weight = reinterpret_cast<float*>(bytes + layout.weight_offset);
  const Values u_values(u, sizes.components, sizes.out_features);
  const Values v_values(v, sizes.components, sizes.in_features);
  for (const auto* const side : {&plan.v, &plan.u}) {
    for (const Listing& each : *side) {
      *cell++ = each.cell;
      index = std::copy(each.components.begin(), each.components.end(), index);
      for (const List& list : lists_of(each)) {
        weight = side == &plan.v ? write_v(v_values, plan.order, list, weight)
                                 : write_u(u_values, plan.order, list, weight);
      }
    }
  }
}

Layout read_layout(const Sizes& sizes, const void* packed, std::int64_t size) {
  check_sizes(sizes);
  const auto* const bytes = static_cast<const char*>(packed);
  std::int64_t header[kHeader];
  if (size < static_cast<std::int64_t>(sizeof(header))) refuse("there are too few bytes");
  std::memcpy(header, bytes, sizeof(header));
  if (header[0] != kLayoutVersion) refuse("their header has another version than the node");
  if (header[1] != sizes.out_features || header[2] != sizes.in_features || header[3] != sizes.components) {
    refuse("their header has other sizes than the node");
  }
  Layout layout{};
  layout.sizes = sizes;
  layout.v_cells = header[4];
  layout.indices = header[5];
  layout.weights = header[6];
  for (const std::int64_t count : {layout.v_cells, layout.indices, layout.weights}) {
    if (count < 0 || count > size) refuse("their header counts more than there are bytes");
  }
  place(&layout);
  if (layout.size != size) refuse("they are not as many bytes as their header says");
  if (reinterpret_cast<std::uintptr_t>(packed) % alignof(Cell) != 0)
    refuse("they do not lie on a multiple of 8");
  check_parts(layout, bytes);
  return layout;
}

}  // namespace blast_deploy::gblr
