#include "blast/schedule.h"

namespace blast_deploy::blast {
namespace {

// More rows read the weights less often, but their z, w and y leave the second-level cache.
// A multiple of the rows that the AVX-512 kernel takes at once.
constexpr std::int64_t kLargestTile = 70;

// Fewer rows to a tile would read the weights too often: then threads share a tile instead.
constexpr std::int64_t kSmallestTile = 32;

// Work that is worth handing to another thread takes about ten microseconds: so many bytes of weights at the
// rate of a third-level cache, or so many operations.
constexpr std::int64_t kSmallestShareBytes = 400'000;
constexpr std::int64_t kSmallestShareOperations = 1'000'000;

// What z of the chunks of a phase may take: a part of a second-level cache.
constexpr std::int64_t kLargestPhaseBytes = 256 * 1024;

// What layers have to do, in sum.
struct Work {
  std::int64_t bytes;  // of weights
  std::int64_t operations;
};

Work work_of(const Layout& layout, ElementType type, std::int64_t rows) {
  const Sizes& sizes = layout.sizes;
  return {
      layout.size * static_cast<std::int64_t>(value_bytes(type)),
      2 * rows * sizes.rank * (sizes.out_features + sizes.in_features + sizes.blocks_out * sizes.blocks_in)};
}

// Shares that are worth their handing over, at most `most`.
std::int64_t count_shares(const Work& work, std::int64_t most) {
  const std::int64_t worth =
      larger(work.bytes / kSmallestShareBytes, work.operations / kSmallestShareOperations);
  return larger(1, smaller(most, worth));
}

// All chunks of few rows go into one phase, so that threads wait for each other twice and no more.
std::int64_t count_chunks(const Layout& layout, ElementType type, std::int64_t rows) {
  const std::int64_t width = type == ElementType::kDouble ? 8 : 4;
  const std::int64_t chunk_bytes = rows * layout.sizes.blocks_in * layout.chunk_rank * width;
  return smaller(layout.chunks, larger(1, kLargestPhaseBytes / chunk_bytes));
}

}  // namespace

Tiling tile_rows(std::int64_t rows, std::int64_t threads) {
  if (rows == 0) return {0, 0, 0};
  const std::int64_t fewest = divide_up(rows, kLargestTile);
  const std::int64_t tiles = larger(fewest, smaller(round_up(fewest, threads), rows / kSmallestTile));
  const std::int64_t size = divide_up(rows, tiles);
  return {rows, size, divide_up(rows, size)};
}

Schedule make_schedule(const Layout& layout, ElementType type, std::int64_t rows, std::int64_t threads) {
  return make_schedules({&layout}, type, rows, threads).front();
}

std::vector<Schedule> make_schedules(const std::vector<const Layout*>& layouts, ElementType type,
                                     std::int64_t rows, std::int64_t threads) {
  const Tiling tiling = tile_rows(rows, threads);
  std::vector<Schedule> schedules(layouts.size(), Schedule{tiling, {1, 1}});
  if (rows == 0) return schedules;
  Work all{};
  for (const Layout* const layout : layouts) {
    const Work work = work_of(*layout, type, tiling.tile_rows);
    all.bytes += work.bytes;
    all.operations += work.operations;
  }
  const std::int64_t shares = count_shares(all, threads / tiling.tiles);
  if (shares == 1) return schedules;
  for (std::size_t index = 0; index < layouts.size(); ++index) {
    schedules[index].cut = {count_chunks(*layouts[index], type, tiling.tile_rows), shares};
  }
  return schedules;
}

}  // namespace blast_deploy::blast
