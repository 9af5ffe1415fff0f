// Quantised layers on any number of rows, in pieces that a schedule names.
#pragma once

#include <cstdint>
#include <vector>

#include "blast/linear.h"
#include "blast/schedule.h"
#include "quantized/kernel.h"

namespace blast_deploy::quantized {

using blast::Limits;
using blast::Schedule;

using Linear = blast::TiledLinear<Layout, Kernel>;
using DenseLinear = blast::TiledLinear<DenseLayout, DenseKernel>;

// See blast::make_schedules. The element type is that of X, a float.
std::vector<Schedule> make_schedules(const std::vector<const Layout*>& layouts, ElementType type,
                                     std::int64_t rows, std::int64_t threads, const Limits& limits = {});
std::vector<Schedule> make_schedules(const std::vector<const DenseLayout*>& layouts, ElementType type,
                                     std::int64_t rows, std::int64_t threads, const Limits& limits = {});

}  // namespace blast_deploy::quantized
