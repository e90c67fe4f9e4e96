// Values that are wrong: what they are taken for, and which bits of the flag they set.
#pragma once

#include "cuda/view.cuh"
#include "fastblackout/probability.h"

namespace fastblackout::cuda {
namespace {

FB_DEVICE void raise(int* flag, int bit, bool wrong) {
  if (wrong && flag != nullptr) atomicOr(flag, bit);
}

struct PQ {
  double p, q;
};

// Two numbers that are no probability and its complement: p is clamped to [0, 1], a NaN to 0, and q becomes 1 - p.
FB_DEVICE PQ checked_pair(double p, double q, bool& wrong) {
  if (good_pair(p, q)) return PQ{p, q};
  wrong = true;
  p = p >= 0.0 ? (p <= 1.0 ? p : 1.0) : 0.0;
  return PQ{p, 1.0 - p};
}

// A probability and what it leaves to 1
FB_DEVICE PQ checked_pair(double p, bool& wrong) {
  if (bit_cast<uint64_t>(p) <= bit_cast<uint64_t>(1.0)) return PQ{p, 1.0 - p};  // usual, and decided without float64 comparisons
  return checked_pair(p, 1.0 - p, wrong);
}

FB_DEVICE PQ checked_prob(const Pair& pair, int64_t sample, bool& wrong) {
  return checked_pair(pair.p[sample], pair.q[sample], wrong);
}

FB_DEVICE bool is_finite(float x) { return x - x == 0.0f; }

// Whether the words of the counter are below 2^32; larger ones are taken modulo 2^32.
FB_DEVICE bool good_key(const int64_t* key, int64_t sample) {
  const uint64_t word = static_cast<uint64_t>(key[1]) + static_cast<uint64_t>(sample);
  return word >> 32 == 0 && static_cast<uint64_t>(key[2]) >> 32 == 0;
}

// Checks numbers of which each sample has one; called by the thread that has the sample's first element. Wrong ones are used
// as they are, by the rules of IEEE 754.
FB_DEVICE void check_key(const Common& op, int64_t sample) { raise(op.flag, kWrongNumber, !good_key(op.key, sample)); }

template <class Op>
FB_COLD void check_sample(const Op& op, int64_t sample, const PerSample<float>* gain) {
  const bool good = good_key(op.key, sample) && is_finite(op.input.center[sample]) && is_finite(op.input.scale[sample]) &&
                    (gain == nullptr || (is_finite((*gain)[sample]) && (*gain)[sample] >= 0.0f));
  raise(op.flag, kWrongNumber, !good);
}

}  // namespace
}  // namespace fastblackout::cuda
