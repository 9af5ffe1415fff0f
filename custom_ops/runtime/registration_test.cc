// Registration with runtimes that this library does not fit, played by a function table of our own.
#include "runtime/registration.h"

#include <string>

#include "testing/check.h"

namespace blast_deploy {
namespace {

struct Recorded {
  int code = 0;
  std::string message;
};

Recorded& recorded() {
  static Recorded value;
  return value;
}

abi::Status* create_status(int code, const char* message) {
  recorded() = {code, message};
  return reinterpret_cast<abi::Status*>(&recorded());
}

const abi::FunctionTable* first_functions(std::uint32_t version) {
  static void* const functions[] = {reinterpret_cast<void*>(create_status)};
  return version == 1 ? reinterpret_cast<const abi::FunctionTable*>(functions) : nullptr;
}

const abi::FunctionTable* no_functions(std::uint32_t) { return nullptr; }

const char* version_string() { return "1.17.3"; }

TEST(an_older_runtime_is_told_which_it_needs) {
  const abi::ApiBase base{first_functions, version_string};
  CHECK(RegisterCustomOps(nullptr, &base) != nullptr);
  CHECK(recorded().code == abi::kNotImplemented);
  CHECK(recorded().message ==
        "the operator library needs onnxruntime 1.18 or newer, and this is onnxruntime 1.17.3");
}

TEST(a_runtime_without_any_interface_is_no_crash) {
  const abi::ApiBase base{no_functions, version_string};
  CHECK(RegisterCustomOps(nullptr, &base) == nullptr);
}

TEST(what_is_registered_is_told_with_its_version) {
  const auto operators = registered_operators();
  CHECK(operators.size() == 6);
  CHECK(operators.at("BlastLinear") == 1);
  CHECK(operators.at("BlastLinearPacked") == 1);
  CHECK(operators.at("BlastLinearGroupPacked") == 1);
  CHECK(operators.at("DenseLinearPacked") == 1);
  CHECK(operators.at("QBlastLinearPacked") == 1);
  CHECK(operators.at("QDenseLinearPacked") == 1);
}

}  // namespace
}  // namespace blast_deploy

RUN_TESTS()
