// What the two files of the categorical ops share besides per_isa/categorical.inc.
#pragma once

#include <cstdio>

#include "cpu/ops.h"
#include "fastblackout/categorical.h"

namespace fastblackout::cpu {

constexpr int kBlock = 16384;  // elements that are sorted together, by the rows of weights they are drawn from

// The state of an element, brought below `end` (index_below).
inline int64_t state_at(const View& view, int64_t sample, int64_t i, int64_t end) {
  int64_t state;
  scalar::load(view, sample, i, 1, &state);
  return index_below(end, state);
}

// Throws std::invalid_argument unless every index names a matrix.
void check_index(const char* name, const Matrices& matrices, const int64_t* index, int64_t samples);
inline double tolerance_of(Dtype dtype) { return dtype == Dtype::f32 ? kSingleRowTolerance : kRowTolerance; }
// Throws the std::invalid_argument for a row that is no law: it has a negative entry, or does not sum to 1.
[[noreturn]] void refuse_row(const char* name, const double* row, int64_t states, double tolerance, const char* place);

}  // namespace fastblackout::cpu
