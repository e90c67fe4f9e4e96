// Gamma and beta draws for an element with its own shapes: the rejection of Marsaglia and Tsang (2000), and for shapes below 1
// one more uniform. Twins: fastblackout/reference/gamma.py and beta.py, whose docstrings give the formulas and derive the error
// bounds. A draw of Gamma(a) is kept as G = m exp(s), m its magnitude and s <= 0 its exponent, so that no shape overflows.
#pragma once

#include "fastblackout/binomial.h"
#include "fastblackout/normal.h"

namespace fastblackout {

constexpr double kLeastShape = 1e-300, kMostShape = 1e300;  // within them no exponent overflows, and no sum of two draws

FB_HD bool good_shape(double a) { return a >= kLeastShape && a <= kMostShape; }
FB_HD double not_a_number() { return bit_cast<double>(0x7ff8000000000000ull); }  // what a device gives for any other shape

// uniform_to_one(bits53(high, low)): both parts are exact and so is their sum, and signed words every processor converts.
FB_HD double uniform_of_words(uint32_t high, uint32_t low) {
  const double upper = (static_cast<double>(static_cast<int32_t>(high ^ 0x80000000u)) + 2147483648.0) * 0x1p-32;
  return upper + static_cast<double>(static_cast<int32_t>(low >> 11) + 1) * 0x1p-53;
}

// What the trials of an element share: magnitudes are of Gamma(d + 1/3), and a trial's z makes e = c z. kept: a number
// that is needed after them.
struct GammaHat {
  double d, c, kept;
};

FB_HD GammaHat gamma_hat(double a) {
  const double d = a < 1.0 ? a + 0.6666666666666666 : a - 0.3333333333333333;
  return GammaHat{d, 1.0 / (3.0 * portable_sqrt(d)), 0.0};
}

// Whether a cheap lower bound of the acceptance ratio accepts e at once
FB_HD bool gamma_sure(double d, double e, double v) {
  const double q = e * e;
  return (e >= -0.5) & (v <= 1.0 - (1.28 * d) * (q * q));
}

// The exact test: log v <= 3 d r(e), r(e) = log1p(e) - e + e^2 / 2 - e^3 / 3, which gamma_far gives; near 0 it is the series.
FB_HD double gamma_far(double e) {
  const double x = e > -1.0 ? e : 0.0;
  return portable_log1p(x) - (x - (x * x) * (0.5 - x * 0.3333333333333333));
}

FB_HD bool gamma_accepts(double d, double e, double v, double far) {
  const double q = e * e;
  const double series = polynomial(e, 1.0 / 16, -1.0 / 15, 1.0 / 14, -1.0 / 13, 1.0 / 12, -1.0 / 11, 1.0 / 10, -1.0 / 9, 1.0 / 8,
                                   -1.0 / 7, 1.0 / 6, -1.0 / 5, 1.0 / 4);
  const double near = -((q * q) * series);
  return (e > -1.0) & (portable_log(v) <= (3.0 * d) * ((e < 0.125) & (e > -0.125) ? near : far));
}

FB_HD double gamma_value(double d, double e) {
  const double w = 1.0 + e;
  return d * ((w * w) * w);
}

// The magnitude of one element. The caller has filled d and c of h, which are read from memory anew where they are needed
// (FB_FORGET). A Key has words(block, stream, trial), as SampleKey does.
template <class Key>
FB_HD double gamma_magnitude(const GammaHat& h, const Key& key, uint32_t i, uint32_t stream) {
  for (uint32_t trial = 0; trial < kMaxTrials; ++trial) {
    FB_FORGET();
    const Words r = key.words(i, stream, trial);
    const double v = uniform_of_words(r.w[2], r.w[3]), z = standard_normal(r.w[0], r.w[1]);
    FB_FORGET();
    const double e = h.c * z;
    if (gamma_sure(h.d, e, v) || gamma_accepts(h.d, e, v, gamma_far(e))) return gamma_value(h.d, e);
  }
  return h.d;  // after kMaxTrials trials, each of which accepts with probability above 0.951
}

// log U: the top bit says whether U is v or 1 - v, v in (0, 1/2) made of the other 63. It is portable_log(v) or
// portable_log1p(-v) to the bit, by one evaluation of what both share.
FB_HD double log_uniform(uint32_t high, uint32_t low) {
  const double v = normal_tail(high, low).v, rest = 1.0 - v;
  const bool near_0 = static_cast<int32_t>(high) < 0;
  const double u = near_0 ? v : rest;
  const uint64_t bits = bit_cast<uint64_t>(u);
  const int32_t k = static_cast<int32_t>(static_cast<int64_t>(bits - 0x3fe6a09e667f3bcdull) >> 52);
  const double m = bit_cast<double>(bits - (static_cast<uint64_t>(static_cast<int64_t>(k)) << 52));
  const double power = static_cast<double>(k), lost = (-v - (rest - 1.0)) / rest;
  const double f = near_0 | (power != 0.0) ? m - 1.0 : -v, correction = near_0 | (power == 0.0) ? 0.0 : lost;
  return log_reduced(f, power, correction);
}

FB_HD double gamma_exponent(double a, uint32_t high, uint32_t low) { return a < 1.0 ? log_uniform(high, low) / a : 0.0; }

// scale m exp(s): the factors are finite, whatever becomes of the product
FB_HD double gamma_scaled(double scale, double magnitude, double exponent) {
  const double half = portable_exp(0.5 * exponent);
  return (scale * half) * (magnitude * half);
}

struct GammaStreams {
  uint32_t trials, boost;
};

// The draw of one element: a is a good shape. h is scratch memory of the caller.
template <class Key>
FB_HD double gamma_element(double a, double scale, const Key& key, uint32_t i, const GammaStreams& streams, GammaHat& h) {
  h = gamma_hat(a);
  const double magnitude = gamma_magnitude(h, key, i, streams.trials);
  double exponent = 0.0;
  if (a < 1.0) {
    const Words r = key.words(i, streams.boost);
    exponent = gamma_exponent(a, r.w[0], r.w[1]);
  }
  return gamma_scaled(scale, magnitude, exponent);
}

// p and q = 1 - p, each good relative to itself
struct BetaPair {
  double p, q;
};

// Of two gamma draws m_a exp(s_a) and m_b exp(s_b), apart = s_b - s_a
FB_HD BetaPair beta_pair(double m_a, double m_b, double apart) {
  const bool less_a = apart > 0.0;
  const double x = portable_exp(less_a ? -apart : apart);
  const double g_a = less_a ? m_a * x : m_a, g_b = less_a ? m_b : m_b * x;
  const double total = g_a + g_b;
  return BetaPair{g_a / total, g_b / total};
}

struct BetaStreams {
  uint32_t a, b, boost;
};

// The draw of one element: a and b are good shapes. h is scratch memory of the caller.
template <class Key>
FB_HD BetaPair beta_element(double a, double b, const Key& key, uint32_t i, const BetaStreams& streams, GammaHat& h) {
  h = gamma_hat(a);
  const double first = gamma_magnitude(h, key, i, streams.a);
  h = gamma_hat(b);
  h.kept = first;
  const double m_b = gamma_magnitude(h, key, i, streams.b);
  double apart = 0.0;
  if (a < 1.0 || b < 1.0) {
    const Words r = key.words(i, streams.boost);
    apart = gamma_exponent(b, r.w[2], r.w[3]) - gamma_exponent(a, r.w[0], r.w[1]);
  }
  return beta_pair(h.kept, m_b, apart);
}

}  // namespace fastblackout
