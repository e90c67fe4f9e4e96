// One draw of the Bessel law for an element with its own order and argument. fastblackout/reference/bessel.py, its twin in NumPy,
// makes the same draws bit for bit; its docstring says why the law is the exact one and derives the error bound.
#pragma once

#include "fastblackout/attempts.h"
#include "fastblackout/poisson.h"
#include "fastblackout/streams.h"

namespace fastblackout {

constexpr double kLeastArgument = 1e-150;  // below it the draw is 0: other results have probability below 1e-300

// Two Poisson numbers of rates rate_1 and rate_2, whose product is argument^2 / 4 and whose difference is about the order, differ
// by the order exactly. top and level: of the most probable value of the larger one (pair_level).
struct PoissonPair {
  double order, rate_1, rate_2, top, level;
};

// Of a chance of the larger number, in Stirling's form without its constant: sqrt(x) exp(-level), x the number plus 1.
FB_HD double pair_level(const PoissonPair& pair, double x) {
  return deviance(x, pair.rate_1, x - pair.rate_1) + stirling_correction(x);
}

// Of an argument of at least kLeastArgument.
FB_HD PoissonPair poisson_pair(double order, double argument) {
  PoissonPair pair;
  const double square = argument * argument;
  pair.order = order;
  pair.rate_1 = 0.5 * (order + portable_sqrt(order * order + square));
  pair.rate_2 = (0.25 * square) / pair.rate_1;
  return pair;
}

// Fills in top and level.
FB_HD void pair_top(PoissonPair& pair) {
  pair.top = static_cast<double>(static_cast<int64_t>(pair.rate_1)) + 1.0;
  pair.level = pair_level(pair, pair.top);
}

FB_HD bool pair_accepts(const PoissonPair& pair, int64_t k, double v) {
  const double x = (pair.order + static_cast<double>(k)) + 1.0;
  const double level = pair_level(pair, x);
  FB_FORGET();
  return portable_log(v * portable_sqrt(pair.top / x)) <= pair.level - level;
}

// Drawn: k is what the first attempt has proposed. h is scratch memory of the caller.
template <bool Drawn, class Key>
FB_HD int64_t bessel_draw(const PoissonPair& pair, const Key& key, uint32_t i, int64_t k, PoissonHat& h) {
  for (uint32_t attempt = 0; attempt < kMaxAttempts; ++attempt) {
    if (!Drawn || attempt > 0) k = poisson_element(pair.rate_2, AttemptKey<Key>{key, attempt}, i, BESSEL, h);
    FB_FORGET();
    const Words r = key.words(i, BESSEL_ACCEPT, attempt);
    if (pair_accepts(pair, k, uniform_to_one(bits53(r.w[0], r.w[1])))) break;
  }
  return k;
}

}  // namespace fastblackout
