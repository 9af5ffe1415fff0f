#include "blast/runner.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace blast_deploy::blast {
namespace {

// One layer of a job.
struct Part {
  const Linear& linear;
  Schedule schedule;
  Operands operands;
  std::size_t scratch = 0;  // where the layer's scratch memory begins in that of a tile
};

// What the runtime's threads share. Every task computes its tile, or its share of one, of all layers one
// after the other. No exception may reach the threads.
struct Job {
  std::vector<Part> parts;
  abi::Allocator* allocator;
  std::size_t tasks;
  Attendance attendance;
  std::size_t scratch_bytes = 0;  // of one tile
  char* scratch = nullptr;        // of all tiles, where tiles are cut into shares
  std::int64_t step = 0;
  std::atomic<bool> out_of_memory{false};

  const Schedule& schedule() const { return parts.front().schedule; }
};

// A whole tile, with scratch memory of its own.
void run_tile(void* data, std::size_t index) noexcept {
  Job& job = *static_cast<Job*>(data);
  job.attendance.sign(index);
  try {
    const Scratch scratch(job.allocator, job.scratch_bytes);
    for (const Part& part : job.parts) {
      part.linear.multiply(part.schedule, static_cast<std::int64_t>(index), part.operands, scratch.get());
    }
  } catch (...) {
    job.out_of_memory = true;
  }
}

using Phase = void (Linear::*)(const Schedule&, std::int64_t, std::int64_t, std::int64_t, const Operands&,
                               void*) const;

template <Phase phase>
void run_share(void* data, std::size_t index) noexcept {
  Job& job = *static_cast<Job*>(data);
  job.attendance.sign(index);
  const auto shares = static_cast<std::size_t>(job.schedule().cut.shares);
  const std::size_t tile = index / shares;
  for (const Part& part : job.parts) {
    if (job.step >= part.linear.steps(part.schedule)) continue;
    (part.linear.*phase)(part.schedule, static_cast<std::int64_t>(tile),
                         static_cast<std::int64_t>(index % shares), job.step, part.operands,
                         job.scratch + tile * job.scratch_bytes + part.scratch);
  }
}

void check_residual(const Tensor& residual, const Shape& y_shape) {
  if (residual.shape != y_shape) {
    throw std::invalid_argument("the residual has shape " + to_string(residual.shape) +
                                ", and must have that of Y, " + to_string(y_shape));
  }
}

// Shares of a tile wait for each other between the phases, so that each layer needs scratch memory of its
// own.
void run_in_shares(const Api& api, abi::KernelContext* context, Job& job) {
  std::int64_t steps = 0;
  job.scratch_bytes = 0;
  for (Part& part : job.parts) {
    part.scratch = job.scratch_bytes;
    job.scratch_bytes += part.linear.scratch_bytes(part.schedule);
    steps = larger(steps, part.linear.steps(part.schedule));
  }
  const Scratch scratch(job.allocator, static_cast<std::size_t>(job.schedule().tiles) * job.scratch_bytes);
  job.scratch = static_cast<char*>(scratch.get());
  for (job.step = 0; job.step < steps; ++job.step) {
    api.check(abi::kParallelFor, context, run_share<&Linear::project>, job.tasks, std::size_t{0}, &job);
    api.check(abi::kParallelFor, context, run_share<&Linear::combine>, job.tasks, std::size_t{0}, &job);
  }
}

// Layers that are computed one after the other share their scratch memory.
void run_in_tiles(const Api& api, abi::KernelContext* context, Job& job) {
  for (const Part& part : job.parts) {
    job.scratch_bytes = std::max(job.scratch_bytes, part.linear.scratch_bytes(part.schedule));
  }
  if (job.tasks == 1) return run_tile(&job, 0);
  api.check(abi::kParallelFor, context, run_tile, job.tasks, std::size_t{0}, &job);
}

// Reads what a layer computes on, and has its output made.
Operands read_operands(const Api& api, abi::KernelContext* context, const Runner::Layer& layer,
                       const Tensor& x, std::size_t output) {
  const std::int64_t out_features = layer.linear.layout.sizes.out_features;
  const Tensor bias = read_input(api, context, layer.inputs.bias);
  check_bias(bias, out_features);
  Shape y_shape = x.shape;
  y_shape.back() = out_features;
  Tensor residual;
  if (layer.inputs.residual != Runner::kNone &&
      read_optional(api, context, layer.inputs.residual, &residual)) {
    check_residual(residual, y_shape);
  }
  return {layer.packed, bias.data, x.data, residual.data, make_output(api, context, output, y_shape)};
}

}  // namespace

Scratch::Scratch(abi::Allocator* allocator, std::size_t bytes)
    : allocator_(allocator), memory_(allocator->allocate(allocator, bytes)) {
  if (memory_ == nullptr) throw std::bad_alloc();
}

std::int64_t check_rows(const Tensor& x, std::int64_t in_features) {
  if (x.shape.empty()) throw std::invalid_argument("X has no axis, and must have at least one");
  if (x.shape.back() != in_features) {
    throw std::invalid_argument("the last axis of X is " + std::to_string(x.shape.back()) +
                                ", and must be in_features = " + std::to_string(in_features));
  }
  std::int64_t rows = 1;
  for (std::size_t axis = 0; axis + 1 < x.shape.size(); ++axis) rows *= x.shape[axis];
  return rows;
}

void check_bias(const Tensor& bias, std::int64_t out_features) {
  if (bias.shape != Shape{out_features}) {
    throw std::invalid_argument("bias has shape " + to_string(bias.shape) + ", and must have " +
                                to_string(Shape{out_features}));
  }
}

void Runner::run(abi::KernelContext* context, const std::vector<Layer>& layers) const {
  const Linear& first = layers.front().linear;
  const Tensor x = read_input(api_, context, 0);
  const std::int64_t rows = check_rows(x, first.layout.sizes.in_features);
  std::vector<const Layout*> layouts;
  for (const Layer& layer : layers) layouts.push_back(&layer.linear.layout);
  const auto schedules =
      make_schedules(layouts, first.kernel->element_type, rows, threads_.next(), first.limits);
  std::vector<Part> parts;
  parts.reserve(layers.size());
  for (std::size_t index = 0; index < layers.size(); ++index) {
    parts.push_back(
        {layers[index].linear, schedules[index], read_operands(api_, context, layers[index], x, index)});
  }
  if (rows == 0) return;

  const auto tasks = static_cast<std::size_t>(schedules.front().tiles * schedules.front().cut.shares);
  Job job{std::move(parts), allocator_.get(), tasks, Attendance(tasks)};
  if (job.schedule().cut.shares > 1) {
    run_in_shares(api_, context, job);
  } else {
    run_in_tiles(api_, context, job);
  }
  if (job.out_of_memory) throw Failure(abi::kFail, "no memory for the scratch tiles of a BLAST layer");
  threads_.observe(job.attendance.count());
}

}  // namespace blast_deploy::blast
