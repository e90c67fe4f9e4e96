// Draws a state from each row of S weights that need not sum to 1, or of logits, by integers: with w the weight over the largest of
// its row (logits: exp(l - largest)), q = w 2^bits rounded to nearest, T the sum of a row's q, below or at 2^62, and U a 62-bit
// uniform, the state is #{j : q_0 + ... + q_j <= floor(U T / 2^62)}. Integers add up to the same in any order, so that every device
// may sum in its own. fastblackout/reference/categorical_rows.py, the twin in NumPy, derives the distance from the law.
#pragma once

#include "fastblackout/categorical.h"

namespace fastblackout {

// Bits of the largest weight: as many as leave the sum of S weights at most 2^62, and at most 52.
FB_HD int row_bits(int64_t states) {
  int length = 0;
  while ((states - 1) >> length != 0) ++length;
  return length < 10 ? 52 : 62 - length;
}

// w 2^bits, at most 2^52, rounded to nearest (ties to even); scale: 2^bits
FB_HD int64_t row_integer(double w, double scale) { return bit_cast<int64_t>(w * scale + 0x1p52) - 0x4330000000000000; }

// floor(U T / 2^62) of U = (high << 32 | low) >> 2
FB_HD int64_t row_target(uint32_t high, uint32_t low, int64_t total) {
  constexpr int64_t kHalf = (int64_t{1} << 31) - 1;
  const int64_t u = static_cast<int64_t>((static_cast<uint64_t>(high) << 32 | low) >> 2);
  const int64_t u_1 = u >> 31, u_0 = u & kHalf, t_1 = total >> 31, t_0 = total & kHalf;
  return u_1 * t_1 + ((u_1 * t_0 + u_0 * t_1 + (u_0 * t_0 >> 31)) >> 31);
}

}  // namespace fastblackout
