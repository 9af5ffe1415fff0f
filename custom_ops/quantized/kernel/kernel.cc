// The one source of all quantised kernels, compiled once per instruction set and extension.
// BLAST_DEPLOY_KERNEL names the Kernel that it defines, BLAST_DEPLOY_INSTRUCTION_SET and
// BLAST_DEPLOY_EXTENSION what it was compiled for; nothing else here has external linkage.
#include "quantized/kernel.h"

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

void multiply_tile(const Layout& layout, const Tile& tile) {
  const Share whole{{layout.rank_groups, 1}, 0, 0};
  if (layout.format.bits == 8) return TileProduct<8>(layout, tile, whole).multiply();
  TileProduct<4>(layout, tile, whole).multiply();
}

}  // namespace

extern const Kernel BLAST_DEPLOY_KERNEL;
const Kernel BLAST_DEPLOY_KERNEL = {InstructionSet::BLAST_DEPLOY_INSTRUCTION_SET,
                                    Extension::BLAST_DEPLOY_EXTENSION,
                                    scratch_bytes,
                                    project,
                                    combine,
                                    multiply_tile};

}  // namespace blast_deploy::quantized
