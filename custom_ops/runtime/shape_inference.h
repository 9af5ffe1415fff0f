// Output shapes for ONNX Runtime's graph, known before any kernel is made.
#pragma once

#include <cstddef>

#include "runtime/api.h"

namespace blast_deploy {

// Gives output 0 the element type and shape of input 0 with its last axis replaced by an integer attribute,
// keeping the names of dynamic axes. Leaves the shape open where the input has none. Whether the input's last
// axis is right is left to the kernel: ONNX Runtime only logs what shape inference refuses.
void infer_last_axis(const Api& api, abi::ShapeInferenceContext* context, const char* attribute);

// The same for each of several outputs, from an attribute with an integer for each.
void infer_last_axes(const Api& api, abi::ShapeInferenceContext* context, const char* attribute);

}  // namespace blast_deploy
