#include "quantized/linear.h"

namespace blast_deploy::quantized {
namespace {

using blast::Work;

// Products of bytes take about a quarter of the time of those of floats.
constexpr std::int64_t kProductsOfOneFloat = 4;

// What z of the groups of a phase may take: a part of a second-level cache.
constexpr std::int64_t kLargestPhaseBytes = 256 * 1024;

Work work_of(const Layout& layout, std::int64_t rows) {
  const auto& [m, n, b1, b2, rank] = layout.sizes;
  return {layout.size, 2 * rows * rank * ((m + n) / kProductsOfOneFloat + b1 * b2)};
}

Work work_of(const DenseLayout& layout, std::int64_t rows) {
  return {layout.size, 2 * rows * layout.sizes.out_features * layout.sizes.in_features / kProductsOfOneFloat};
}

// Groups of the rank in one phase, where shares wait for each other between phases.
std::int64_t count_groups(const Layout& layout, std::int64_t rows) {
  const std::int64_t group_bytes =
      rows * layout.sizes.blocks_in * kGroup * static_cast<std::int64_t>(sizeof(float));
  return smaller(layout.chunks, larger(1, kLargestPhaseBytes / group_bytes));
}

std::int64_t count_groups(const DenseLayout&, std::int64_t) { return 1; }

template <typename Layout>
std::vector<Schedule> schedules_of(const std::vector<const Layout*>& layouts, std::int64_t rows,
                                   std::int64_t threads, const Limits& limits) {
  const blast::Tiling tiling = blast::tile_rows(rows, threads, limits);
  std::vector<Schedule> schedules(layouts.size(), Schedule{tiling, {1, 1}});
  if (rows == 0) return schedules;
  Work all{};
  for (const Layout* const layout : layouts) {
    const Work work = work_of(*layout, tiling.tile_rows);
    all.bytes += work.bytes;
    all.operations += work.operations;
  }
  const std::int64_t shares = blast::count_shares(all, threads / tiling.tiles, limits);
  if (shares == 1) return schedules;
  for (std::size_t index = 0; index < layouts.size(); ++index) {
    schedules[index].cut = {count_groups(*layouts[index], tiling.tile_rows), shares};
  }
  return schedules;
}

}  // namespace

std::vector<Schedule> make_schedules(const std::vector<const Layout*>& layouts, ElementType,
                                     std::int64_t rows, std::int64_t threads, const Limits& limits) {
  return schedules_of(layouts, rows, threads, limits);
}

std::vector<Schedule> make_schedules(const std::vector<const DenseLayout*>& layouts, ElementType,
                                     std::int64_t rows, std::int64_t threads, const Limits& limits) {
  return schedules_of(layouts, rows, threads, limits);
}

}  // namespace blast_deploy::quantized
