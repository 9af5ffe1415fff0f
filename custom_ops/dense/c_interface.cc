#include "dense/c_interface.h"

#include <vector>

#include "dense/linear.h"
#include "runtime/element_type.h"
#include "runtime/instruction_set.h"

using blast_deploy::element_type_of;
using blast_deploy::report;
using blast_deploy::dense::plan;

int blast_deploy_dense_packed_size(std::int64_t out_features, std::int64_t in_features, std::int64_t* values,
                                   char* error, std::size_t error_size) {
  return report({error, error_size}, [&] { *values = plan(out_features, in_features).size; });
}

int blast_deploy_dense_pack(std::int64_t out_features, std::int64_t in_features, int element_type,
                            const void* weight, void* packed, char* error, std::size_t error_size) {
  return report({error, error_size}, [&] {
    const auto bytes = value_bytes(element_type_of(element_type));
    blast_deploy::dense::pack(plan(out_features, in_features), bytes, weight, packed);
  });
}

int blast_deploy_dense_linear(std::int64_t out_features, std::int64_t in_features, int element_type,
                              const char* instruction_set, const void* packed, const void* bias,
                              const void* x, std::int64_t rows, void* y, char* error,
                              std::size_t error_size) {
  return report({error, error_size}, [&] {
    const auto set = blast_deploy::require_instruction_set(instruction_set);
    const auto& kernel = blast_deploy::dense::kernel_for(set, element_type_of(element_type));
    const blast_deploy::dense::Linear linear{plan(out_features, in_features), &kernel};
    const auto tiling = blast_deploy::blast::tile_rows(rows, 1);
    std::vector<char> scratch(linear.scratch_bytes(tiling));
    for (std::int64_t tile = 0; tile < tiling.tiles; ++tile) {
      linear.multiply(tiling, tile, packed, bias, x, y, scratch.data());
    }
  });
}
