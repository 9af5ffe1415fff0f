// Runs a BLAST layer on the threads and the scratch memory of ONNX Runtime.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "blast/linear.h"
#include "runtime/node.h"
#include "runtime/processors.h"
#include "runtime/threads.h"

namespace blast_deploy::blast {

// Scratch memory of the runtime, given back with this object.
class Scratch {
 public:
  Scratch(abi::Allocator* allocator, std::size_t bytes);
  ~Scratch() { allocator_->free(allocator_, memory_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* get() const { return memory_; }

 private:
  abi::Allocator* allocator_;
  void* memory_;
};

class Runner {
 public:
  explicit Runner(const Node& node)
      : api_(node.api()), allocator_(node.allocator()), threads_(usable_processors()) {}

  const Api& api() const { return api_; }
  abi::Allocator* allocator() const { return allocator_.get(); }

  // Positions of the inputs that a layer reads beside X (input 0).
  struct Inputs {
    std::size_t bias;
    std::size_t residual;  // may be missing; kNone where the operator takes none
  };
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  // A layer of a run.
  struct Layer {
    Linear linear;
    const void* packed;
    Inputs inputs;
  };

  // Reads the inputs, refuses wrong shapes and writes Y, that of layer i to output i. There is at least one
  // layer; all read one X of the same width, with kernels of one element type.
  void run(abi::KernelContext* context, const std::vector<Layer>& layers) const;

 private:
  Api api_;
  Owned<abi::Allocator> allocator_;
  mutable ThreadEstimate threads_;
};

// The number of rows of X; refuses any shape but (..., in_features), with one sentence.
std::int64_t check_rows(const Tensor& x, std::int64_t in_features);

// Refuses any shape but (out_features,), with one sentence.
void check_bias(const Tensor& bias, std::int64_t out_features);

}  // namespace blast_deploy::blast
