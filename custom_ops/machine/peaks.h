// Measures what one core can do at most. Times are thread CPU time, and the best of several trials counts:
// other work on the machine only ever adds time.
#pragma once

#include <cstdint>

#include "machine/probe.h"

namespace blast_deploy::machine {

// 10^9 floating-point operations a second, a multiply-add counting two.
double fma_peak(const Probe& probe);

// 10^9 bytes a second at which a buffer of this many bytes, rounded up to whole steps, is read again and
// again. Throws std::invalid_argument if there are none or more than the memory holds.
double read_bandwidth(const Probe& probe, std::int64_t bytes);

}  // namespace blast_deploy::machine
