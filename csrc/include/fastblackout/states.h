// The laws "categorical" and "bayes-categorical" of a head that has a logit for every state: what host and device share. Twin:
// fastblackout/reference/states.py, whose docstring derives the error bounds. A state v = x + n with the logit l_v has
//   categorical         a(v) = l_v, in float32
//   bayes-categorical   a(v) = l_v + (log v! + (n L - log n!)), L = offset, in float64
// and the weight exp(a(v) - top), top the largest a(v) of x..M: the difference rounded to float32, the exponential a portable float32
// one, 0 where the difference is below -86.99. Weights are added in float64 in 16 sums, sum j over the states v of remainder j
// in ascending order, and then the sums in their order: sixteen neighbouring states make a vector, and no sum waits for another.
#pragma once

#include "fastblackout/posterior_loss.h"

namespace fastblackout {

constexpr int kStateLanes = 16;
constexpr int64_t kMostStates = 4096;  // what the CPU's scratch and its table of log n! are made for

FB_HD bool has_states(Family family) { return family == Family::categorical || family == Family::bayes_categorical; }

// n L - log n!
FB_HD double known_rest(double n, double offset, double log_factorial_n) { return n * offset - log_factorial_n; }

// -log P of the seen state from top - a(seen), the sum of the other weights and its own. Where it is the largest, its weight is 1 and
// nothing is lost where the others are small.
FB_HD double state_loss(double apart, double others, double seen) {
  return apart > 0.0 ? apart + portable_log(others + seen) : log_one_plus(others);
}

// The derivative by the logit of the seen state, P - 1, without a difference
FB_HD float seen_slope(double others, double seen) { return static_cast<float>((0.0 - others) / (others + seen)); }
// The derivative by another logit is its weight times this.
FB_HD float inverse_total(double others, double seen) { return static_cast<float>(1.0 / (others + seen)); }

}  // namespace fastblackout
