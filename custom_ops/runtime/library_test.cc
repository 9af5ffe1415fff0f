// The shared library as a process opens it: other tests link its objects and never see the file.
#include <dlfcn.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "blast/c_interface.h"
#include "runtime/c_interface.h"
#include "runtime/element_type.h"
#include "testing/check.h"

namespace blast_deploy {
namespace {

// The library is never closed, as ONNX Runtime cannot close it either.
void* find(const char* name) {
  void* const library = dlopen(BLAST_DEPLOY_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  void* const symbol = library == nullptr ? nullptr : dlsym(library, name);
  if (symbol == nullptr) throw std::runtime_error(dlerror());
  return symbol;
}

template <typename Function>
Function* find(const char* name, Function*) {
  return reinterpret_cast<Function*>(find(name));
}

#define FIND(function) find(#function, static_cast<decltype(&(function))>(nullptr))

std::string instruction_sets() {
  char text[256] = "";
  CHECK(FIND(blast_deploy_instruction_sets)(text, sizeof text) == 0);
  return text;
}

TEST(it_opens_and_tells_its_version) {
  CHECK(std::string(FIND(blast_deploy_version)()) == BLAST_DEPLOY_VERSION);
}

TEST(onnx_runtime_finds_its_entry) { CHECK(find("RegisterCustomOps") != nullptr); }

TEST(it_has_kernels_for_this_architecture) {
  const std::string sets = instruction_sets();
#if defined(__aarch64__)
  CHECK(sets == "neon");
#else
  const std::string lowest = "x86-64";
  CHECK(sets.size() >= lowest.size() && sets.substr(sets.size() - lowest.size()) == lowest);
#endif
}

TEST(it_computes_a_layer_of_one_weight) {
  const BlastDeployBlastSizes sizes{{1, 1, 1, 1, 1}};
  const int type = static_cast<int>(ElementType::kFloat);
  const float u = 2, s = 3, v = 5, bias = 1, x = 7;
  const std::string sets = instruction_sets();
  char error[256] = "";
  std::int64_t count = 0;
  CHECK(FIND(blast_deploy_blast_packed_size)(&sizes, &count, error, sizeof error) == 0);
  std::vector<float> packed(static_cast<std::size_t>(count));
  CHECK(FIND(blast_deploy_blast_pack)(&sizes, type, &u, &s, &v, packed.data(), error, sizeof error) == 0);
  float y = 0;
  CHECK(FIND(blast_deploy_blast_linear)(&sizes, type, sets.substr(0, sets.find(',')).c_str(), packed.data(),
                                        &bias, &x, 1, &y, 1, error, sizeof error) == 0);
  CHECK(y == 211);
}

}  // namespace
}  // namespace blast_deploy

RUN_TESTS()
