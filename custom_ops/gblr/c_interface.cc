#include "gblr/c_interface.h"

#include <vector>

#include "gblr/kernel.h"
#include "gblr/layout.h"
#include "gblr/linear.h"
#include "runtime/instruction_set.h"

namespace {

using blast_deploy::report;
using blast_deploy::gblr::Factor;
using blast_deploy::gblr::Sizes;

Sizes sizes_of(const BlastDeployGblrSizes& sizes) {
  const auto& [out_features, in_features, components] = sizes.values;
  return {out_features, in_features, components};
}

Factor u_of(const BlastDeployGblrFactors& factors) { return {factors.u, factors.u_start, factors.u_width}; }

Factor v_of(const BlastDeployGblrFactors& factors) { return {factors.v, factors.v_start, factors.v_width}; }

}  // namespace

int blast_deploy_gblr_packed_size(const BlastDeployGblrSizes* sizes, const BlastDeployGblrFactors* factors,
                                  std::int64_t* bytes_and_weights, char* error, std::size_t error_size) {
  return report({error, error_size}, [&] {
    const auto layout = blast_deploy::gblr::plan(sizes_of(*sizes), u_of(*factors), v_of(*factors));
    bytes_and_weights[0] = layout.size;
    bytes_and_weights[1] = layout.weights;
  });
}

int blast_deploy_gblr_pack(const BlastDeployGblrSizes* sizes, const BlastDeployGblrFactors* factors,
                           std::uint8_t* packed, char* error, std::size_t error_size) {
  return report({error, error_size},
                [&] { blast_deploy::gblr::pack(sizes_of(*sizes), u_of(*factors), v_of(*factors), packed); });
}

int blast_deploy_gblr_linear(const BlastDeployGblrSizes* sizes, const char* instruction_set,
                             const std::uint8_t* packed, std::int64_t bytes, const float* bias,
                             const float* x, std::int64_t rows, float* y, std::int64_t threads, char* error,
                             std::size_t error_size) {
  return report({error, error_size}, [&] {
    const auto set = blast_deploy::require_instruction_set(instruction_set);
    const auto& kernel = blast_deploy::gblr::kernel_for(set);
    const blast_deploy::gblr::Linear linear{blast_deploy::gblr::read_layout(sizes_of(*sizes), packed, bytes),
                                            &kernel};
    const auto schedule =
        blast_deploy::gblr::make_schedules({&linear.layout}, kernel.element_type, rows, threads).front();
    std::vector<char> scratch(linear.scratch_bytes(schedule));
    for (std::int64_t tile = 0; tile < schedule.tiles; ++tile) {
      linear.multiply(schedule, tile, {packed, bias, x, nullptr, y}, scratch.data());
    }
  });
}
