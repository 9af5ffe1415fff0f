#include "runtime/registration.h"

#include <cstdio>
#include <string>
#include <vector>

#include "blast/operator.h"
#include "dense/operator.h"
#include "gblr/operator.h"
#include "quantized/operator.h"
#include "runtime/api.h"
#include "runtime/contract.h"
#include "runtime/custom_operator.h"

namespace blast_deploy {
namespace {

// All operators, one record for each element type.
class Operators {
 public:
  explicit Operators(const abi::FunctionTable* table) {
    for (const ElementType type : contract::blast_linear::kKernelTypes) {
      records_.push_back(make_operator<blast::LinearOperator>(table, type));
    }
    for (const ElementType type : contract::blast_linear_packed::kKernelTypes) {
      records_.push_back(make_operator<blast::PackedLinearOperator>(table, type));
    }
    for (const ElementType type : contract::blast_linear_group_packed::kKernelTypes) {
      records_.push_back(make_operator<blast::GroupPackedOperator>(table, type));
    }
    for (const ElementType type : contract::dense_linear_packed::kKernelTypes) {
      records_.push_back(make_operator<dense::PackedLinearOperator>(table, type));
    }
    for (const ElementType type : contract::q_blast_linear_packed::kKernelTypes) {
      records_.push_back(make_operator<quantized::PackedLinearOperator>(table, type));
    }
    for (const ElementType type : contract::q_dense_linear_packed::kKernelTypes) {
      records_.push_back(make_operator<quantized::PackedDenseOperator>(table, type));
    }
    for (const ElementType type : contract::gblr_linear_packed::kKernelTypes) {
      records_.push_back(make_operator<gblr::PackedLinearOperator>(table, type));
    }
  }

  const std::vector<CustomOperator>& records() const { return records_; }

 private:
  std::vector<CustomOperator> records_;
};

// The domain with all operators. ONNX Runtime keeps pointers into it as long as any session lives.
class Domain {
 public:
  explicit Domain(const abi::FunctionTable* table) : operators_(table) {
    const Api api(table);
    api.check(abi::kCreateCustomOpDomain, contract::kDomain, &domain_);
    for (const CustomOperator& op : operators_.records()) api.check(abi::kAddCustomOp, domain_, &op);
  }

  abi::CustomOpDomain* get() const { return domain_; }

 private:
  Operators operators_;
  abi::CustomOpDomain* domain_ = nullptr;
};

}  // namespace

std::map<std::string, int> registered_operators() {
  std::map<std::string, int> versions;
  const Operators operators(nullptr);
  for (const CustomOperator& op : operators.records()) versions[op.get_name(&op)] = op.get_start_version(&op);
  return versions;
}

}  // namespace blast_deploy

blast_deploy::abi::Status* RegisterCustomOps(blast_deploy::abi::SessionOptions* options,
                                             const blast_deploy::abi::ApiBase* base) {
  using namespace blast_deploy;
  const abi::FunctionTable* const table = base->get_api(abi::kApiVersion);
  if (table == nullptr) {
    const std::string sentence = std::string("the operator library needs onnxruntime ") +
                                 abi::kOldestRuntime + " or newer, and this is onnxruntime " +
                                 base->get_version_string();
    // The first functions of the table are the same in every version.
    const abi::FunctionTable* const oldest = base->get_api(1);
    if (oldest == nullptr) {
      std::fprintf(stderr, "%s\n", sentence.c_str());
      return nullptr;
    }
    return Api(oldest).call(abi::kCreateStatus, abi::kNotImplemented, sentence.c_str());
  }
  const Api api(table);
  return guarded(api, [&] {
    // Never freed: sessions may outlive static objects.
    static const Domain* const domain = new Domain(table);
    api.check(abi::kAddCustomOpDomain, options, domain->get());
  });
}
