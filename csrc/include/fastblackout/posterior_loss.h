// The losses of heads that give a law of the births, element by element, and their derivatives: portable float64, which every
// backend rounds to float32 once. Twin: fastblackout/reference/posterior_loss.py. Losses are summed as in birth_loss.h.
#pragma once

#include "fastblackout/portfloat.h"

namespace fastblackout {

// In the order of call/head.py
enum class Family : int64_t { beta_binomial = 0, bayes_logistic = 1, negative_binomial = 2 };

constexpr int64_t kMostTabled = 255;  // up to this count the logarithms of factorials are taken from a table of them

// Births n ~ Binomial(room, f), f ~ Beta(a, b), where a = m c, b = (1 - m) c.
struct BetaBinomialLaw {
  double z, e, mean, rest, log_c, c;  // m = sigmoid(z), rest = 1 - m; e = exp(-|z|)
};

FB_HD double clamped_log_c(double head_1) {
  const double wide = head_1 + 1.0;
  return wide < -5.0 ? -5.0 : (wide > 7.0 ? 7.0 : wide);
}
FB_HD bool clamp_is_free(double head_1) { return clamped_log_c(head_1) == head_1 + 1.0; }  // changes nothing

FB_HD BetaBinomialLaw beta_binomial_law(double head_0, double head_1, double offset) {
  const double z = head_0 + offset, e = portable_exp(z < 0.0 ? z : 0.0 - z), inverse = 1.0 / (1.0 + e), small = e * inverse;
  const double log_c = clamped_log_c(head_1);
  return BetaBinomialLaw{z, e, z < 0.0 ? small : inverse, z < 0.0 ? inverse : small, log_c, portable_exp(log_c)};
}

// What -log P(n) is made of beside rising factorials. P = C(room, n) a^(n) b^(room - n) / c^(room), x^(k) = x (x + 1) .. (x + k -
// 1): here are log C(room, n), which is `chosen`, and the first factors, whose logarithms are taken from z and log c.
FB_HD double beta_binomial_first(const BetaBinomialLaw& law, double room, double n, double chosen) {
  const double deaths = room - n, one = log_one_plus(law.e);
  const double negative = law.z < 0.0 ? law.z : 0.0, positive = law.z < 0.0 ? 0.0 : 0.0 - law.z;
  double first = n > 0.0 ? law.log_c + (negative - one) : 0.0;
  first = first + (deaths > 0.0 ? law.log_c + (positive - one) : 0.0);
  return chosen + (first - (room > 0.0 ? law.log_c : 0.0));
}

FB_HD double at_least_one(double n) { return n < 1.0 ? 1.0 : n; }

// -log P(n) from that and from the factorials of a, b and c: a's and b's are added, c's is taken away.
FB_HD double beta_binomial_loss(double first, double sum, double above, double below) {
  const double loss = 0.0 - ((first + sum) + portable_log(above / below));
  return loss > 0.0 ? loss : 0.0;
}

struct HeadSlopes {
  double of[2];
};

// The derivatives of -log P(n) by both arrays of the head, from the slopes of the three factorials.
FB_HD HeadSlopes beta_binomial_slopes(double mean, double rest, bool free, double a, double b, double c) {
  return HeadSlopes{{mean * b - rest * a, free ? c - (a + b) : 0.0}};
}

FB_HD double log_chosen(double room, double n) {  // log C(room, n)
  return (log_factorial(room) - log_factorial(n)) - log_factorial(room - n);
}

}  // namespace fastblackout
