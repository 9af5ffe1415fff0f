// What Python calls through ctypes to learn what this machine can do at most; see peaks.h.
// Functions return 0, or 1 with one sentence about what was wrong in `error`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/c_interface.h"

// 10^9 floating-point operations a second of one core in registers, a multiply-add counting two.
BLAST_DEPLOY_EXPORT int blast_deploy_machine_fma_peak(const char* instruction_set, double* gigaflops,
                                                      char* error, std::size_t error_size);

// 10^9 bytes a second at which one core reads a buffer of that size again and again.
BLAST_DEPLOY_EXPORT int blast_deploy_machine_read_bandwidth(const char* instruction_set, std::int64_t bytes,
                                                            double* gigabytes_per_second, char* error,
                                                            std::size_t error_size);
