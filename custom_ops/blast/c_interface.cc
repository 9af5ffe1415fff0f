#include "blast/c_interface.h"

#include <vector>

#include "blast/kernel.h"
#include "blast/layout.h"
#include "blast/linear.h"
#include "runtime/instruction_set.h"

namespace {

using blast_deploy::element_type_of;
using blast_deploy::report;
using blast_deploy::blast::Layout;

Layout plan(const BlastDeployBlastSizes& sizes) {
  const auto& [m, n, b1, b2, rank] = sizes.values;
  return blast_deploy::blast::plan({m, n, b1, b2, rank});
}

}  // namespace

int blast_deploy_blast_packed_size(const BlastDeployBlastSizes* sizes, std::int64_t* values, char* error,
                                   std::size_t error_size) {
  return report({error, error_size}, [&] { *values = plan(*sizes).size; });
}

int blast_deploy_blast_pack(const BlastDeployBlastSizes* sizes, int element_type, const void* u,
                            const void* s, const void* v, void* packed, char* error, std::size_t error_size) {
  return report({error, error_size}, [&] {
    blast_deploy::blast::pack(plan(*sizes), value_bytes(element_type_of(element_type)), u, s, v, packed);
  });
}

int blast_deploy_blast_schedule(const BlastDeployBlastSizes* sizes, int element_type, std::int64_t rows,
                                std::int64_t threads, const std::int64_t* limits, std::int64_t* values,
                                char* error, std::size_t error_size) {
  return report({error, error_size}, [&] {
    // All kernels of this library share their few rows.
    const auto set = blast_deploy::instruction_sets().back();
    const auto& kernel = blast_deploy::blast::kernel_for(set, element_type_of(element_type));
    const blast_deploy::blast::Limits own{limits[0], limits[1], limits[2]};
    blast_deploy::blast::check_limits(own);
    const auto schedule =
        blast_deploy::blast::make_schedule(plan(*sizes), kernel.element_type, rows, threads, own);
    values[0] = schedule.tile_rows <= kernel.few_rows ? 1 : 0;
    values[1] = schedule.tile_rows;
    values[2] = schedule.tiles;
    values[3] = schedule.cut.shares;
    values[4] = schedule.cut.chunks;
  });
}

int blast_deploy_blast_linear(const BlastDeployBlastSizes* sizes, int element_type,
                              const char* instruction_set, const void* packed, const void* bias,
                              const void* x, std::int64_t rows, void* y, std::int64_t threads, char* error,
                              std::size_t error_size) {
  return report({error, error_size}, [&] {
    const auto set = blast_deploy::require_instruction_set(instruction_set);
    const auto& kernel = blast_deploy::blast::kernel_for(set, element_type_of(element_type));
    const blast_deploy::blast::Linear linear{plan(*sizes), &kernel};
    const auto schedule =
        blast_deploy::blast::make_schedule(linear.layout, kernel.element_type, rows, threads);
    std::vector<char> scratch(linear.scratch_bytes(schedule));
    for (std::int64_t tile = 0; tile < schedule.tiles; ++tile) {
      linear.multiply(schedule, tile, {packed, bias, x, nullptr, y}, scratch.data());
    }
  });
}
