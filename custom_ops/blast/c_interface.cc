#include "blast/c_interface.h"

#include <vector>

#include "blast/kernel.h"
#include "blast/layout.h"
#include "blast/linear.h"
#include "runtime/instruction_set.h"

namespace {

using blast_deploy::report;
using blast_deploy::blast::Layout;

Layout plan(const BlastDeployBlastSizes& sizes) {
  const auto& [m, n, b1, b2, rank] = sizes.values;
  return blast_deploy::blast::plan({m, n, b1, b2, rank});
}

}  // namespace

int blast_deploy_blast_packed_size(const BlastDeployBlastSizes* sizes, std::int64_t* floats, char* error,
                                   std::size_t error_size) {
  return report({error, error_size}, [&] { *floats = plan(*sizes).size; });
}

int blast_deploy_blast_pack(const BlastDeployBlastSizes* sizes, const float* u, const float* s,
                            const float* v, float* packed, char* error, std::size_t error_size) {
  return report({error, error_size}, [&] { blast_deploy::blast::pack(plan(*sizes), u, s, v, packed); });
}

int blast_deploy_blast_linear(const BlastDeployBlastSizes* sizes, const char* instruction_set,
                              const float* packed, const float* bias, const float* x, std::int64_t rows,
                              float* y, char* error, std::size_t error_size) {
  return report({error, error_size}, [&] {
    const auto set = blast_deploy::require_instruction_set(instruction_set);
    const blast_deploy::blast::Linear linear{plan(*sizes), &blast_deploy::blast::kernel_for(set)};
    const auto tiling = blast_deploy::blast::tile_rows(rows);
    std::vector<char> scratch(linear.scratch_bytes(tiling));
    for (std::int64_t tile = 0; tile < tiling.tiles; ++tile) {
      linear.multiply(tiling, tile, packed, bias, x, y, scratch.data());
    }
  });
}
