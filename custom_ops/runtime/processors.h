// The processors that this process may use.
#pragma once

#include <cstdint>

namespace blast_deploy {

// At least 1. ONNX Runtime tells an operator neither how many threads it has nor whether they are busy; this
// is the most that it can have at work.
std::int64_t usable_processors();

}  // namespace blast_deploy
