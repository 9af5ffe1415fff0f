// How a BLAST layer is cut for a number of rows: into tiles of rows, and each tile's phases into shares.
#pragma once

#include <cstdint>
#include <vector>

#include "blast/kernel.h"
#include "blast/layout.h"
#include "runtime/element_type.h"

namespace blast_deploy::blast {

// When a layer is cut. Calibration measures them, and compiled models carry them; results never depend on
// them.
struct Limits {
  // More rows read the weights less often, but their z, w and y leave the second-level cache. A multiple of
  // the rows that the AVX-512 kernel takes at once.
  std::int64_t largest_tile_rows = 70;

  // Work that is worth handing to another thread: so many bytes of weights, or so many operations.
  std::int64_t smallest_share_bytes = 400'000;
  std::int64_t smallest_share_operations = 600'000;
};

// Throws std::invalid_argument if a limit is below 1.
void check_limits(const Limits& limits);

// Rows in tiles of equal size, but the last.
struct Tiling {
  std::int64_t rows;
  std::int64_t tile_rows;
  std::int64_t tiles;

  std::int64_t rows_of(std::int64_t tile) const { return smaller(tile_rows, rows - tile * tile_rows); }
};

// As many tiles for each thread, where they stay large enough.
Tiling tile_rows(std::int64_t rows, std::int64_t threads, const Limits& limits = {});

// What layers have to do, in sum.
struct Work {
  std::int64_t bytes;       // of weights
  std::int64_t operations;  // on floats, or what takes as long
};

// Shares that are worth their handing over, at most `most`.
std::int64_t count_shares(const Work& work, std::int64_t most, const Limits& limits);

// Tiles, and how the phases of each are cut.
struct Schedule : Tiling {
  Cut cut;
};

// Cuts a layer for threads that may work at the same time.
Schedule make_schedule(const Layout& layout, ElementType type, std::int64_t rows, std::int64_t threads,
                       const Limits& limits = {});

// Cuts layers that are computed together: all into the same tiles and as many shares, as their work in sum is
// worth, and each into chunks of its own.
std::vector<Schedule> make_schedules(const std::vector<const Layout*>& layouts, ElementType type,
                                     std::int64_t rows, std::int64_t threads, const Limits& limits = {});

}  // namespace blast_deploy::blast
