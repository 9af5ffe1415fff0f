#include "blast/runner.h"

#include <new>
#include <stdexcept>
#include <string>

namespace blast_deploy::blast {

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

void check_factors(const Tensor& factors, std::int64_t size) {
  if (factors.shape != Shape{size}) {
    throw std::invalid_argument("the tensor of packed factors has shape " + to_string(factors.shape) +
                                ", and must have " + to_string(Shape{size}));
  }
}

void check_residual(const Tensor& residual, const Shape& y_shape) {
  if (residual.shape != y_shape) {
    throw std::invalid_argument("the residual has shape " + to_string(residual.shape) +
                                ", and must have that of Y, " + to_string(y_shape));
  }
}

Limits limits_of(const Node& node, const char* tile_rows, const char* share_bytes,
                 const char* share_operations) {
  const Limits usual;
  const Limits limits{node.integer_or(tile_rows, usual.largest_tile_rows),
                      node.integer_or(share_bytes, usual.smallest_share_bytes),
                      node.integer_or(share_operations, usual.smallest_share_operations)};
  check_limits(limits);
  return limits;
}

}  // namespace blast_deploy::blast
