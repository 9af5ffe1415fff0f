#include "quantized/dense_layout.h"

#include "dense/layout.h"

namespace blast_deploy::quantized {

DenseLayout plan_dense(const DenseSizes& sizes, const Format& format) {
  check_format(format);
  static_cast<void>(dense::plan(sizes.out_features, sizes.in_features));  // refuses sizes that cannot be
  return {sizes, format, 1, matrix_bytes(format, sizes.out_features, sizes.in_features)};
}

void pack(const DenseLayout& layout, const std::int8_t* weight, const float* scale, std::uint8_t* packed) {
  const auto& [rows, columns] = layout.sizes;
  const Values values{weight, scale, columns, scales_of_row(layout.format, columns), rows, columns};
  pack_matrix(layout.format, "the weight", rows, columns, values, packed);
}

}  // namespace blast_deploy::quantized
