// One Poisson(rate) draw for an element with its own rate, built like the draw of binomial.h, which explains hats, trials and
// squeezes. fastblackout/reference/poisson.py, the twin in NumPy, derives the error bounds. Rates below 10 invert one 53-bit
// uniform. Others use Hormann's PTRS (1993) with f(k) in deviance form and two constants moved: with the published ones the
// hat is up to 0.6% too low, the squeeze up to 0.4% too high, and the law is off by a total variation of 7e-7.
#pragma once

#include "fastblackout/binomial.h"

namespace fastblackout {

constexpr double kMaxRate = 0x1p52;  // results stay below 2^53, so they are exact in float64 too

// As binomial_inversion; here f(k + 1) < f(k) / 2 from k = 20 on.
FB_HD int64_t poisson_inversion(double rate, double u) {
  double mass = portable_exp(-rate);
  double cdf = mass;
  double k = 0.0;
  for (int step = 0; step < 128 && u >= cdf && mass >= 0x1p-54; ++step) {
    mass = mass * (rate / (k + 1.0));
    cdf = cdf + mass;
    k = k + 1.0;
  }
  return static_cast<int64_t>(k);
}

// The hat's parameters, which all trials of one element share; rate >= 10. start + fraction = rate.
struct PoissonHat {
  double rate, start, fraction, a, b, squeeze, inverse_alpha;
};

FB_HD PoissonHat poisson_hat(double rate) {
  PoissonHat h;
  h.rate = rate;
  h.start = static_cast<double>(static_cast<int64_t>(rate));
  h.fraction = rate - h.start;
  h.b = 0.931 + 2.53 * portable_sqrt(rate);
  h.a = -0.059 + 0.02483 * h.b;
  h.inverse_alpha = 1.1339 + 1.1328 / (h.b - 3.4);  // published: 1.1239
  h.squeeze = 0.9077 - 3.6224 / (h.b - 2.0);         // published: 0.9277
  return h;
}

FB_HD Candidate poisson_candidate(const PoissonHat& h, double u, double v) {
  Candidate c;
  c.edge = 0.5 - (u < 0.0 ? -u : u);
  const double y = ((2.0 * h.a) / c.edge + h.b) * u + (h.fraction + 0.43);
  c.inside = (y >= -h.start) & (y < 0x1p45);  // not negative, and not beyond any mass: 2^19 standard deviations
  c.j = static_cast<double>(floor_to_int(c.inside ? y : 0.0));
  c.sure = c.inside & (c.edge >= 0.07) & (v <= h.squeeze);
  return c;
}

FB_HD double poisson_x(const PoissonHat& h, double j) { return (h.start + j) + 1.0; }  // k + 1, an exact integer

// The exact test of a candidate. correction: stirling_correction(x)
FB_HD bool poisson_accepts(const PoissonHat& h, double edge, double j, double v, double correction) {
  const double x = poisson_x(h, j);
  const double d = (j - h.fraction) + 1.0;  // (k + 1) - rate
  // f(k) = sqrt(x / (2 pi)) / rate * exp(-deviance - correction), x = k + 1
  const double hat = (h.a / (edge * edge) + h.b) * (portable_sqrt(x * 0.15915494309189535) / h.rate);
  return portable_log((v * h.inverse_alpha) / hat) <= -(deviance(x, h.rate, d) + correction);
}

// Trials until one is accepted. The caller has filled h; it is read from memory anew where it is needed (FB_FORGET).
template <class Key>
FB_HD int64_t poisson_rejection(const PoissonHat& h, const Key& key, uint32_t i, uint32_t stream) {
  double j = 0.0;
  for (uint32_t trial = 0; trial < kMaxTrials; ++trial) {
    FB_FORGET();
    const Words r = key.words(i, stream, trial);
    const double v = uniform_to_one(bits53(r.w[2], r.w[3]));
    const Candidate c = poisson_candidate(h, uniform_centred(bits53(r.w[0], r.w[1])), v);
    j = c.j;
    if (c.sure) break;
    if (c.inside) {
      FB_FORGET();
      if (poisson_accepts(h, c.edge, c.j, v, stirling_correction(poisson_x(h, c.j)))) break;
    }
    j = 0.0;
  }
  return static_cast<int64_t>(h.start) + static_cast<int64_t>(j);
}

// The draw of one element: rate lies in [0, kMaxRate]; NaN and negative rates give 0. A Key has words(block, stream, trial), as
// SampleKey does. h is scratch memory of the caller.
template <class Key>
FB_HD int64_t poisson_element(double rate, const Key& key, uint32_t i, uint32_t stream, PoissonHat& h) {
  if (!(rate >= 10.0)) {
    const Words r = key.words(i, stream);
    return poisson_inversion(rate, uniform_from_zero(bits53(r.w[0], r.w[1])));
  }
  h = poisson_hat(rate);
  return poisson_rejection(h, key, i, stream);
}

}  // namespace fastblackout
