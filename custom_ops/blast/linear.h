// A layer on any number of rows, in pieces that a schedule names.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blast/kernel.h"
#include "blast/layout.h"
#include "blast/schedule.h"

namespace blast_deploy::blast {

// What a layer computes on: all of its kernel's element type, but what is packed.
struct Operands {
  const void* packed;
  const void* bias;
  const void* x;         // rows x in_features
  const void* residual;  // rows x out_features, or nullptr
  void* y;               // rows x out_features
};

// A layer whose kernel works as `blast::Kernel` does, in two phases for some chunks of its layout.
template <typename Layout, typename Kernel>
struct TiledLinear {
  Layout layout;
  const Kernel* kernel;
  Activation activation = Activation::kNone;
  Limits limits{};

  // Bytes of scratch memory for one tile, with room to align it.
  std::size_t scratch_bytes(const Schedule& schedule) const {
    return static_cast<std::size_t>(kernel->scratch_bytes(layout, schedule.tile_rows, schedule.cut)) +
           kCacheLine;
  }

  // Chunks are computed in steps of two phases each.
  std::int64_t steps(const Schedule& schedule) const { return divide_up(layout.chunks, schedule.cut.chunks); }

  // One share of one phase of one tile; see blast::Kernel for what may run at the same time.
  void project(const Schedule& schedule, std::int64_t tile, std::int64_t share, std::int64_t step,
               const Operands& operands, void* scratch) const {
    kernel->project(layout, tile_of(schedule, tile, operands, scratch),
                    {schedule.cut, share, step * schedule.cut.chunks});
  }
  void combine(const Schedule& schedule, std::int64_t tile, std::int64_t share, std::int64_t step,
               const Operands& operands, void* scratch) const {
    kernel->combine(layout, tile_of(schedule, tile, operands, scratch),
                    {schedule.cut, share, step * schedule.cut.chunks});
  }

  // A whole tile on this thread.
  void multiply(const Schedule& schedule, std::int64_t tile, const Operands& operands, void* scratch) const {
    for (std::int64_t step = 0; step < steps(schedule); ++step) {
      for (std::int64_t share = 0; share < schedule.cut.shares; ++share) {
        project(schedule, tile, share, step, operands, scratch);
      }
      for (std::int64_t share = 0; share < schedule.cut.shares; ++share) {
        combine(schedule, tile, share, step, operands, scratch);
      }
    }
  }

 private:
  static constexpr std::size_t kCacheLine = 64;

  static void* align(void* memory) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    return reinterpret_cast<void*>((address + kCacheLine - 1) / kCacheLine * kCacheLine);
  }

  Tile tile_of(const Schedule& schedule, std::int64_t tile, const Operands& operands, void* scratch) const {
    const std::int64_t first =
        tile * schedule.tile_rows * static_cast<std::int64_t>(value_bytes(kernel->element_type));
    const auto& sizes = layout.sizes;
    const auto* const residual = static_cast<const char*>(operands.residual);
    return {operands.packed,
            operands.bias,
            static_cast<const char*>(operands.x) + first * sizes.in_features,
            schedule.rows_of(tile),
            schedule.rows,
            activation,
            residual == nullptr ? nullptr : residual + first * sizes.out_features,
            static_cast<char*>(operands.y) + first * sizes.out_features,
            align(scratch)};
  }
};

using Linear = TiledLinear<Layout, Kernel>;

}  // namespace blast_deploy::blast
