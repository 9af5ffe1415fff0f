#include "quantized/c_interface.h"

#include <vector>

#include "quantized/linear.h"
#include "runtime/instruction_set.h"

namespace {

using namespace blast_deploy::quantized;

bool is_dense(const BlastDeployQuantizedSizes& sizes) {
  const auto& [m, n, b1, b2, rank, bits, block_size] = sizes.values;
  return b1 == 0 && b2 == 0 && rank == 0;
}

Layout plan_blast(const BlastDeployQuantizedSizes& sizes) {
  const auto& [m, n, b1, b2, rank, bits, block_size] = sizes.values;
  return plan({m, n, b1, b2, rank}, {bits, block_size});
}

DenseLayout plan_dense(const BlastDeployQuantizedSizes& sizes) {
  const auto& [m, n, b1, b2, rank, bits, block_size] = sizes.values;
  return blast_deploy::quantized::plan_dense({m, n}, {bits, block_size});
}

template <typename Linear>
void run(const Linear& linear, const blast_deploy::blast::Operands& operands, std::int64_t rows,
         std::int64_t threads) {
  const auto schedule = make_schedules({&linear.layout}, linear.kernel->element_type, rows, threads).front();
  std::vector<char> scratch(linear.scratch_bytes(schedule));
  for (std::int64_t tile = 0; tile < schedule.tiles; ++tile) {
    linear.multiply(schedule, tile, operands, scratch.data());
  }
}

}  // namespace

int blast_deploy_quantized_packed_size(const BlastDeployQuantizedSizes* sizes, std::int64_t* bytes,
                                       char* error, std::size_t error_size) {
  return blast_deploy::report({error, error_size}, [&] {
    *bytes = is_dense(*sizes) ? plan_dense(*sizes).size : plan_blast(*sizes).size;
  });
}

int blast_deploy_quantized_pack(const BlastDeployQuantizedSizes* sizes,
                                const BlastDeployQuantizedFactors* factors, std::uint8_t* packed, char* error,
                                std::size_t error_size) {
  return blast_deploy::report({error, error_size}, [&] {
    const auto& [u, u_scale, s, v, v_scale] = *factors;
    if (is_dense(*sizes)) return pack(plan_dense(*sizes), u, u_scale, packed);
    pack(plan_blast(*sizes), {u, u_scale, s, v, v_scale}, packed);
  });
}

int blast_deploy_quantized_linear(const BlastDeployQuantizedSizes* sizes, const char* instruction_set,
                                  const std::uint8_t* packed, const float* bias, const float* x,
                                  std::int64_t rows, float* y, std::int64_t threads, char* error,
                                  std::size_t error_size) {
  return blast_deploy::report({error, error_size}, [&] {
    const auto set = blast_deploy::require_instruction_set(instruction_set);
    const Kernels& kernels = *kernels_for(set).front();
    const blast_deploy::blast::Operands operands{packed, bias, x, nullptr, y};
    if (is_dense(*sizes))
      return run(DenseLinear{plan_dense(*sizes), &kernels.dense}, operands, rows, threads);
    run(Linear{plan_blast(*sizes), &kernels.blast}, operands, rows, threads);
  });
}
