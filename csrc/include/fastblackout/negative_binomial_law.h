// The law "negative-binomial" of a head, element by element. Twin: fastblackout/reference/negative_binomial_law.py, whose docstring
// derives the law, the link and the error bounds. Losses are summed as in birth_loss.h; gamma.h and poisson.h draw.
#pragma once

#include "fastblackout/portfloat.h"

namespace fastblackout {

FB_HD double clamped_log_mean(double wide) { return wide > -12.0 ? (wide < 36.0 ? wide : 36.0) : -12.0; }  // a NaN: the lower end
FB_HD double clamped_log_size(double wide) { return wide > -7.0 ? (wide < 16.0 ? wide : 16.0) : -7.0; }

// What the elements of a sample share: log(1 - p), at most 0, 1 - p and p, each good relative to itself, and log(max_count) / 2.
struct NegativeBinomialTime {
  double offset, gone, alive, middle;
};

FB_HD NegativeBinomialTime negative_binomial_time(double given, double most) {
  const double offset = given < 0.0 ? given : 0.0, gone = portable_exp(offset);
  const bool near = offset > -0.5, less = gone < 1.0;
  const double quotient = (1.0 - gone) * (offset / portable_log(near && less ? gone : 0.5));
  const double alive = near ? (less ? quotient : -offset) : 1.0 - gone;
  return NegativeBinomialTime{offset, gone, alive, 0.5 * portable_log(most < 1.0 ? 1.0 : most)};
}

// N ~ Poisson(theta Gamma(size)); e = r / m, log_share = log(theta / (1 + theta)). Below, spread is log(1 + theta).
struct NegativeBinomialLaw {
  double r, size, e, log_share, theta;
};

FB_HD double wide_log_mean(const NegativeBinomialTime& time, double head_0) { return time.middle + head_0; }
FB_HD double wide_log_size(double head_1) { return head_1 + 1.0; }

FB_HD NegativeBinomialLaw negative_binomial_law(const NegativeBinomialTime& time, double head_0, double head_1, double x_t) {
  const double log_size = clamped_log_size(wide_log_size(head_1));
  const double r = portable_exp(log_size), e = portable_exp(log_size - clamped_log_mean(wide_log_mean(time, head_0)));
  return NegativeBinomialLaw{r, r + x_t, e, time.offset - log_one_plus(e), time.gone / (e + time.alive)};
}

// -log P(n), from the factorial that rises from size, whose log is sum + log_rest, log_rest = log(size * (above / below)), and log n!
FB_HD double negative_binomial_loss(const NegativeBinomialLaw& law, double spread, double n, double sum, double log_rest, double factorial) {
  const double some = (n * law.log_share + sum) + log_rest;
  const double born = n < 1.0 ? 0.0 : some - factorial;
  const double loss = law.size * spread - born;
  return loss > 0.0 ? loss : 0.0;
}

struct NegativeBinomialSlopes {
  double by_mean, by_size;  // by log m and log r
};

// The derivatives of -log P(n), from rising_slope(size, n).
FB_HD NegativeBinomialSlopes negative_binomial_slopes(const NegativeBinomialLaw& law, double spread, double n, double slope) {
  const double by_mean = (law.e / (1.0 + law.e)) * (law.size * law.theta - n), rises = (law.r / law.size) * slope;
  return NegativeBinomialSlopes{by_mean, (law.r * spread - rises) - by_mean};
}
FB_HD double free_slope(double slope, bool free) { return free ? slope : 0.0; }  // 0 where a clamp cuts

}  // namespace fastblackout
