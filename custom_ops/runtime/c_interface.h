// What Python calls through ctypes. Functions return 0, or 1 with one sentence about what was wrong in
// `text`.
#pragma once

#include <cstddef>
#include <cstdio>
#include <exception>

#include "runtime/element_type.h"

#define BLAST_DEPLOY_EXPORT extern "C" __attribute__((visibility("default")))

namespace blast_deploy {

// A buffer of the caller's for text, which is cut off where it is full.
struct TextBuffer {
  char* text;
  std::size_t size;

  void write(const char* words) const { std::snprintf(text, size, "%s", words); }
};

// Runs `body`; no exception crosses the C boundary.
template <typename Body>
int report(const TextBuffer& error, Body body) noexcept {
  try {
    body();
    return 0;
  } catch (const std::exception& failure) {
    error.write(failure.what());
  } catch (...) {
    error.write("unknown error in the operator library");
  }
  return 1;
}

// The element type of ONNX's number; throws std::invalid_argument if there are no kernels for it.
ElementType element_type_of(int number);

}  // namespace blast_deploy

// The version of the package that this library was built for.
BLAST_DEPLOY_EXPORT const char* blast_deploy_version();

// Writes the names of the instruction sets that this machine can run, best first, separated by commas.
BLAST_DEPLOY_EXPORT int blast_deploy_instruction_sets(char* text, std::size_t size);

// Writes what is registered with ONNX Runtime, such as "BlastLinear 1,BlastLinearPacked 1": each operator
// type with the version of domain ai.blast from which it serves.
BLAST_DEPLOY_EXPORT int blast_deploy_operators(char* text, std::size_t size);
