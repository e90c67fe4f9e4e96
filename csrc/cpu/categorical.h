// What the two files of the categorical ops share besides their body.
#pragma once

#include <cstdio>

#include "cpu/ops.h"

namespace fastblackout {
namespace cpu {

constexpr int kBlock = 16384;  // elements sorted by their row together

// Every index is one of a matrix, or std::invalid_argument.
void check_index(const char* name, const Matrices& matrices, int64_t samples);
// Throws std::invalid_argument for a row that is no law.
[[noreturn]] void refuse_row(const char* name, const double* row, int64_t states, double tolerance, const char* place);

}  // namespace cpu
}  // namespace fastblackout
