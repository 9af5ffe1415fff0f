// How a BLAST layer is cut for a number of rows: into tiles of rows, and each tile's phases into shares.
#pragma once

#include <cstdint>
#include <vector>

#include "blast/kernel.h"
#include "blast/layout.h"
#include "runtime/element_type.h"

namespace blast_deploy::blast {

// What a schedule depends on beside the layer.
struct Machine {
  std::int64_t threads;  // that may work at the same time
  std::int64_t
      largest_tile_rows;  // more rows read the weights less often, but their z, w and y leave the cache
};

// The machine that this process runs on.
Machine this_machine();

// Rows in tiles of equal size, but the last.
struct Tiling {
  std::int64_t rows;
  std::int64_t tile_rows;
  std::int64_t tiles;

  std::int64_t rows_of(std::int64_t tile) const { return smaller(tile_rows, rows - tile * tile_rows); }
};

// As many tiles for each thread, where they stay large enough.
Tiling tile_rows(std::int64_t rows, std::int64_t threads);

// Tiles, and how the phases of each are cut.
struct Schedule : Tiling {
  Cut cut;
};

// Cuts a layer for threads that may work at the same time.
Schedule make_schedule(const Layout& layout, ElementType type, std::int64_t rows, std::int64_t threads);

// Cuts layers that are computed together: all into the same tiles and as many shares, as their work in sum is
// worth, and each into chunks of its own.
std::vector<Schedule> make_schedules(const std::vector<const Layout*>& layouts, ElementType type,
                                     std::int64_t rows, std::int64_t threads);

}  // namespace blast_deploy::blast
