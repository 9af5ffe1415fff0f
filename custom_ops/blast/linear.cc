#include "blast/linear.h"

namespace blast_deploy::blast {
namespace {

constexpr std::size_t kCacheLine = 64;

void* align(void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return reinterpret_cast<void*>((address + kCacheLine - 1) / kCacheLine * kCacheLine);
}

Tile tile_of(const Linear& linear, const Schedule& schedule, std::int64_t tile, const Operands& operands,
             void* scratch) {
  const std::int64_t first =
      tile * schedule.tile_rows * static_cast<std::int64_t>(value_bytes(linear.kernel->element_type));
  const Sizes& sizes = linear.layout.sizes;
  const auto* const residual = static_cast<const char*>(operands.residual);
  return {operands.packed,
          operands.bias,
          static_cast<const char*>(operands.x) + first * sizes.in_features,
          schedule.rows_of(tile),
          linear.activation,
          residual == nullptr ? nullptr : residual + first * sizes.out_features,
          static_cast<char*>(operands.y) + first * sizes.out_features,
          align(scratch)};
}

}  // namespace

std::size_t Linear::scratch_bytes(const Schedule& schedule) const {
  return static_cast<std::size_t>(kernel->scratch_bytes(layout, schedule.tile_rows, schedule.cut)) +
         kCacheLine;
}

std::int64_t Linear::steps(const Schedule& schedule) const {
  return divide_up(layout.chunks, schedule.cut.chunks);
}

void Linear::project(const Schedule& schedule, std::int64_t tile, std::int64_t share, std::int64_t step,
                     const Operands& operands, void* scratch) const {
  kernel->project(layout, tile_of(*this, schedule, tile, operands, scratch),
                  {schedule.cut, share, step * schedule.cut.chunks});
}

void Linear::combine(const Schedule& schedule, std::int64_t tile, std::int64_t share, std::int64_t step,
                     const Operands& operands, void* scratch) const {
  kernel->combine(layout, tile_of(*this, schedule, tile, operands, scratch),
                  {schedule.cut, share, step * schedule.cut.chunks});
}

void Linear::multiply(const Schedule& schedule, std::int64_t tile, const Operands& operands,
                      void* scratch) const {
  for (std::int64_t step = 0; step < steps(schedule); ++step) {
    for (std::int64_t share = 0; share < schedule.cut.shares; ++share) {
      project(schedule, tile, share, step, operands, scratch);
    }
    for (std::int64_t share = 0; share < schedule.cut.shares; ++share) {
      combine(schedule, tile, share, step, operands, scratch);
    }
  }
}

}  // namespace blast_deploy::blast
