// One Binomial(n, p) draw for an element with its own n and p (the per-element draw). fastblackout/reference/binomial.py,
// its twin in NumPy, makes the same draws bit for bit, and its docstring derives the error bounds. Where n min(p, q) < 10,
// one 53-bit uniform is inverted. All other elements are drawn by rejection, Hormann's BTRS (1993): a trial proposes a
// candidate under a "hat", a simple curve above the law f, and accepts it with the ratio of the law to the hat. That ratio
// is computed in Loader's deviance form about the exact mean, so that no digits cancel however large n is.
#pragma once

#include "fastblackout/philox.h"
#include "fastblackout/portfloat.h"

namespace fastblackout {

constexpr int64_t kMaxCount = int64_t{1} << 53;  // float64 does not hold every integer above it
constexpr uint32_t kMaxTrials = 1024;  // a trial is accepted with probability above 0.6: never reached in practice

// Inversion: how many of the sums f(0), f(0) + f(1), ... lie at or below u, each f(k + 1) made from f(k). Beyond the mode it
// stops once f(k) < 2^-54: the tail that is left is below the uniform's step. It ends within 110 steps, as
// f(k + 1) < f(k) / 2 from k = 40 on; the bound of the loop only states that.
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

// What rounding took from a product: a b = product + the result, exactly (Dekker 1971), also without a fused multiply-add.
FB_HD double product_error(double a, double b, double product) {
  const double split_a = a * 134217729.0, split_b = b * 134217729.0;
  const double a_high = split_a - (split_a - a), b_high = split_b - (split_b - b);
  const double a_low = a - a_high, b_low = b - b_high;
  return (((a_high * b_high - product) + a_high * b_low) + a_low * b_high) + a_low * b_low;
}

// The hat's parameters, which all trials of one element share; p <= 1/2 and n p >= 10. start + fraction = n p, and start is
// its whole part.
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

// What one trial proposes. edge: how far the uniform is from its nearer end; j: the candidate k less the hat's start; inside:
// whether k lies in 0..n; sure: whether the squeeze, a cheap lower bound of the acceptance ratio, accepts k at once.
struct Candidate {
  double edge, j;
  bool inside, sure;
};

FB_HD Candidate binomial_candidate(const BinomialHat& h, double u, double v) {
  Candidate c;
  c.edge = 0.5 - (u < 0.0 ? -u : u);
  const double y = ((2.0 * h.a) / c.edge + h.b) * u + (h.fraction + 0.5);
  c.inside = (y >= -h.start) & (y < (h.count - h.start) + 1.0);  // & and not &&, so that loops over this vectorise
  c.j = static_cast<double>(floor_to_int(c.inside ? y : 0.0));
  c.sure = c.inside & (c.edge >= 0.07) & (v <= h.squeeze);
  return c;
}

// x_1 = k + 1 and x_2 = n - k + 1, which are exact integers
FB_HD double binomial_x_1(const BinomialHat& h, double j) { return (h.start + j) + 1.0; }
FB_HD double binomial_x_2(const BinomialHat& h, double j) { return ((h.count - h.start) - j) + 1.0; }

// The exact test of a candidate. corrections: stirling_correction(x_1) + stirling_correction(x_2)
FB_HD bool binomial_accepts(const BinomialHat& h, double edge, double j, double v, double corrections) {
  const double x_1 = binomial_x_1(h, j), x_2 = binomial_x_2(h, j);
  const double d = (j - h.fraction) + (1.0 - 2.0 * h.p);                          // x_1 - mean_1 = mean_2 - x_2
  // f(k) = constant * sqrt(x_1 x_2) exp(-level); the hat is Hormann's with sqrt(mean_1 mean_2) in the place of f(mode)
  const double deviance_1 = deviance(x_1, h.mean_1, d);
  FB_FORGET();
  const double level = (deviance_1 + deviance(x_2, h.mean_2, -d)) + corrections;
  FB_FORGET();
  const double hat = (h.a / (edge * edge) + h.b) * portable_sqrt((x_1 * x_2) / (h.mean_1 * h.mean_2));
  return portable_log((v * h.alpha) / hat) <= -level;
}

// Trials until one is accepted. The caller has filled h; it is read from memory anew where it is needed (FB_FORGET).
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

// The draw of one element: n lies in 0..kMaxCount, p and q = 1 - p in [0, 1], each rounded once from its exact value; a NaN
// gives 0. A Key has words(block, stream, trial), as SampleKey does. h is scratch memory of the caller.
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
