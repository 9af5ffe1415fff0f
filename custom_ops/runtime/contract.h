// Made from blast_deploy/structures/contract.py by tools/generate_contract.py: run `make generate`.
#pragma once

#include <cstddef>

namespace blast_deploy::contract {

constexpr char kDomain[] = "ai.blast";
constexpr int kDomainVersion = 1;

// Element types, numbered as ONNX does.
constexpr int kFloat = 1;
constexpr int kFloat16 = 10;
constexpr int kDouble = 11;
constexpr int kBfloat16 = 16;

namespace blast_linear {
constexpr char kName[] = "BlastLinear";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 5;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputU = 1;
constexpr std::size_t kInputS = 2;
constexpr std::size_t kInputV = 3;
constexpr std::size_t kInputBias = 4;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr int kKernelTypes[] = {kFloat};
constexpr int kOtherTypes[] = {kFloat16, kDouble, kBfloat16};
}  // namespace blast_linear

namespace blast_linear_packed {
constexpr char kName[] = "BlastLinearPacked";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 3;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputFactors = 1;
constexpr std::size_t kInputBias = 2;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr char kAttributeBlocksOut[] = "blocks_out";
constexpr char kAttributeBlocksIn[] = "blocks_in";
constexpr char kAttributeRank[] = "rank";
constexpr char kAttributeLayoutVersion[] = "layout_version";
constexpr char kAttributeInstructionSet[] = "instruction_set";
constexpr int kKernelTypes[] = {kFloat};
}  // namespace blast_linear_packed

}  // namespace blast_deploy::contract
