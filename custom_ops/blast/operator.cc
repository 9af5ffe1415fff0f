#include "blast/operator.h"

#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>

#include "runtime/instruction_set.h"
#include "runtime/shape_inference.h"

namespace blast_deploy::blast {
namespace {

namespace plain = contract::blast_linear;
namespace packed = contract::blast_linear_packed;

constexpr Runner::Inputs kPlainInputs{plain::kInputBias, Runner::kNone};
constexpr Runner::Inputs kPackedInputs{packed::kInputBias, packed::kInputResidual};

constexpr char kFactors[] = "the tensor of packed factors";

const Kernel* best_kernel(ElementType type) { return &kernel_for(instruction_sets().front(), type); }

void check_factor(const char* name, const Tensor& factor, const Shape& needed) {
  if (factor.shape != needed) {
    throw std::invalid_argument(std::string(name) + " has shape " + to_string(factor.shape) +
                                ", and must have " + to_string(needed));
  }
}

// The sizes that the factors' shapes and the attributes state; refuses those that do not agree.
Sizes check_factors(const Tensor& u, const Tensor& s, const Tensor& v, std::int64_t out_features,
                    std::int64_t in_features) {
  if (u.shape.size() != 3 || s.shape.size() != 3 || v.shape.size() != 3) {
    throw std::invalid_argument("U, S and V have shapes " + to_string(u.shape) + ", " + to_string(s.shape) +
                                " and " + to_string(v.shape) + ", and must have three axes each");
  }
  const Sizes sizes{out_features, in_features, u.shape[0], v.shape[0], u.shape[2]};
  const Layout layout = plan(sizes);
  check_factor("U", u, {sizes.blocks_out, layout.block_rows, sizes.rank});
  check_factor("S", s, {sizes.blocks_out, sizes.blocks_in, sizes.rank});
  check_factor("V", v, {sizes.blocks_in, sizes.rank, layout.block_columns});
  return sizes;
}

std::size_t packed_bytes(const Linear& linear) {
  return static_cast<std::size_t>(linear.layout.size) * value_bytes(linear.kernel->element_type);
}

}  // namespace

void LinearOperator::Free::operator()(void* memory) const { std::free(memory); }

LinearOperator::LinearOperator(const Node& node, ElementType type)
    : runner_(node),
      out_features_(node.integer(plain::kAttributeOutFeatures)),
      in_features_(node.integer(plain::kAttributeInFeatures)),
      linear_{{}, best_kernel(type)} {
  Tensor bias;
  if (node.constant(plain::kInputBias, &bias)) check_bias(bias, out_features_);
  Tensor u;
  Tensor s;
  Tensor v;
  if (!node.constant(plain::kInputU, &u) || !node.constant(plain::kInputS, &s) ||
      !node.constant(plain::kInputV, &v)) {
    return;
  }
  linear_.layout = plan(check_factors(u, s, v, out_features_, in_features_));
  constexpr std::size_t kCacheLine = 64;
  const std::size_t bytes = packed_bytes(linear_);
  packed_.reset(std::aligned_alloc(kCacheLine, (bytes + kCacheLine - 1) / kCacheLine * kCacheLine));
  if (packed_ == nullptr) throw std::bad_alloc();
  pack(linear_.layout, value_bytes(type), u.data, s.data, v.data, packed_.get());
}

void LinearOperator::compute(abi::KernelContext* context) const {
  if (packed_ != nullptr) return runner_.run(context, linear_, packed_.get(), kPlainInputs);
  const Tensor u = read_input(runner_.api(), context, plain::kInputU);
  const Tensor s = read_input(runner_.api(), context, plain::kInputS);
  const Tensor v = read_input(runner_.api(), context, plain::kInputV);
  const Linear linear{plan(check_factors(u, s, v, out_features_, in_features_)), linear_.kernel};
  const Scratch memory(runner_.allocator(), packed_bytes(linear));
  pack(linear.layout, value_bytes(linear.kernel->element_type), u.data, s.data, v.data, memory.get());
  runner_.run(context, linear, memory.get(), kPlainInputs);
}

void LinearOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axis(api, context, plain::kAttributeOutFeatures);
}

PackedLinearOperator::PackedLinearOperator(const Node& node, ElementType type)
    : runner_(node), packed_(nullptr), linear_{} {
  const std::int64_t version = node.integer(packed::kAttributeLayoutVersion);
  if (version < kOldestLayoutVersion || version > kLayoutVersion) {
    throw std::invalid_argument("the factors were packed in layout " + std::to_string(version) +
                                ", and this library reads layouts " + std::to_string(kOldestLayoutVersion) +
                                " to " + std::to_string(kLayoutVersion) + "; compile the model again");
  }
  Limits& limits = linear_.limits;
  limits = {node.integer_or(packed::kAttributeLargestTileRows, limits.largest_tile_rows),
            node.integer_or(packed::kAttributeSmallestShareBytes, limits.smallest_share_bytes),
            node.integer_or(packed::kAttributeSmallestShareOperations, limits.smallest_share_operations)};
  check_limits(limits);
  linear_.activation = activation_named(node.text_or(packed::kAttributeActivation, "none"));
  linear_.kernel = &kernel_for(require_instruction_set(node.text(packed::kAttributeInstructionSet)), type);
  linear_.layout =
      plan({node.integer(packed::kAttributeOutFeatures), node.integer(packed::kAttributeInFeatures),
            node.integer(packed::kAttributeBlocksOut), node.integer(packed::kAttributeBlocksIn),
            node.integer(packed::kAttributeRank)});
  Tensor factors;
  if (node.constant(packed::kInputFactors, &factors)) {
    check_factor(kFactors, factors, {linear_.layout.size});
    packed_ = factors.data;
  }
  Tensor bias;
  if (node.constant(packed::kInputBias, &bias)) check_bias(bias, linear_.layout.sizes.out_features);
}

void PackedLinearOperator::compute(abi::KernelContext* context) const {
  if (packed_ != nullptr) return runner_.run(context, linear_, packed_, kPackedInputs);
  const Tensor factors = read_input(runner_.api(), context, packed::kInputFactors);
  check_factor(kFactors, factors, {linear_.layout.size});
  runner_.run(context, linear_, factors.data, kPackedInputs);
}

void PackedLinearOperator::infer_shape(const Api& api, abi::ShapeInferenceContext* context) {
  infer_last_axis(api, context, packed::kAttributeOutFeatures);
}

}  // namespace blast_deploy::blast
