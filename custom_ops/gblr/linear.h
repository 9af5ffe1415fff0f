// A GBLR layer on any number of rows, in pieces that a schedule names.
#pragma once

#include <cstdint>
#include <vector>

#include "blast/linear.h"
#include "blast/schedule.h"
#include "gblr/kernel.h"
#include "gblr/layout.h"

namespace blast_deploy::gblr {

using blast::Limits;
using blast::Schedule;

using Linear = blast::TiledLinear<Layout, Kernel>;

// Most rows of a tile: whole vectors of every instruction set, whose sums fit in its registers.
constexpr std::int64_t kLargestTileRows = 48;

// See blast::make_schedules. Tiles are of whole vectors of rows, where the limits allow it.
std::vector<Schedule> make_schedules(const std::vector<const Layout*>& layouts, ElementType type,
                                     std::int64_t rows, std::int64_t threads, const Limits& limits = {});

}  // namespace blast_deploy::gblr
