#include "blast/runner.h"

#include <atomic>
#include <new>
#include <stdexcept>
#include <string>

namespace blast_deploy::blast {
namespace {

// What the runtime's threads share. No exception may reach them.
struct Job {
  const Linear& linear;
  const Schedule schedule;
  const Operands operands;
  abi::Allocator* allocator;
  std::size_t scratch_bytes;  // of one tile
  std::size_t tasks;
  Attendance attendance;
  char* scratch = nullptr;  // of all tiles, where tiles are cut into shares
  std::int64_t step = 0;
  std::atomic<bool> out_of_memory{false};
};

// A whole tile, with scratch memory of its own.
void run_tile(void* data, std::size_t index) noexcept {
  Job& job = *static_cast<Job*>(data);
  job.attendance.sign(index);
  try {
    const Scratch scratch(job.allocator, job.scratch_bytes);
    job.linear.multiply(job.schedule, static_cast<std::int64_t>(index), job.operands, scratch.get());
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
  const auto shares = static_cast<std::size_t>(job.schedule.cut.shares);
  const std::size_t tile = index / shares;
  (job.linear.*phase)(job.schedule, static_cast<std::int64_t>(tile),
                      static_cast<std::int64_t>(index % shares), job.step, job.operands,
                      job.scratch + tile * job.scratch_bytes);
}

// The number of rows of X; refuses any shape but (..., in_features).
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

void check_residual(const Tensor& residual, const Shape& y_shape) {
  if (residual.shape != y_shape) {
    throw std::invalid_argument("the residual has shape " + to_string(residual.shape) +
                                ", and must have that of Y, " + to_string(y_shape));
  }
}

void run_in_shares(const Api& api, abi::KernelContext* context, Job& job) {
  const Scratch scratch(job.allocator, static_cast<std::size_t>(job.schedule.tiles) * job.scratch_bytes);
  job.scratch = static_cast<char*>(scratch.get());
  for (job.step = 0; job.step < job.linear.steps(job.schedule); ++job.step) {
    api.check(abi::kParallelFor, context, run_share<&Linear::project>, job.tasks, std::size_t{0}, &job);
    api.check(abi::kParallelFor, context, run_share<&Linear::combine>, job.tasks, std::size_t{0}, &job);
  }
}

}  // namespace

Scratch::Scratch(abi::Allocator* allocator, std::size_t bytes)
    : allocator_(allocator), memory_(allocator->allocate(allocator, bytes)) {
  if (memory_ == nullptr) throw std::bad_alloc();
}

void check_bias(const Tensor& bias, std::int64_t out_features) {
  if (bias.shape != Shape{out_features}) {
    throw std::invalid_argument("bias has shape " + to_string(bias.shape) + ", and must have " +
                                to_string(Shape{out_features}));
  }
}

void Runner::run(abi::KernelContext* context, const Linear& linear, const void* packed,
                 const Inputs& inputs) const {
  const Sizes& sizes = linear.layout.sizes;
  const Tensor x = read_input(api_, context, 0);
  const Tensor bias = read_input(api_, context, inputs.bias);
  const std::int64_t rows = check_rows(x, sizes.in_features);
  check_bias(bias, sizes.out_features);
  Shape y_shape = x.shape;
  y_shape.back() = sizes.out_features;
  Tensor residual;
  if (inputs.residual != kNone && read_optional(api_, context, inputs.residual, &residual)) {
    check_residual(residual, y_shape);
  }
  void* const y = make_output(api_, context, 0, y_shape);
  if (rows == 0) return;

  const Schedule schedule =
      make_schedule(linear.layout, linear.kernel->element_type, rows, threads_.next(), linear.limits);
  const auto tasks = static_cast<std::size_t>(schedule.tiles * schedule.cut.shares);
  Job job{linear,
          schedule,
          {packed, bias.data, x.data, residual.data, y},
          allocator_.get(),
          linear.scratch_bytes(schedule),
          tasks,
          Attendance(tasks)};
  if (schedule.cut.shares > 1) {
    run_in_shares(api_, context, job);
  } else if (tasks == 1) {
    run_tile(&job, 0);
  } else {
    api_.check(abi::kParallelFor, context, run_tile, tasks, std::size_t{0}, &job);
  }
  if (job.out_of_memory) throw Failure(abi::kFail, "no memory for the scratch tiles of a BLAST layer");
  threads_.observe(job.attendance.count());
}

}  // namespace blast_deploy::blast
