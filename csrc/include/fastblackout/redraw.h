// Processes that at rate 1 draw their state anew from one law r: all on a mask, uniform over all states, or any other.
// With a = exp(-s), c = 1 - a, b = exp(-(t - s)) and d = 1 - b, the state x_s between x_0 and x_t is
//   x_0      with weight a (b [x_0 = x_t] / r(x_t) + d): kept until s
//   x_t      with weight c b: drawn anew before s, kept from then on
//   from r   with weight c d: drawn anew before s, and again after it
// where r(x_t) > 0, else x_0, which must be x_t; and the state at t alone is x_0 with weight exp(-t), else from r. A 48-bit uniform V
// chooses by two integer thresholds: x_0 where V < keep, x_t where V < other, else a state from r. fastblackout/reference/redraw.py is
// the twin in NumPy, and says how far the law is from the exact one. The order of every float64 operation is part of the result; there
// is no contraction to fma.
#pragma once

#include "fastblackout/categorical.h"

namespace fastblackout {

// exp(-t) and 1 - exp(-t), each good relative to itself
struct Chances {
  double stay, leave;
};
FB_HD Chances chances(double t) {
  const ExpParts of = exp_parts(t > 708.0 ? -708.0 : -t);
  return Chances{t > 708.0 ? 0.0 : (1.0 + of.rest) * of.scale, t > 708.0 ? 1.0 : (1.0 - of.scale) - of.rest * of.scale};
}

struct Thresholds {
  int64_t keep, other;
};
constexpr int64_t kAlways = int64_t{1} << 48;
constexpr Thresholds kImpossible{-1, -1};  // no way leads from x_0 to x_t

// The whole part of x in 0..2^51: its conversion does not vectorise everywhere
FB_HD int64_t whole_part(double x) {
  const double shifted = x + 0x1p52;
  return bit_cast<int64_t>(shifted) - 0x4330000000000000 - static_cast<int64_t>(shifted - 0x1p52 > x);
}

FB_HD int64_t forward_threshold(double t) {
  const Chances at = chances(t);
  const int64_t keep = whole_part(at.stay * kTwo48);
  return at.leave > 0.0 ? keep : kAlways;
}

// Where r(x_t) = 1 / inverse is above 0; equal: whether x_0 is x_t
FB_HD Thresholds bridge_thresholds(const Chances& before, const Chances& after, double inverse, bool equal) {
  const double first = before.stay * (equal ? after.stay * inverse + after.leave : after.leave);
  const double second = before.leave * after.stay, third = before.leave * after.leave, two = first + second, total = two + third;
  if (!is_drawable(total)) return kImpossible;
  const double factor = threshold_factor(total), keep = first * factor, other = two * factor;
  return Thresholds{second + third > 0.0 ? whole_part(keep < kTwo48 ? keep : kTwo48) : kAlways,
                    third > 0.0 ? whole_part(other < kTwo48 ? other : kTwo48) : kAlways};
}

}  // namespace fastblackout
