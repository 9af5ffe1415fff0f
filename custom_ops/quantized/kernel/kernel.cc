// The one source of all quantised kernels, compiled once per instruction set and extension.
// BLAST_DEPLOY_KERNEL names the Kernels that it defines, BLAST_DEPLOY_INSTRUCTION_SET and
// BLAST_DEPLOY_EXTENSION what it was compiled for; nothing else here has external linkage.
#include "quantized/kernel.h"

#include "quantized/kernel/dense.h"
#include "quantized/kernel/tile.h"

namespace blast_deploy::quantized {
namespace {

Index scratch_bytes(const Layout& layout, Index rows, const Cut& cut) {
  return plan_scratch(layout, rows, cut).size;
}

void project(const Layout& layout, const Tile& tile, const Share& share) {
  if (layout.format.bits == 8) return TileProduct<8>(layout, tile, share).project();
  TileProduct<4>(layout, tile, share).project();
}

void combine(const Layout& layout, const Tile& tile, const Share& share) {
  if (layout.format.bits == 8) return TileProduct<8>(layout, tile, share).combine();
  TileProduct<4>(layout, tile, share).combine();
}

Index dense_scratch_bytes(const DenseLayout& layout, Index rows, const Cut& cut) {
  return plan_dense_scratch(layout, rows, cut).size;
}

void dense_project(const DenseLayout& layout, const Tile& tile, const Share& share) {
  if (layout.format.bits == 8) return quantise_share<8>(layout, tile, share);
  quantise_share<4>(layout, tile, share);
}

void dense_combine(const DenseLayout& layout, const Tile& tile, const Share& share) {
  if (layout.format.bits == 8) return multiply_share<8>(layout, tile, share);
  multiply_share<4>(layout, tile, share);
}

}  // namespace

extern const Kernels BLAST_DEPLOY_KERNEL;
const Kernels BLAST_DEPLOY_KERNEL = {InstructionSet::BLAST_DEPLOY_INSTRUCTION_SET,
                                     Extension::BLAST_DEPLOY_EXTENSION,
                                     {scratch_bytes, project, combine},
                                     {dense_scratch_bytes, dense_project, dense_combine}};

}  // namespace blast_deploy::quantized
