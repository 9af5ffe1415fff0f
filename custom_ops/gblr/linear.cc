#include "gblr/linear.h"

namespace blast_deploy::gblr {
namespace {

constexpr std::int64_t kVectorRows = 16;  // of the widest vectors

blast::Tiling cut_rows(std::int64_t rows, std::int64_t threads, const Limits& limits) {
  if (rows == 0) return {0, 0, 0};
  const std::int64_t most = smaller(kLargestTileRows, limits.largest_tile_rows);
  const std::int64_t unit = smaller(kVectorRows, most);
  const std::int64_t units = divide_up(rows, unit);
  const std::int64_t fewest = divide_up(units, most / unit);
  const std::int64_t tiles = larger(fewest, smaller(round_up(fewest, threads), units / 2));
  const std::int64_t size = divide_up(units, tiles) * unit;
  return {rows, smaller(rows, size), divide_up(rows, size)};
}

}  // namespace

std::vector<Schedule> make_schedules(const std::vector<const Layout*>& layouts, ElementType,
                                     std::int64_t rows, std::int64_t threads, const Limits& limits) {
  const blast::Tiling tiling = cut_rows(rows, threads, limits);
  blast::Work all{};
  for (const Layout* const layout : layouts) {
    all.bytes += layout->size;
    all.operations += 2 * tiling.tile_rows * layout->weights;
  }
  const std::int64_t most = tiling.tiles == 0 ? 1 : threads / tiling.tiles;
  return {layouts.size(), Schedule{tiling, {1, blast::count_shares(all, most, limits)}}};
}

}  // namespace blast_deploy::gblr
