// A table of log n! for the laws of small counts. log_factorial gives the same, bit for bit.
#pragma once

#include "fastblackout/posterior_loss.h"

namespace fastblackout::cpu {

struct Factorials {
  double log_of[kMostTabled + 1];
  Factorials() {
    for (int64_t n = 0; n <= kMostTabled; ++n) log_of[n] = log_factorial(static_cast<double>(n));
  }
};

// log n! for n = 0..kMostTabled; null where counts may be larger
inline const double* tabled_factorials(int64_t max_count) {
  static const Factorials factorials;
  return max_count <= kMostTabled ? factorials.log_of : nullptr;
}

}  // namespace fastblackout::cpu
