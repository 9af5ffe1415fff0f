#include "blast/runner.h"

#include <atomic>
#include <new>
#include <stdexcept>
#include <string>

namespace blast_deploy::blast {
namespace {

struct Job {
  const Linear& linear;
  Tiling tiling;
  const void* packed;
  const void* bias;
  const void* x;
  void* y;
  abi::Allocator* allocator;
  std::atomic<bool> out_of_memory{false};
};

// Called by ONNX Runtime's threads, which no exception may reach.
void run_tile(void* data, std::size_t index) noexcept {
  Job& job = *static_cast<Job*>(data);
  try {
    const Scratch scratch(job.allocator, job.linear.scratch_bytes(job.tiling));
    job.linear.multiply(job.tiling, static_cast<std::int64_t>(index), job.packed, job.bias, job.x, job.y,
                        scratch.get());
  } catch (...) {
    job.out_of_memory = true;
  }
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
                 std::size_t bias_input) const {
  const Sizes& sizes = linear.layout.sizes;
  const Tensor x = read_input(api_, context, 0);
  const Tensor bias = read_input(api_, context, bias_input);
  const std::int64_t rows = check_rows(x, sizes.in_features);
  check_bias(bias, sizes.out_features);
  Shape y_shape = x.shape;
  y_shape.back() = sizes.out_features;
  void* const y = make_output(api_, context, 0, y_shape);
  if (rows == 0) return;

  Job job{linear, tile_rows(rows), packed, bias.data, x.data, y, allocator_.get()};
  if (job.tiling.tiles == 1) {
    run_tile(&job, 0);
  } else {
    const auto tiles = static_cast<std::size_t>(job.tiling.tiles);
    api_.check(abi::kParallelFor, context, run_tile, tiles, std::size_t{0}, &job);
  }
  if (job.out_of_memory) throw Failure(abi::kFail, "no memory for the scratch tiles of a BLAST layer");
}

}  // namespace blast_deploy::blast
