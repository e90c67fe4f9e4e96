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

// p <= 1/2, n p >= 10
FB_HD int64_t binomial_rejection(int64_t n, double p, double q, SampleKey key, uint32_t i, uint32_t stream) {
  const double count = static_cast<double>(n);
  const double high = count * p;
  const double low = product_error(count, p, high);
  const int64_t whole = static_cast<int64_t>(high);
  const double start = static_cast<double>(whole);
  const double fraction = (high - start) + low;
  const double mean_1 = high + 2.0 * p, mean_2 = count * q + 2.0 * q;  // (n + 2) p, (n + 2) q
  const double shift = 1.0 - 2.0 * p;

  const double deviation = portable_sqrt(high * q);
  const double b = 1.15 + 2.53 * deviation;
  const double a = (-0.0873 + 0.0248 * b) + 0.01 * p;
  const double squeeze = 0.92 - 4.2 / b;
  const double alpha = (2.83 + 5.1 / b) * deviation;

  for (uint32_t trial = 0; trial < kMaxTrials; ++trial) {
    const Words r = key.words(i, stream, trial);
    const double u = uniform_centred(bits53(r.w[0], r.w[1]));
    const double v = uniform_to_one(bits53(r.w[2], r.w[3]));
    const double edge = 0.5 - (u < 0.0 ? -u : u);
    const double y = ((2.0 * a) / edge + b) * u + (fraction + 0.5);
    if (!(y >= -start && y < (count - start) + 1.0)) continue;  // k outside 0..n
    const int64_t j = floor_to_int(y);
    if (edge >= 0.07 && v <= squeeze) return whole + j;
    const double x_1 = static_cast<double>(whole + j + 1), x_2 = static_cast<double>(n - whole - j + 1);
    const double d = (static_cast<double>(j) - fraction) + shift;  // x_1 - mean_1 = mean_2 - x_2
    // f(k) = const sqrt(x_1 x_2) exp(-level); the hat is Hormann's with sqrt(mean_1 mean_2) in the place of f(mode)
    const double level = (deviance(x_1, mean_1, d) + deviance(x_2, mean_2, -d)) +
                         (stirling_correction(x_1) + stirling_correction(x_2));
    const double hat = (a / (edge * edge) + b) * portable_sqrt((x_1 * x_2) / (mean_1 * mean_2));
    if (portable_log((v * alpha) / hat) <= -level) return whole + j;
  }
  return whole;
}

// n in 0..kMaxCount, p and q = 1 - p in [0, 1], each rounded once from the exact value; NaN gives 0
FB_HD int64_t binomial_element(int64_t n, double p, double q, uint32_t seed_lo, uint32_t seed_hi, uint32_t i,
                               uint32_t sample, uint32_t call, uint32_t stream) {
  const bool swap = p > 0.5;
  const double small = swap ? q : p, large = swap ? p : q;
  const SampleKey key{seed_lo, seed_hi, sample, call};
  int64_t k;
  if (!(static_cast<double>(n) * small >= 10.0)) {
    const Words r = key.words(i, stream);
    k = binomial_inversion(static_cast<double>(n), small, large, uniform_from_zero(bits53(r.w[0], r.w[1])));
  } else {
    k = binomial_rejection(n, small, large, key, i, stream);
  }
  return swap ? n - k : k;
}

}  // namespace fastblackout
