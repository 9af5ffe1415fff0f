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

// The components that touch each tile of an axis of `size` entries, among some of those that `order` sorts.
std::vector<std::vector<std::uint16_t>> list(const Factor& factor, const std::vector<std::int64_t>& order,
                                             std::int64_t first, std::int64_t last, std::int64_t size) {
  std::vector<std::vector<std::uint16_t>> runs(static_cast<std::size_t>(divide_up(size, kTile)));
  for (std::int64_t k = first; k < last; ++k) {
    const std::int64_t own = order[static_cast<std::size_t>(k)];
    const std::int64_t start = factor.starts[own];
    const std::int64_t end = start + factor.widths[own];
    const std::int64_t wrapped = divide_up(larger(end - size, 0), kTile);
    const auto mark = [&](std::int64_t from, std::int64_t to) {
      for (; from < to; ++from) runs[static_cast<std::size_t>(from)].push_back(static_cast<std::uint16_t>(k));
    };
    mark(0, wrapped);
    mark(larger(wrapped, start / kTile), divide_up(smaller(end, size), kTile));
  }
  return runs;
}

// Everything of a packed matrix but its weights.
struct Plan {
  Layout layout;
  std::vector<std::int64_t> order;  // which component each sorted one was
  std::vector<std::vector<std::uint16_t>> runs;
};

// Where the parts lie, from how much they hold.
Layout place(const Sizes& sizes, std::int64_t listings) {
  Layout layout{};
  layout.sizes = sizes;
  layout.chunks = 1;
  layout.bundles = divide_up(sizes.components, kBundle);
  layout.v_tiles = divide_up(sizes.in_features, kTile);
  layout.u_tiles = divide_up(sizes.out_features, kTile);
  layout.listings = listings;
  layout.weights = listings * kTile;
  std::int64_t end = kHeader * 8;
  const auto part = [&](std::int64_t bytes) {
    const std::int64_t start = end;
    end = round_up(end + bytes, kPart);
    return start;
  };
  layout.first_offset = part((v_runs(layout) + layout.u_tiles + 1) * 8);
  layout.index_offset = part(layout.listings * 2);
  layout.weight_offset = part(layout.weights * 4);
  layout.size = end;
  return layout;
}

std::vector<std::vector<std::uint16_t>> list_all(const Sizes& sizes, const Factor& u, const Factor& v,
                                                 const std::vector<std::int64_t>& order) {
  std::vector<std::vector<std::vector<std::uint16_t>>> bundles;
  for (std::int64_t first = 0; first < sizes.components; first += kBundle) {
    const std::int64_t last = smaller(first + kBundle, sizes.components);
    bundles.push_back(list(v, order, first, last, sizes.in_features));
  }
  std::vector<std::vector<std::uint16_t>> runs;
  for (std::int64_t tile = 0; tile < divide_up(sizes.in_features, kTile); ++tile) {
    for (auto& bundle : bundles) runs.push_back(std::move(bundle[static_cast<std::size_t>(tile)]));
  }
  for (auto& run : list(u, order, 0, sizes.components, sizes.out_features)) runs.push_back(std::move(run));
  return runs;
}

Plan make_plan(const Sizes& sizes, const Factor& u, const Factor& v) {
  check_sizes(sizes);
  check_intervals(sizes, u, sizes.out_features);
  check_intervals(sizes, v, sizes.in_features);
  Plan plan{};
  plan.order.resize(static_cast<std::size_t>(sizes.components));
  for (std::size_t k = 0; k < plan.order.size(); ++k) plan.order[k] = static_cast<std::int64_t>(k);
  std::stable_sort(plan.order.begin(), plan.order.end(),
                   [&](std::int64_t a, std::int64_t b) { return v.starts[a] < v.starts[b]; });
  plan.runs = list_all(sizes, u, v, plan.order);
  std::int64_t listings = 0;
  for (const auto& run : plan.runs) listings += static_cast<std::int64_t>(run.size());
  check("the number of packed weights", listings * kTile, 0, kLargestPacked / 8);
  plan.layout = place(sizes, listings);
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

[[noreturn]] void refuse(const char* what) {
  throw std::invalid_argument(std::string("the packed factors are damaged: ") + what +
                              "; compile the model again");
}

// Checks runs from `run` on that lie at firsts[run], and that they list components from `first` on.
void check_run(const std::int64_t* firsts, const std::uint16_t* indices, std::int64_t run, std::int64_t first,
               std::int64_t last) {
  for (std::int64_t each = firsts[run]; each < firsts[run + 1]; ++each) {
    if (indices[each] < first || indices[each] >= last) {
      refuse("a run lists a component that it cannot have");
    }
  }
}

void check_parts(const Layout& layout, const char* bytes) {
  const auto* const firsts = reinterpret_cast<const std::int64_t*>(bytes + layout.first_offset);
  const auto* const indices = reinterpret_cast<const std::uint16_t*>(bytes + layout.index_offset);
  const std::int64_t runs = v_runs(layout) + layout.u_tiles;
  if (firsts[0] != 0 || firsts[runs] != layout.listings) refuse("its runs do not hold all listings");
  for (std::int64_t run = 0; run < runs; ++run) {
    if (firsts[run] > firsts[run + 1] || firsts[run + 1] > layout.listings) {
      refuse("its runs are not in order");
    }
    const bool of_v = run < v_runs(layout);
    const std::int64_t first = of_v ? run % layout.bundles * kBundle : 0;
    const std::int64_t last = of_v ? first + kBundle : layout.sizes.components;
    check_run(firsts, indices, run, first, smaller(last, layout.sizes.components));
  }
}

}  // namespace

Layout plan(const Sizes& sizes, const Factor& u, const Factor& v) { return make_plan(sizes, u, v).layout; }

void pack(const Sizes& sizes, const Factor& u, const Factor& v, void* packed) {
  const Plan plan = make_plan(sizes, u, v);
  const Layout& layout = plan.layout;
  auto* const bytes = static_cast<char*>(packed);
  std::memset(bytes, 0, static_cast<std::size_t>(layout.size));
  const std::int64_t header[kHeader] = {kLayoutVersion, sizes.out_features, sizes.in_features,
                                        sizes.components, layout.listings};
  std::memcpy(bytes, header, sizeof(header));
  auto* first = reinterpret_cast<std::int64_t*>(bytes + layout.first_offset);
  auto* index = reinterpret_cast<std::uint16_t*>(bytes + layout.index_offset);
  auto* weight = reinterpret_cast<float*>(bytes + layout.weight_offset);
  const Values u_values(u, sizes.components, sizes.out_features);
  const Values v_values(v, sizes.components, sizes.in_features);
  for (std::int64_t run = 0; run < v_runs(layout) + layout.u_tiles; ++run) {
    const bool of_v = run < v_runs(layout);
    const Values& values = of_v ? v_values : u_values;
    const std::int64_t tile = of_v ? run / layout.bundles : run - v_runs(layout);
    for (const std::uint16_t k : plan.runs[static_cast<std::size_t>(run)]) {
      *index++ = k;
      for (std::int64_t entry = tile * kTile; entry < (tile + 1) * kTile; ++entry) {
        *weight++ = values.at(plan.order[k], entry);
      }
    }
    first[1] = first[0] + static_cast<std::int64_t>(plan.runs[static_cast<std::size_t>(run)].size());
    ++first;
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
  const std::int64_t listings = header[4];
  if (listings < 0 || listings > size) refuse("their header counts more than there are bytes");
  const Layout layout = place(sizes, listings);
  if (layout.size != size) refuse("they are not as many bytes as their header says");
  if (reinterpret_cast<std::uintptr_t>(packed) % alignof(std::int64_t) != 0) {
    refuse("they do not lie on a multiple of 8");
  }
  check_parts(layout, bytes);
  return layout;
}

}  // namespace blast_deploy::gblr
