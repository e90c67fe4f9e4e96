// What the two files of the categorical ops share besides their body.
#pragma once

#include <cstdio>

#include "cpu/ops.h"

namespace fastblackout {
namespace cpu {

constexpr int kBlock = 16384;  // elements sorted by their row together

// A state as an index below `end`.
inline int64_t state_at(const View& view, int64_t sample, int64_t i, int64_t end) {
  int64_t state;
  scalar::load(view, sample, i, 1, &state);
  return index_below(end, state);
}

// Every index is one of a matrix, or std::invalid_argument.
void check_index(const char* name, const Matrices& matrices, const int64_t* index, int64_t samples);
// How far the sum of a row of probabilities may be from 1: what its dtype allows.
inline double tolerance_of(Dtype dtype) { return dtype == Dtype::f32 ? 1e-4 : 1e-9; }
// Throws std::invalid_argument for a row that is no law.
[[noreturn]] void refuse_row(const char* name, const double* row, int64_t states, double tolerance, const char* place);

}  // namespace cpu
}  // namespace fastblackout
