#include "dense/operator.h"

#include <atomic>
#include <stdexcept>
#include <string>

#include "blast/runner.h"
#include "runtime/instruction_set.h"
#include "runtime/shape_inference.h"

namespace blast_deploy::dense {
namespace {

namespace packed = contract::dense_linear_packed;

struct Job {
  const Linear& linear;
  Tiling tiling;
  const void* packed;
  const void* bias;
  const void* x;
  void* y;
  abi::Allocator* allocator;
  Attendance attendance;
  std::atomic<bool> out_of_memory{false};
};

// Called by ONNX Runtime's threads, which no exception may reach.
void run_tile(void* data, std::size_t index) noexcept {
  Job& job = *static_cast<Job*>(data);
  job.attendance.sign(index);
  try {
    const blast::Scratch scratch(job.allocator, job.linear.scratch_bytes(job.tiling));
    job.linear.multiply(job.tiling, static_cast<std::int64_t>(index), job.packed, job.bias, job.x, job.y,
                        scratch.get());
  } catch (...) {
    job.out_of_memory = true;
  }
}

void check_weights(const Tensor& weights, const Layout& layout) {
  if (weights.shape == Shape{layout.size}) return;
  throw std::invalid_argument("the tensor of packed weights has shape " + to_string(weights.shape) +
                              ", and must have " + to_string(Shape{layout.size}));
}

}  // namespace

PackedLinearOperator::PackedLinearOperator(const Node& node, ElementType type)
    : api_(node.api()), allocator_(node.allocator()), threads_(usable_processors()) {
  const std::int64_t version = node.integer(packed::kAttributeLayoutVersion);
  if (version != kLayoutVersion) {
    throw std::invalid_argument("the weight was packed in layout " + std::to_string(version) +
                                ", and this library reads layout " + std::to_string(kLayoutVersion) +
                                "; compile the model again");
  }
  linear_.kernel = &kernel_for(require_instruction_set(node.text(packed::kAttributeInstructionSet)), type);
  linear_.layout =
      plan(node.integer(packed::kAttributeOutFeatures), node.integer(packed::kAttributeInFeatures));
  Tensor weights;
  if (node.constant(packed::kInputWeights, &weights)) {
    check_weights(weights, linear_.layout);
    packed_ = weights.data;
  }
  Tensor bias;
  if (node.constant(packed::kInputBias, &bias)) blast::check_bias(bias, linear_.layout.out_features);
}

void PackedLinearOperator::compute(abi::KernelContext* context) const {
  const Layout& layout = linear_.layout;
  const Tensor x = read_input(api_, context, packed::kInputX);
  const Tensor weights = read_input(api_, context, packed::kInputWeights);
  const Tensor bias = read_input(api_, context, packed::kInputBias);
  const std::int64_t rows = blast::check_rows(x, layout.in_features);
  check_weights(weights, layout);
  blast::check_bias(bias, layout.out_features);
  Shape y_shape = x.shape;
  y_shape.back() = layout.out_features;
  void* const y = make_output(api_, context, 0, y_shape);
  if (rows == 0) return;

  const void* const packed = packed_ != nullptr ? packed_ : weights.data;
  const Tiling tiling = blast::tile_rows(rows, threads_.next());
  const auto tiles = static_cast<std::size_t>(tiling.tiles);
  Job job{linear_, tiling, packed, bias.data, x.data, y, allocator_.get(), Attendance(tiles)};
  if (tiles == 1) {
    run_tile(&job, 0);
  } else {
    api_.check(abi::kParallelFor, context, run_tile, tiles, std::size_t{0}, &job);
  }
  if (job.out_of_memory) throw Failure(abi::kFail, "no memory for the scratch tiles of a dense layer");
  threads_.observe(job.attendance.count());
}

void PackedLinearOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axis(api, context, packed::kAttributeOutFeatures);
}

}  // namespace blast_deploy::dense
