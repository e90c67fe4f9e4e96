// One hypergeometric draw for an element with its own numbers of good and bad balls and of draws.
// fastblackout/reference/hypergeometric.py, its twin in NumPy, makes the same draws bit for bit; its docstring says why the law
// is the exact one and derives the error bound.
#pragma once

#include "fastblackout/attempts.h"
#include "fastblackout/binomial.h"
#include "fastblackout/streams.h"

namespace fastblackout {

// What all attempts of one element share. The balls are split twice, into good and bad ones, and into those that are drawn and
// those that are left. `small` and `large` are the smaller parts of the two splits, in this order. The number k of balls in both
// is proposed as Binomial(small, p), p = large / all, and accepted with the chance of large - k in Binomial(count, p),
// count = all - small, over the largest such chance. both and level belong to the latter (urn_level).
struct Urn {
  double p, q, count, mean_1, mean_2, both, level;
  int64_t small, large, start, sign;  // the result is start + sign * k
};

// Of a chance, in Stirling's form without its constant: sqrt(x_1 x_2) exp(-level), x_1 and x_2 the two numbers plus 1.
FB_HD double urn_level(const Urn& u, double x_1, double x_2) {
  const double d = x_1 - u.mean_1;
  const double deviance_1 = deviance(x_1, u.mean_1, d);
  FB_FORGET();
  const double both = deviance_1 + deviance(x_2, u.mean_2, -d);
  FB_FORGET();
  return both + (stirling_correction(x_1) + stirling_correction(x_2));
}

// good + bad is at most kMaxCount, draws at most good + bad. Where `small` is 0, there is nothing to draw, and both and level are
// no numbers.
FB_HD Urn urn_of(int64_t good, int64_t bad, int64_t draws) {
  Urn u;
  const int64_t all = good + bad, left = all - draws;
  const int64_t fewer = good <= bad ? good : bad, taken = draws <= left ? draws : left;
  u.small = fewer <= taken ? fewer : taken;
  u.large = fewer <= taken ? taken : fewer;
  u.sign = (good <= bad) == (draws <= left) ? 1 : -1;
  u.start = draws <= left ? (good <= bad ? 0 : taken) : (good <= bad ? good : good - taken);
  u.p = static_cast<double>(u.large) / static_cast<double>(all);
  u.q = static_cast<double>(all - u.large) / static_cast<double>(all);
  u.count = static_cast<double>(all - u.small);
  u.mean_1 = (u.count + 2.0) * u.p;
  u.mean_2 = (u.count + 2.0) * u.q;
  return u;
}

// Fills in both and level, for `small` of at least 1.
FB_HD void urn_top(Urn& u) {
  const double place = static_cast<double>(static_cast<int64_t>((u.count + 1.0) * u.p));
  const double x_1 = place + 1.0, x_2 = (u.count - place) + 1.0;
  u.both = x_1 * x_2;
  u.level = urn_level(u, x_1, x_2);
}

FB_HD bool urn_accepts(const Urn& u, int64_t k, double v) {
  const double rest = static_cast<double>(u.large - k), x_1 = rest + 1.0, x_2 = (u.count - rest) + 1.0;
  const double level = urn_level(u, x_1, x_2);
  FB_FORGET();
  return portable_log(v * portable_sqrt(u.both / (x_1 * x_2))) <= u.level - level;
}

// The draw of one element, `small` at least 1. Drawn: k is what the first attempt has proposed. h is scratch memory of the caller.
template <bool Drawn, class Key>
FB_HD int64_t urn_draw(const Urn& u, const Key& key, uint32_t i, int64_t k, BinomialHat& h) {
  for (uint32_t attempt = 0; attempt < kMaxAttempts; ++attempt) {
    if (!Drawn || attempt > 0) k = binomial_element(u.small, u.p, u.q, AttemptKey<Key>{key, attempt}, i, HYPERGEOMETRIC, h);
    FB_FORGET();
    const Words r = key.words(i, HYPERGEOMETRIC_ACCEPT, attempt);
    if (urn_accepts(u, k, uniform_to_one(bits53(r.w[0], r.w[1])))) break;
  }
  return u.start + u.sign * k;
}

}  // namespace fastblackout
