// When two numbers p and q are a probability and its complement: one test for all kernels.
#pragma once

#include "fastblackout/config.h"

namespace fastblackout {

constexpr double kSumTolerance = 1e-9;  // how far p + q may be from 1

FB_HD bool good_pair(double p, double q) {
  const double off = (p + q) - 1.0;
  return p >= 0.0 && p <= 1.0 && q >= 0.0 && q <= 1.0 && off <= kSumTolerance && off >= -kSumTolerance;
}

FB_HD double probability_or_zero(double p) { return p >= 0.0 && p <= 1.0 ? p : 0.0; }

}  // namespace fastblackout
