// Made from blast_deploy/structures/contract.py by tools/generate_contract.py: run `make generate`.
#pragma once

#include <cstddef>

#include "runtime/element_type.h"

// kInputTypes holds ONNX's numbers of element types; kSharedType is the one that all of T share.
namespace blast_deploy::contract {

constexpr char kDomain[] = "ai.blast";
constexpr int kDomainVersion = 1;
constexpr int kSharedType = 0;

namespace blast_linear {
constexpr char kName[] = "BlastLinear";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 5;
constexpr std::size_t kRequiredInputs = 5;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputU = 1;
constexpr std::size_t kInputS = 2;
constexpr std::size_t kInputV = 3;
constexpr std::size_t kInputBias = 4;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr int kInputTypes[] = {kSharedType, kSharedType, kSharedType, kSharedType, kSharedType};
constexpr ElementType kKernelTypes[] = {
    ElementType::kFloat,
    ElementType::kFloat16,
    ElementType::kDouble,
    ElementType::kBfloat16,
};
}  // namespace blast_linear

namespace blast_linear_packed {
constexpr char kName[] = "BlastLinearPacked";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 4;
constexpr std::size_t kRequiredInputs = 3;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputFactors = 1;
constexpr std::size_t kInputBias = 2;
constexpr std::size_t kInputResidual = 3;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr char kAttributeBlocksOut[] = "blocks_out";
constexpr char kAttributeBlocksIn[] = "blocks_in";
constexpr char kAttributeRank[] = "rank";
constexpr char kAttributeLayoutVersion[] = "layout_version";
constexpr char kAttributeInstructionSet[] = "instruction_set";
constexpr char kAttributeActivation[] = "activation";
constexpr char kAttributeLargestTileRows[] = "largest_tile_rows";
constexpr char kAttributeSmallestShareBytes[] = "smallest_share_bytes";
constexpr char kAttributeSmallestShareOperations[] = "smallest_share_operations";
constexpr int kInputTypes[] = {kSharedType, kSharedType, kSharedType, kSharedType};
constexpr ElementType kKernelTypes[] = {
    ElementType::kFloat,
    ElementType::kFloat16,
    ElementType::kDouble,
    ElementType::kBfloat16,
};
}  // namespace blast_linear_packed

namespace blast_linear_group_packed {
constexpr char kName[] = "BlastLinearGroupPacked";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 2;
constexpr std::size_t kRequiredInputs = 2;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputLayers = 1;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeBlocksIn[] = "blocks_in";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr char kAttributeBlocksOut[] = "blocks_out";
constexpr char kAttributeRank[] = "rank";
constexpr char kAttributeLayoutVersion[] = "layout_version";
constexpr char kAttributeInstructionSet[] = "instruction_set";
constexpr char kAttributeActivation[] = "activation";
constexpr char kAttributeLargestTileRows[] = "largest_tile_rows";
constexpr char kAttributeSmallestShareBytes[] = "smallest_share_bytes";
constexpr char kAttributeSmallestShareOperations[] = "smallest_share_operations";
constexpr int kInputTypes[] = {kSharedType, kSharedType};
constexpr ElementType kKernelTypes[] = {
    ElementType::kFloat,
    ElementType::kFloat16,
    ElementType::kDouble,
    ElementType::kBfloat16,
};
}  // namespace blast_linear_group_packed

namespace dense_linear_packed {
constexpr char kName[] = "DenseLinearPacked";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 3;
constexpr std::size_t kRequiredInputs = 3;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputWeights = 1;
constexpr std::size_t kInputBias = 2;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr char kAttributeLayoutVersion[] = "layout_version";
constexpr char kAttributeInstructionSet[] = "instruction_set";
constexpr int kInputTypes[] = {kSharedType, kSharedType, kSharedType};
constexpr ElementType kKernelTypes[] = {
    ElementType::kFloat,
    ElementType::kFloat16,
    ElementType::kDouble,
    ElementType::kBfloat16,
};
}  // namespace dense_linear_packed

namespace q_blast_linear {
constexpr char kName[] = "QBlastLinear";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 7;
constexpr std::size_t kRequiredInputs = 7;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputUq = 1;
constexpr std::size_t kInputUScale = 2;
constexpr std::size_t kInputS = 3;
constexpr std::size_t kInputVq = 4;
constexpr std::size_t kInputVScale = 5;
constexpr std::size_t kInputBias = 6;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr char kAttributeBits[] = "bits";
constexpr char kAttributeUBlockSize[] = "u_block_size";
constexpr char kAttributeVBlockSize[] = "v_block_size";
constexpr char kAttributeActivation[] = "activation";
}  // namespace q_blast_linear

namespace q_blast_linear_packed {
constexpr char kName[] = "QBlastLinearPacked";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 4;
constexpr std::size_t kRequiredInputs = 3;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputFactors = 1;
constexpr std::size_t kInputBias = 2;
constexpr std::size_t kInputResidual = 3;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr char kAttributeBlocksOut[] = "blocks_out";
constexpr char kAttributeBlocksIn[] = "blocks_in";
constexpr char kAttributeRank[] = "rank";
constexpr char kAttributeBits[] = "bits";
constexpr char kAttributeBlockSize[] = "block_size";
constexpr char kAttributeLayoutVersion[] = "layout_version";
constexpr char kAttributeInstructionSet[] = "instruction_set";
constexpr char kAttributeActivation[] = "activation";
constexpr char kAttributeLargestTileRows[] = "largest_tile_rows";
constexpr char kAttributeSmallestShareBytes[] = "smallest_share_bytes";
constexpr char kAttributeSmallestShareOperations[] = "smallest_share_operations";
constexpr int kInputTypes[] = {kSharedType, 2, kSharedType, kSharedType};
constexpr ElementType kKernelTypes[] = {
    ElementType::kFloat,
};
}  // namespace q_blast_linear_packed

namespace q_dense_linear_packed {
constexpr char kName[] = "QDenseLinearPacked";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 3;
constexpr std::size_t kRequiredInputs = 3;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputWeights = 1;
constexpr std::size_t kInputBias = 2;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr char kAttributeBits[] = "bits";
constexpr char kAttributeBlockSize[] = "block_size";
constexpr char kAttributeLayoutVersion[] = "layout_version";
constexpr char kAttributeInstructionSet[] = "instruction_set";
constexpr int kInputTypes[] = {kSharedType, 2, kSharedType};
constexpr ElementType kKernelTypes[] = {
    ElementType::kFloat,
};
}  // namespace q_dense_linear_packed

namespace gblr_linear {
constexpr char kName[] = "GblrLinear";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 8;
constexpr std::size_t kRequiredInputs = 8;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputU = 1;
constexpr std::size_t kInputUStart = 2;
constexpr std::size_t kInputUWidth = 3;
constexpr std::size_t kInputV = 4;
constexpr std::size_t kInputVStart = 5;
constexpr std::size_t kInputVWidth = 6;
constexpr std::size_t kInputBias = 7;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
}  // namespace gblr_linear

namespace gblr_linear_packed {
constexpr char kName[] = "GblrLinearPacked";
constexpr int kSinceVersion = 1;
constexpr std::size_t kInputs = 4;
constexpr std::size_t kRequiredInputs = 3;
constexpr std::size_t kOutputs = 1;
constexpr std::size_t kInputX = 0;
constexpr std::size_t kInputFactors = 1;
constexpr std::size_t kInputBias = 2;
constexpr std::size_t kInputResidual = 3;
constexpr char kAttributeInFeatures[] = "in_features";
constexpr char kAttributeOutFeatures[] = "out_features";
constexpr char kAttributeComponents[] = "components";
constexpr char kAttributeLayoutVersion[] = "layout_version";
constexpr char kAttributeInstructionSet[] = "instruction_set";
constexpr char kAttributeActivation[] = "activation";
constexpr char kAttributeLargestTileRows[] = "largest_tile_rows";
constexpr char kAttributeSmallestShareBytes[] = "smallest_share_bytes";
constexpr char kAttributeSmallestShareOperations[] = "smallest_share_operations";
constexpr int kInputTypes[] = {kSharedType, 2, kSharedType, kSharedType};
constexpr ElementType kKernelTypes[] = {
    ElementType::kFloat,
};
}  // namespace gblr_linear_packed

}  // namespace blast_deploy::contract
