// Runs tiles of layers, or shares of tiles, on the threads and the scratch memory of ONNX Runtime.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "blast/linear.h"
#include "runtime/api.h"
#include "runtime/threads.h"

namespace blast_deploy::blast {

// Scratch memory of the runtime, given back with this object.
class Scratch {
 public:
  Scratch(abi::Allocator* allocator, std::size_t bytes);
  ~Scratch() { allocator_->free(allocator_, memory_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* get() const { return memory_; }

 private:
  abi::Allocator* allocator_;
  void* memory_;
};

// What the runtime's threads share. Every task computes its tile, or its share of one, of all layers one
// after the other. No exception may reach the threads. `Linear` is a TiledLinear.
template <typename Linear>
class Job {
 public:
  // One layer of a job.
  struct Part {
    const Linear& linear;
    Schedule schedule;
    Operands operands;
    std::size_t scratch = 0;  // where the layer's scratch memory begins in that of a tile
  };

  // There is at least one part and one row, and all parts have the same tiles and shares.
  Job(const std::vector<Part>& parts, abi::Allocator* allocator)
      : parts_(parts),
        allocator_(allocator),
        tasks_(static_cast<std::size_t>(schedule().tiles * schedule().cut.shares)),
        attendance_(tasks_) {}

  // Returns how many threads took part.
  std::int64_t run(const Api& api, abi::KernelContext* context) {
    if (schedule().cut.shares > 1) {
      run_in_shares(api, context);
    } else {
      run_in_tiles(api, context);
    }
    if (out_of_memory_) throw Failure(abi::kFail, "no memory for the scratch tiles of a layer");
    return attendance_.count();
  }

 private:
  using Phase = void (Linear::*)(const Schedule&, std::int64_t, std::int64_t, std::int64_t, const Operands&,
                                 void*) const;

  const Schedule& schedule() const { return parts_.front().schedule; }

  // Layers that are computed one after the other share their scratch memory.
  void run_in_tiles(const Api& api, abi::KernelContext* context) {
    for (const Part& part : parts_) {
      scratch_bytes_ = std::max(scratch_bytes_, part.linear.scratch_bytes(part.schedule));
    }
    if (tasks_ == 1) return run_tile(this, 0);
    api.check(abi::kParallelFor, context, run_tile, tasks_, std::size_t{0}, this);
  }

  // Shares of a tile wait for each other between the phases, so that each layer needs scratch memory of its
  // own.
  void run_in_shares(const Api& api, abi::KernelContext* context) {
    std::int64_t steps = 0;
    for (Part& part : parts_) {
      part.scratch = scratch_bytes_;
      scratch_bytes_ += part.linear.scratch_bytes(part.schedule);
      steps = larger(steps, part.linear.steps(part.schedule));
    }
    const Scratch scratch(allocator_, static_cast<std::size_t>(schedule().tiles) * scratch_bytes_);
    scratch_ = static_cast<char*>(scratch.get());
    for (step_ = 0; step_ < steps; ++step_) {
      api.check(abi::kParallelFor, context, run_share<&Linear::project>, tasks_, std::size_t{0}, this);
      api.check(abi::kParallelFor, context, run_share<&Linear::combine>, tasks_, std::size_t{0}, this);
    }
  }

  // A whole tile, with scratch memory of its own.
  static void run_tile(void* data, std::size_t index) noexcept {
    Job& job = *static_cast<Job*>(data);
    job.attendance_.sign(index);
    try {
      const Scratch scratch(job.allocator_, job.scratch_bytes_);
      for (const Part& part : job.parts_) {
        part.linear.multiply(part.schedule, static_cast<std::int64_t>(index), part.operands, scratch.get());
      }
    } catch (...) {
      job.out_of_memory_ = true;
    }
  }

  template <Phase phase>
  static void run_share(void* data, std::size_t index) noexcept {
    Job& job = *static_cast<Job*>(data);
    job.attendance_.sign(index);
    const auto shares = static_cast<std::size_t>(job.schedule().cut.shares);
    const std::size_t tile = index / shares;
    for (const Part& part : job.parts_) {
      if (job.step_ >= part.linear.steps(part.schedule)) continue;
      (part.linear.*phase)(part.schedule, static_cast<std::int64_t>(tile),
                           static_cast<std::int64_t>(index % shares), job.step_, part.operands,
                           job.scratch_ + tile * job.scratch_bytes_ + part.scratch);
    }
  }

  std::vector<Part> parts_;
  abi::Allocator* allocator_;
  std::size_t tasks_;
  Attendance attendance_;
  std::size_t scratch_bytes_ = 0;  // of one tile
  char* scratch_ = nullptr;        // of all tiles, where tiles are cut into shares
  std::int64_t step_ = 0;
  std::atomic<bool> out_of_memory_{false};
};

}  // namespace blast_deploy::blast
