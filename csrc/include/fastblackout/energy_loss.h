// The energy loss from its norms, and the factors of its gradient: float64, in an order that every backend keeps. Twin:
// fastblackout/reference/energy_loss.py. What is made of one element stands in float_parts.h.
//
// A sample with S draws has S (S + 1) / 2 norms: |y_s - N| for s = 0..S-1, then |y_s - y_r| for (s, r) = (0, 1), (0, 2), ..,
// (S - 2, S - 1). The square of each is a sum over the elements: chunks of 1,024, each a halving tree in float32, whose sums are
// added in ascending order in float64, as in birth_loss.h.
#pragma once

#include "fastblackout/birth_loss.h"

namespace fastblackout {

constexpr int kMostDraws = 8;

constexpr int64_t kExactInFloat = 1 << 24;  // up to this, max_count - x_t is exact in float32

// How many there are, and of which draws one is: first is below second; of a distance from the births, second is `draws`.
FB_HD int norms_of(int draws) { return draws * (draws + 1) / 2; }

struct EnergyPair {
  int first, second;
};
FB_HD EnergyPair energy_pair(int draws, int norm) {
  if (norm < draws) return EnergyPair{norm, draws};
  int first = 0, left = norm - draws;
  while (left >= draws - 1 - first) left -= draws - 1 - first++;
  return EnergyPair{first, first + 1 + left};
}
FB_HD int norm_between(int draws, int first, int second) {
  return draws + first * (2 * draws - first - 1) / 2 + (second - first - 1);
}

FB_HD float energy_loss_of(const double* norms, int draws, double weight) {
  double away = 0.0, apart = 0.0;
  for (int k = 0; k < draws; ++k) away = away + norms[k];
  for (int k = draws; k < norms_of(draws); ++k) apart = apart + norms[k];
  return static_cast<float>(weight * (away / static_cast<double>(draws) - apart / static_cast<double>(draws * (draws - 1))));
}

// What a difference is multiplied by in the gradient: coefficient / (times norm), times = S for a distance from the births,
// S (S - 1) for one between draws; 0 where the norm is.
FB_HD float energy_factor(double coefficient, double norm, int times) {
  return norm > 0.0 ? static_cast<float>(coefficient / (static_cast<double>(times) * norm)) : 0.0f;
}
FB_HD float energy_factor_away(const double* norms, int draws, int s, double coefficient) {
  return energy_factor(coefficient, norms[s], draws);
}
FB_HD float energy_factor_apart(const double* norms, int draws, int s, int r, double coefficient) {
  const int norm = s < r ? norm_between(draws, s, r) : norm_between(draws, r, s);
  return energy_factor(coefficient, norms[norm], draws * (draws - 1));
}

}  // namespace fastblackout
