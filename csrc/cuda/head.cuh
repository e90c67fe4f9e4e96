// What the ops of a head that gives a law read: its arrays, rounded to float32, and the offset of a sample, in float64; and log n!.
#pragma once

#include "cuda/checks.cuh"
#include "cuda/tile.cuh"
#include "fastblackout/posterior_loss.h"

namespace fastblackout::cuda {
namespace {

FB_DEVICE double checked_head(const View& view, uint32_t sample, uint32_t i, int& flags) {
  const float x = static_cast<float>(load_one(view, sample, i));
  if (!is_finite(x)) flags |= kWrongLogit;
  return static_cast<double>(x);
}

template <class Op>
FB_DEVICE double checked_law_offset(const Op& op, uint32_t sample, int& flags) {
  const float offset = op.offset[sample];
  if (!is_finite(offset)) flags |= kWrongNumber;
  return static_cast<double>(offset);
}

static_assert(kMostTabled + 1 == kThreads, "an entry of the table a thread");

// Log factorials from a table of them, where counts are small.
struct LogFactorials {
  const double* table;
};
FB_COLD double log_factorial_of(double n) { return log_factorial(n); }
// The table of log n! of a block, in shared memory, filled by all threads. There is none for large counts, nor where it is not Used.
template <bool Used>
FB_DEVICE LogFactorials shared_factorials(int64_t max_count) {
  __shared__ double table[Used ? kMostTabled + 1 : 1];
  if (!Used || max_count > kMostTabled) return LogFactorials{nullptr};
  table[threadIdx.x] = log_factorial_of(static_cast<double>(threadIdx.x));
  __syncthreads();
  return LogFactorials{table};
}

FB_DEVICE double factorial_at(const LogFactorials& of, double n) {
  return of.table != nullptr ? of.table[static_cast<int>(n)] : log_factorial_of(n);
}

}  // namespace
}  // namespace fastblackout::cuda
