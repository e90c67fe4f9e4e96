// The law "beta-binomial": its losses and its gradient.
#pragma once

#include "cuda/law_chunk.cuh"

namespace fastblackout::cuda {
namespace {

// Which of the three rising factorials of the beta-binomial law: of a and the births, of b and the deaths, of c and the room.
// They are made in turn, by the same instructions.
struct Factor {
  double x, n;
};
FB_DEVICE Factor factor_of(int which, const BetaBinomialLaw& law, const LawElement& x) {
  const double share = which == 0 ? law.mean : law.rest;
  return Factor{which == 2 ? law.c : share * law.c, which == 0 ? x.births : which == 1 ? x.room - x.births : x.room};
}

struct BetaBinomialLosses {
  static constexpr int kBlocks = 3;
  static constexpr bool kLossTabled = true, kGradTabled = false;

  static FB_DEVICE double loss(const PosteriorLoss& op, uint32_t sample, uint32_t i, double offset, const LogFactorials& factorials, int& flags) {
    const LawElement x = law_element(op, sample, i, flags);
    const double deaths = factorial_at(factorials, x.room - x.births);
    const double chosen = (factorial_at(factorials, x.room) - factorial_at(factorials, x.births)) - deaths;
    const BetaBinomialLaw law = beta_binomial_law(x.head[0], x.head[1], offset);
    const double first = beta_binomial_first(law, x.room, x.births, chosen);
    double sum = 0.0, above = 1.0, below = 1.0;
#pragma unroll 1
    for (int which = 0; which < 3; ++which) {
      const Factor factor = factor_of(which, law, x);
      const Rising made = rising(factor.x, at_least_one(factor.n));
      sum = sum + (which == 2 ? -made.sum : made.sum);
      above = above * (which == 2 ? made.below : made.above);
      below = below * (which == 2 ? made.above : made.below);
    }
    return beta_binomial_loss(first, sum, above, below);
  }

  static FB_DEVICE void grad(const PosteriorLoss& op, uint32_t sample, uint32_t i, double offset, const LogFactorials&,
                             float coefficient, int& flags) {
    const LawElement x = law_element(op, sample, i, flags);
    const BetaBinomialLaw law = beta_binomial_law(x.head[0], x.head[1], offset);
    double a = 0.0, b = 0.0, c = 0.0;
#pragma unroll 1
    for (int which = 0; which < 3; ++which) {
      const Factor factor = factor_of(which, law, x);
      a = b;
      b = c;
      c = rising_slope(factor.x, factor.n);
    }
    const HeadSlopes slopes = beta_binomial_slopes(law.mean, law.rest, clamp_is_free(x.head[1]), a, b, c);
#pragma unroll
    for (int g = 0; g < 2; ++g) store_slope(op.grad[g], sample, i, coefficient, slopes.of[g]);
  }
};

}  // namespace
}  // namespace fastblackout::cuda
