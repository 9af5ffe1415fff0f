#include "runtime/c_interface.h"

#include <stdexcept>
#include <string>

#include "runtime/instruction_set.h"
#include "runtime/registration.h"

blast_deploy::ElementType blast_deploy::element_type_of(int number) {
  for (const ElementType type : kElementTypes) {
    if (static_cast<int>(type) == number) return type;
  }
  throw std::invalid_argument("there are no kernels for element type " + std::to_string(number));
}

const char* blast_deploy_version() { return BLAST_DEPLOY_VERSION; }

int blast_deploy_instruction_sets(char* text, std::size_t size) {
  const blast_deploy::TextBuffer buffer{text, size};
  return blast_deploy::report(buffer, [&] {
    std::string names;
    for (const auto set : blast_deploy::instruction_sets()) {
      names += (names.empty() ? "" : ",") + std::string(blast_deploy::to_string(set));
    }
    buffer.write(names.c_str());
  });
}

int blast_deploy_operators(char* text, std::size_t size) {
  const blast_deploy::TextBuffer buffer{text, size};
  return blast_deploy::report(buffer, [&] {
    std::string list;
    for (const auto& [name, version] : blast_deploy::registered_operators()) {
      list += (list.empty() ? "" : ",") + name + " " + std::to_string(version);
    }
    buffer.write(list.c_str());
  });
}
