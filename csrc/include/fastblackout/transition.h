// Exact transition probabilities of thinning, n -> Binomial(n, p): whole rows of probabilities, and log-probabilities by
// Loader's saddle point (C. Loader, "Fast and accurate computation of binomial probabilities", 2000). Portable float64: the
// same bits on every backend. The twin in NumPy, fastblackout/reference/transition.py, states the errors measured.
#pragma once

#include "fastblackout/config.h"
#include "fastblackout/portfloat.h"

namespace fastblackout {

constexpr int64_t kMaxTransitionStates = 4096;
constexpr double kNegligible = 1e-290;  // times a row's largest entry: once entries fall below that, all that follow are 0

// Mode of Binomial(n, p): where the recurrences of row n start.
FB_HD int64_t binomial_mode(int64_t n, double p) {
  const double mode = static_cast<double>(n + 1) * p;
  return mode >= static_cast<double>(n) ? n : static_cast<int64_t>(mode);
}

// The ratios Pr(j + 1) / Pr(j) and Pr(j - 1) / Pr(j); odds = p / q, inverse_odds = q / p
FB_HD double step_up(int64_t n, int64_t j, double odds) {
  return static_cast<double>(n - j) * (odds / static_cast<double>(j + 1));
}
FB_HD double step_down(int64_t n, int64_t j, double inverse_odds) {
  return static_cast<double>(j) * (inverse_odds / static_cast<double>(n - j + 1));
}

// Row n of the matrix P: out[k] = Pr(Binomial(n, p) = k), k < states. Entries are made relative to the mode's, and then
// divided by their sum, which is added up from the mode down and then from the mode up. Where p or q is 0, every particle
// dies or lives. Quotients that all rows share are given: up_of[j] = odds / (j + 1) and down_of[i] = inverse_odds / i.
FB_HD void transition_row(int64_t n, int64_t states, double p, double q, const double* up_of, const double* down_of,
                          double* out) {
  const int64_t mode = p == 0.0 ? 0 : q == 0.0 ? n : binomial_mode(n, p);
  for (int64_t k = 0; k < states; ++k) out[k] = k == mode ? 1.0 : 0.0;
  if (p == 0.0 || q == 0.0) return;
  double sum = 1.0, a = 1.0;
  for (int64_t j = mode; j > 0; --j) {
    a = a * (static_cast<double>(j) * down_of[n - j + 1]);
    if (a < kNegligible) break;
    out[j - 1] = a;
    sum = sum + a;
  }
  a = 1.0;
  for (int64_t j = mode; j < n; ++j) {
    a = a * (static_cast<double>(n - j) * up_of[j]);
    if (a < kNegligible) break;
    out[j + 1] = a;
    sum = sum + a;
  }
  for (int64_t k = 0; k <= n; ++k) out[k] = out[k] / sum;
}

// ---- log-probabilities ----------------------------------------------------------------------------------------------

constexpr double kTinyProbability = 0x1p-500;  // a smaller p is multiplied by 2^500, and 500 log 2 taken off its logarithm
constexpr double kLogTwo500 = 346.5735902799726;

FB_HD double log_probability(double p) {  // log p for p in (0, 1], subnormal ones too
  const bool tiny = p < kTinyProbability;
  const double log_p = portable_log(tiny ? p * 0x1p500 : p);
  return tiny ? log_p - kLogTwo500 : log_p;
}

// deviance(x, n p) for x >= 1 and p > 0
FB_HD double count_deviance(double x, double n, double p) {
  const bool tiny = p < kTinyProbability;
  const double mean = n * p, d = x - mean, v = d / (x + mean);
  const double near = deviance_near(x, d, v);
  const double far = x * (portable_log(x / (n * (tiny ? p * 0x1p500 : p))) + (tiny ? kLogTwo500 : 0.0)) - d;
  return (v < 0.1) & (v > -0.1) ? near : far;
}

// log(stay), where a particle stays with chance `stay` and goes with chance `go` = 1 - stay: from the smaller of the two, which
// loses no digits. -inf for stay = 0.
FB_HD double log_chance(double stay, double go) {
  const double through_go = portable_log1p(-go), direct = log_probability(stay > 0.0 ? stay : 1.0);
  const double chosen = go < stay ? through_go : direct;
  return stay > 0.0 ? chosen : bit_cast<double>(0xfff0000000000000ull);
}

// log Pr(Binomial(n, p) = x) with q = 1 - p, and -inf outside 0..n; x and n are whole numbers, n at most 2^53. corrections:
// Stirling's correction of n less the corrections of x and of n - x, used where 0 < x < n. log_p and log_q, used at x = n and x = 0:
// log_chance(p, q) and log_chance(q, p).
FB_HD double binomial_log_pmf_from(double x, double n, double p, double q, double corrections, double log_p, double log_q) {
  const double minus_infinity = bit_cast<double>(0xfff0000000000000ull);
  const bool inside = (x > 0.0) & (x < n);
  const double k = inside ? x : 1.0, m = inside ? n : 2.0;
  const double rest = m - k;
  const double spread = 0.5 * (1.8378770664093453 + portable_log(k * (rest / m)));  // log(2 pi)
  const double body = ((corrections - count_deviance(k, m, p)) - count_deviance(rest, m, q)) - spread;
  const double all = n * log_p, none = n * log_q;
  double result = inside ? body : minus_infinity;  // one select after the other: loops over this vectorise
  result = p > 0.0 ? result : minus_infinity;
  result = q > 0.0 ? result : minus_infinity;
  result = x == n ? all : result;
  result = x == 0.0 ? none : result;
  const double nothing = x == 0.0 ? 0.0 : minus_infinity;  // n = 0
  return n > 0.0 ? result : (n == 0.0 ? nothing : minus_infinity);
}

FB_HD double binomial_log_pmf(double x, double n, double p, double q) {
  if (!(x > 0.0 && x < n)) return binomial_log_pmf_from(x, n, p, q, 0.0, log_chance(p, q), log_chance(q, p));
  const double corrections = (stirling_correction(n) - stirling_correction(x)) - stirling_correction(n - x);
  return binomial_log_pmf_from(x, n, p, q, corrections, 0.0, 0.0);
}

}  // namespace fastblackout
