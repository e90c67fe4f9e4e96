// The shared-p draw: Binomial(n, p) with n <= 255 for many elements that share one p, by integer thresholds.
//
// Row n of thresholds is C_n(j) = floor(2^48 Pr(Binomial(n, p) <= j)), j < n. With a 48-bit uniform U, the number of
// thresholds of row n at or below U is a draw of Binomial(n, p). To need only 32 rows instead of 256, n is split as
// n = 16 a + b: K = #{j < 16 a : C_16a(j) <= U1} + #{j < b : C_b(j) <= U2}. Rows n = 16 a are called the upper rows, and
// rows n = b the lower ones. The draw is lazy: the primary bits, the first 16 of each uniform, nearly always decide; the
// other 32, the refinement words, are made only where the first 16 bits of a threshold and of the uniform are equal.
//
// The order of every float64 operation below is part of the result: + - * / only, round to nearest, no contraction to fma.
#pragma once

#include "fastblackout/philox.h"

namespace fastblackout {

constexpr int kMaxSharedCount = 255;            // a count above this takes the per-element draw
constexpr double kTwo48 = 281474976710656.0;    // 2^48

// How a probability is drawn: with the smaller of p and q, and if that is q the draw is `mirrored`, its result n - K.
struct SharedProb {
  double p, q;             // after mirroring: p <= q
  bool mirrored, trivial;  // trivial: p is 0 after mirroring, so K = 0 and nothing is drawn
};

FB_HD SharedProb shared_prob(double p, double q) {
  SharedProb s;
  s.mirrored = p > 0.5;
  s.p = s.mirrored ? q : p;
  s.q = s.mirrored ? p : q;
  s.trivial = s.p == 0.0;
  return s;
}

FB_HD double power16(double q) {
  const double q2 = q * q, q4 = q2 * q2, q8 = q4 * q4;
  return q8 * q8;
}

// Where a row starts: the probability of zero successes, step^row. Upper rows have row = a and step = q^16 (power16), lower
// ones row = b and step = q.
FB_HD double row_start(double step, int row) {
  double s = 1.0;
  for (int a = 0; a < row; ++a) s = s * step;
  return s;
}

// C(j) of the cumulative probability of j; rounding may carry that above 1.
FB_HD uint64_t threshold(double cdf) {
  const double scaled = kTwo48 * cdf;
  return scaled >= kTwo48 ? static_cast<uint64_t>(1) << 48 : static_cast<uint64_t>(scaled);
}

// #{0 <= j < n : C_n(j) <= U}, with thresholds made on the way: the slow exact search, which every fast one must equal. C(j) <= U is
// where 2^48 cdf < U + 1, since thresholds are rounded down, and both sides of that are float64; and cdf only grows.
FB_HD int count_below(int n, double start, double odds, uint64_t u) {
  const double limit = static_cast<double>(static_cast<int64_t>(u) + 1) / kTwo48;
  double pm = start, cdf = start;
  int k = 0;
  while (k < n && cdf < limit) {
    const double w = odds / static_cast<double>(k + 1);
    pm = pm * (static_cast<double>(n - k) * w);
    cdf = cdf + pm;
    ++k;
  }
  return k;
}

// Element i's primary bits of U1 and U2, 16 each. Two blocks of Philox serve eight elements: every word serves two of them.
struct Primary {
  uint32_t u1, u2;
};

FB_HD Primary primary_bits(const SampleKey& key, uint32_t i, uint32_t stream) {
  const uint32_t j = i & 7u;
  const Words r = key.words((i >> 3) * 2u + (j & 1u), stream);
  const uint32_t x = j < 4 ? r.w[1] : r.w[0], y = j < 4 ? r.w[3] : r.w[2];
  return (j & 2u) == 0 ? Primary{x & 0xffffu, y & 0xffffu} : Primary{x >> 16, y >> 16};
}

// U1 and U2 with all their 48 bits: the primary ones, then the refinement words, of which every element has a block.
struct Uniforms {
  uint64_t u1, u2;
};

FB_HD Uniforms refine(const SampleKey& key, uint32_t i, uint32_t stream_refine, Primary primary) {
  const Words w = key.words(i, stream_refine);
  return Uniforms{static_cast<uint64_t>(primary.u1) << 32 | w.w[0], static_cast<uint64_t>(primary.u2) << 32 | w.w[1]};
}

// y rounded up or down at random, so that its mean is y: N = floor(y) + (V < floor(frac(y) 2^48)), at most `room`. V has 48
// bits, of which the first 32, `primary`, nearly always decide.
FB_HD int64_t stochastic_round(float y, int64_t room, const SampleKey& key, uint32_t i, uint32_t primary,
                               uint32_t stream_refine) {
  const double value = static_cast<double>(y);
  if (value >= static_cast<double>(room)) return room;  // then floor(y) >= room: no bit can change the result
  const int64_t whole = static_cast<int64_t>(value);
  const uint64_t t = static_cast<uint64_t>((value - static_cast<double>(whole)) * kTwo48);
  const uint32_t high = static_cast<uint32_t>(t >> 16);
  if (primary != high) return whole + (primary < high);
  return whole + ((key.words(i, stream_refine).w[0] & 0xffffu) < (t & 0xffffu));
}

// y rounded to the nearest integer, ties up; at most `room`.
FB_HD int64_t nearest_round(float y, int64_t room) {
  const double value = static_cast<double>(y) + 0.5;
  return value >= static_cast<double>(room) ? room : static_cast<int64_t>(value);
}

}  // namespace fastblackout
