#include "blast/schedule.h"

#include <stdexcept>
#include <string>

namespace blast_deploy::blast {
namespace {

// Fewer rows to a tile would read the weights too often: then threads share a tile instead.
constexpr std::int64_t kSmallestTile = 32;

// What z of the chunks of a phase may take: a part of a second-level cache.
constexpr std::int64_t kLargestPhaseBytes = 256 * 1024;

Work work_of(const Layout& layout, ElementType type, std::int64_t rows) {
  const Sizes& sizes = layout.sizes;
  return {
      layout.size * static_cast<std::int64_t>(value_bytes(type)),
      2 * rows * sizes.rank * (sizes.out_features + sizes.in_features + sizes.blocks_out * sizes.blocks_in)};
}

// All chunks of few rows go into one phase, so that threads wait for each other twice and no more.
std::int64_t count_chunks(const Layout& layout, ElementType type, std::int64_t rows) {
  const std::int64_t width = type == ElementType::kDouble ? 8 : 4;
  const std::int64_t chunk_bytes = rows * layout.sizes.blocks_in * layout.chunk_rank * width;
  return smaller(layout.chunks, larger(1, kLargestPhaseBytes / chunk_bytes));
}

}  // namespace

std::int64_t count_shares(const Work& work, std::int64_t most, const Limits& limits) {
  const std::int64_t worth =
      larger(work.bytes / limits.smallest_share_bytes, work.operations / limits.smallest_share_operations);
  return larger(1, smaller(most, worth));
}

void check_limits(const Limits& limits) {
  if (limits.largest_tile_rows >= 1 && limits.smallest_share_bytes >= 1 &&
      limits.smallest_share_operations >= 1) {
    return;
  }
  throw std::invalid_argument(
      "largest_tile_rows, smallest_share_bytes and smallest_share_operations must be at least 1 (got " +
      std::to_string(limits.largest_tile_rows) + ", " + std::to_string(limits.smallest_share_bytes) +
      " and " + std::to_string(limits.smallest_share_operations) + "); compile the model again");
}

Tiling tile_rows(std::int64_t rows, std::int64_t threads, const Limits& limits) {
  if (rows == 0) return {0, 0, 0};
  // A file may name any limit, the greatest integer too.
  const std::int64_t fewest = divide_up(rows, smaller(rows, limits.largest_tile_rows));
  const std::int64_t tiles = larger(fewest, smaller(round_up(fewest, threads), rows / kSmallestTile));
  const std::int64_t size = divide_up(rows, tiles);
  return {rows, size, divide_up(rows, size)};
}

Schedule make_schedule(const Layout& layout, ElementType type, std::int64_t rows, std::int64_t threads,
                       const Limits& limits) {
  return make_schedules({&layout}, type, rows, threads, limits).front();
}

std::vector<Schedule> make_schedules(const std::vector<const Layout*>& layouts, ElementType type,
                                     std::int64_t rows, std::int64_t threads, const Limits& limits) {
  const Tiling tiling = tile_rows(rows, threads, limits);
  std::vector<Schedule> schedules(layouts.size(), Schedule{tiling, {1, 1}});
  if (rows == 0) return schedules;
  Work all{};
  for (const Layout* const layout : layouts) {
    const Work work = work_of(*layout, type, tiling.tile_rows);
    all.bytes += work.bytes;
    all.operations += work.operations;
  }
  const std::int64_t shares = count_shares(all, threads / tiling.tiles, limits);
  if (shares == 1) return schedules;
  for (std::size_t index = 0; index < layouts.size(); ++index) {
    schedules[index].cut = {count_chunks(*layouts[index], type, tiling.tile_rows), shares};
  }
  return schedules;
}

}  // namespace blast_deploy::blast
