// One Binomial(n, p) of an element with its own p. Twin: fastblackout/reference/binomial.py, whose docstring derives
// the error bounds. n min(p, q) < 10: inversion by a 53-bit uniform. Else Hormann's BTRS (1993), its acceptance
// ratio in Loader's deviance form about the exact mean, so that no digits cancel however large n is.
#pragma once

#include "fastblackout/philox.h"
#include "fastblackout/portfloat.h"

namespace fastblackout {

constexpr int64_t kMaxCount = int64_t{1} << 53;  // integers above it are not all float64
constexpr uint32_t kMaxTrials = 1024;  // a trial is accepted with probability above 0.6: never reached in practice

// The recurrence on f(k). Beyond the mode it stops once f(k) < 2^-54: the tail left is below the uniform's step. It
// ends within 110 steps, as f(k + 1) < f(k) / 2 from k = 40 on; the bound of the loop only states it.
FB_HD int64_t binomial_inversion(double n, double p, double q, double u) {
  const double odds = p / q;
  double mass = portable_exp(n * portable_log1p(-p));
  double cdf = mass;
  double k = 0.0;
  for (int step = 0; step < 128 && u >= cdf && mass >= 0x1p-54 && k < n; ++step) {
    mass = mass * (((n - k) * odds) / (k + 1.0));
    cdf = cdf + mass;
    k = k + 1.0;
  }
  return static_cast<int64_t>(k);
}

// n p = high + low exactly (Dekker 1971), also without fma
FB_HD double product_error(double a, double b, double product) {
  const double split_a = a * 134217729.0, split_b = b * 134217729.0;
  const double a_high = split_a - (split_a - a), b_high = split_b - (split_b - b);
  const double a_low = a - a_high, b_low = b - b_high;
  return (((a_high * b_high - product) + a_high * b_low) + a_low * b_high) + a_low * b_low;
}

// What the trials of one element share; p <= 1/2, n p >= 10. whole + fraction = n p.
struct BinomialHat {
  double count, p, q, start, fraction, mean_1, mean_2, a, b, squeeze, alpha;
};

FB_HD BinomialHat binomial_hat(double count, double p, double q) {
  BinomialHat h;
  h.count = count;
  h.p = p;
  h.q = q;
  const double high = count * p;
  const double low = product_error(count, p, high);
  h.start = static_cast<double>(static_cast<int64_t>(high));
  h.fraction = (high - h.start) + low;
  h.mean_1 = high + 2.0 * p;        // (n + 2) p
  h.mean_2 = count * q + 2.0 * q;   // (n + 2) q
  const double deviation = portable_sqrt(high * q);
  h.b = 1.15 + 2.53 * deviation;
  h.a = (-0.0873 + 0.0248 * h.b) + 0.01 * p;
  h.squeeze = 0.92 - 4.2 / h.b;
  h.alpha = (2.83 + 5.1 / h.b) * deviation;
  return h;
}

// A trial's candidate: k - whole, whether it lies in 0..n, and whether the squeeze accepts it at once.
struct Candidate {
  double edge, j;
  bool inside, sure;
};

FB_HD Candidate binomial_candidate(const BinomialHat& h, double u, double v) {
  Candidate c;
  c.edge = 0.5 - (u < 0.0 ? -u : u);
  const double y = ((2.0 * h.a) / c.edge + h.b) * u + (h.fraction + 0.5);
  c.inside = (y >= -h.start) & (y < (h.count - h.start) + 1.0);  // & not &&: loops over it vectorise
  c.j = static_cast<double>(floor_to_int(c.inside ? y : 0.0));
  c.sure = c.inside & (c.edge >= 0.07) & (v <= h.squeeze);
  return c;
}

// k + 1 and n - k + 1: exact integers
FB_HD double binomial_x_1(const BinomialHat& h, double j) { return (h.start + j) + 1.0; }
FB_HD double binomial_x_2(const BinomialHat& h, double j) { return ((h.count - h.start) - j) + 1.0; }

// corrections: stirling_correction(x_1) + stirling_correction(x_2)
FB_HD bool binomial_accepts(const BinomialHat& h, double edge, double j, double v, double corrections) {
  const double x_1 = binomial_x_1(h, j), x_2 = binomial_x_2(h, j);
  const double d = (j - h.fraction) + (1.0 - 2.0 * h.p);                          // x_1 - mean_1 = mean_2 - x_2
  // f(k) = const sqrt(x_1 x_2) exp(-level); the hat is Hormann's with sqrt(mean_1 mean_2) in the place of f(mode)
  const double deviance_1 = deviance(x_1, h.mean_1, d);
  FB_FORGET();
  const double level = (deviance_1 + deviance(x_2, h.mean_2, -d)) + corrections;
  FB_FORGET();
  const double hat = (h.a / (edge * edge) + h.b) * portable_sqrt((x_1 * x_2) / (h.mean_1 * h.mean_2));
  return portable_log((v * h.alpha) / hat) <= -level;
}

// h is filled by the caller, and read again where it is needed
template <class Key>
FB_HD int64_t binomial_rejection(const BinomialHat& h, const Key& key, uint32_t i, uint32_t stream) {
  double j = 0.0;
  for (uint32_t trial = 0; trial < kMaxTrials; ++trial) {
    FB_FORGET();
    const Words r = key.words(i, stream, trial);
    const double v = uniform_to_one(bits53(r.w[2], r.w[3]));
    const Candidate c = binomial_candidate(h, uniform_centred(bits53(r.w[0], r.w[1])), v);
    j = c.j;
    if (c.sure) break;
    if (c.inside) {
      FB_FORGET();
      const double corrections = stirling_correction(binomial_x_1(h, c.j)) + stirling_correction(binomial_x_2(h, c.j));
      if (binomial_accepts(h, c.edge, c.j, v, corrections)) break;
    }
    j = 0.0;
  }
  return static_cast<int64_t>(h.start) + static_cast<int64_t>(j);
}

// n in 0..kMaxCount, p and q = 1 - p in [0, 1], each rounded once from the exact value; NaN gives 0. Key: words(block,
// stream, trial). h: scratch.
template <class Key>
FB_HD int64_t binomial_element(int64_t n, double p, double q, const Key& key, uint32_t i, uint32_t stream, BinomialHat& h) {
  const bool swap = p > 0.5;
  const double small = swap ? q : p, large = swap ? p : q;
  if (!(static_cast<double>(n) * small >= 10.0)) {
    const Words r = key.words(i, stream);
    const int64_t k = binomial_inversion(static_cast<double>(n), small, large, uniform_from_zero(bits53(r.w[0], r.w[1])));
    return swap ? n - k : k;
  }
  h = binomial_hat(static_cast<double>(n), small, large);
  const int64_t k = binomial_rejection(h, key, i, stream);
  return swap ? static_cast<int64_t>(h.count) - k : k;
}

}  // namespace fastblackout
