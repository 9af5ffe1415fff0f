// The one source of all dense kernels, compiled once per instruction set and element type like the BLAST
// kernel's.
#include "dense/kernel.h"

#include "blast/kernel/numbers.h"
#include "blast/kernel/product.h"
#include "blast/layout.h"
#include "dense/layout.h"

namespace blast_deploy::dense {
namespace {

using blast::Index;
using blast::kPanelWidth;
using blast::Product;
using blast::Real;
using blast::smaller;
using blast::Stored;

static_assert(kLongestSegment <= blast::kLongestRow);

// Where the parts of a tile's scratch memory lie, in values of type Real. The columns of x lie in segments,
// each of rows kRowStride apart.
struct ScratchPlan {
  Index x_segment;
  Index x;  // offsets
  Index sums;
  Index bias;
  Index zeros;
  Index size;
};

ScratchPlan plan_scratch(const Layout& layout, Index rows) {
  ScratchPlan plan{};
  plan.x_segment = rows * blast::kRowStride;
  plan.sums = plan.x + blast::divide_up(layout.in_features, layout.segment) * plan.x_segment;
  plan.bias = plan.sums + rows * blast::round_up(layout.out_features, kPanelWidth);
  plan.zeros = plan.bias + blast::kPanelsOfOneRow * kPanelWidth;
  plan.size = plan.zeros + kPanelWidth;
  return plan;
}

// Computes one tile; reads the packed weight as one stream.
class TileProduct {
 public:
  TileProduct(const Layout& layout, const Tile& tile)
      : layout_(layout),
        rows_(tile.rows),
        scratch_(static_cast<Real*>(tile.scratch)),
        plan_(plan_scratch(layout, tile.rows)),
        packed_(static_cast<const Stored*>(tile.packed)),
        x_(static_cast<const Stored*>(tile.x)),
        bias_(static_cast<const Stored*>(tile.bias)),
        y_(static_cast<Stored*>(tile.y)) {}

  void run() {
    blast::clear(at(plan_.zeros), kPanelWidth);
    copy_x();
    for (Index first = 0; first < layout_.in_features; first += layout_.segment) multiply_segment(first);
  }

 private:
  Real* at(Index offset) const { return scratch_ + offset; }

  // The segment of x that begins with this column.
  Real* x_segment(Index column) const { return at(plan_.x) + column / layout_.segment * plan_.x_segment; }

  void copy_x() {
    for (Index row = 0; row < rows_; ++row) {
      const Stored* const x = x_ + row * layout_.in_features;
      for (Index column = 0; column < layout_.in_features; column += layout_.segment) {
        Real* const to = x_segment(column) + row * blast::kRowStride;
        blast::read_stored(to, x + column, columns_of_segment(layout_, column));
      }
    }
  }

  // Adds what the segment that begins with this column gives to the sums of all of y.
  void multiply_segment(Index column) {
    Product product{};
    product.left = x_segment(column);
    product.depth = columns_of_segment(layout_, column);
    const bool is_last = column + product.depth == layout_.in_features;
    for (Index first = 0, taken = 0; first < layout_.out_features; first += taken) {
      const Index left = layout_.out_features - first;
      const Index width = blast::panel_width(left);
      const Index panels = blast::panels_at_once(rows_, left);
      product.panel = packed_;
      product.panel_step = blast::panel_size(product.depth, width);
      product.out = at(plan_.sums) + rows_ * first;
      product.out_stride = width;
      product.out_step = rows_ * width;
      product.start = column == 0 ? at(plan_.zeros) : product.out;
      product.start_stride = column == 0 ? 0 : product.out_stride;
      product.start_step = column == 0 ? 0 : product.out_step;
      taken = panels * width;
      packed_ += panels * product.panel_step;
      if (is_last) {
        multiply_last(first, width, panels, smaller(left, taken), product);
      } else {
        blast::multiply(width, panels, rows_, product);
      }
    }
  }

  // Finishes some panels of y, of which `columns` from `first` on are not padding. The bias is added last:
  // sums that began with a large one would be rounded at its size in every step.
  void multiply_last(Index first, Index width, Index panels, Index columns, Product product) {
    blast::read_stored(at(plan_.bias), bias_ + first, columns);
    product.bias = at(plan_.bias);
    Stored* const y = y_ + first;
    Real* const direct = columns == panels * width ? blast::in_place(y) : nullptr;
    if (direct != nullptr) {
      product.out = direct;
      product.out_stride = layout_.out_features;
      product.out_step = width;
      return blast::multiply(width, panels, rows_, product);
    }
    blast::multiply(width, panels, rows_, product);
    for (Index row = 0; row < rows_; ++row) write_row(y + row * layout_.out_features, row, columns, product);
  }

  // One row of panels that lie one after the other.
  void write_row(Stored* y, Index row, Index columns, const Product& product) {
    const Real* panel = product.out + row * product.out_stride;
    for (Index first = 0; first < columns; first += product.out_stride, panel += product.out_step) {
      blast::write_stored(y + first, panel, smaller(product.out_stride, columns - first));
    }
  }

  const Layout& layout_;
  const Index rows_;
  Real* const scratch_;
  const ScratchPlan plan_;
  const Stored* packed_;
  const Stored* const x_;
  const Stored* const bias_;
  Stored* const y_;
};

Index scratch_bytes(const Layout& layout, Index rows) {
  return plan_scratch(layout, rows).size * static_cast<Index>(sizeof(Real));
}

void multiply_tile(const Layout& layout, const Tile& tile) { TileProduct(layout, tile).run(); }

}  // namespace

extern const Kernel BLAST_DEPLOY_KERNEL;
const Kernel BLAST_DEPLOY_KERNEL = {InstructionSet::BLAST_DEPLOY_INSTRUCTION_SET,
                                    ElementType::BLAST_DEPLOY_ELEMENT, scratch_bytes, multiply_tile};

}  // namespace blast_deploy::dense
