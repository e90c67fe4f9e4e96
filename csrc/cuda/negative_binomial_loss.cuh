// The law "negative-binomial": its losses and its gradient.
#pragma once

#include "cuda/bayes.cuh"
#include "cuda/law_chunk.cuh"
#include "fastblackout/negative_binomial_law.h"

namespace fastblackout::cuda {
namespace {

FB_DEVICE NegativeBinomialLaw negative_binomial_law_of(const PosteriorLoss& op, const LawElement& x, double offset, NegativeBinomialTime& time) {
  const double most = static_cast<double>(op.max_count);
  time = negative_binomial_time(offset, most);
  return negative_binomial_law(time, x.head[0], x.head[1], most - x.room);
}

struct NegativeBinomialLosses {
  static constexpr int kBlocks = 3;
  static constexpr bool kLossTabled = true, kGradTabled = false;

  static FB_DEVICE double loss(const PosteriorLoss& op, uint32_t sample, uint32_t i, double offset, const LogFactorials& factorials, int& flags) {
    const LawElement x = law_element(op, sample, i, flags);
    NegativeBinomialTime time;
    const NegativeBinomialLaw law = negative_binomial_law_of(op, x, offset, time);
    const Rising made = rising(law.size, at_least_one(x.births));
    const double log_rest = portable_log(law.size * (made.above / made.below));
    return negative_binomial_loss(law, log_one_plus(law.theta), x.births, made.sum, log_rest, factorial_at(factorials, x.births));
  }

  static FB_DEVICE void grad(const PosteriorLoss& op, uint32_t sample, uint32_t i, double offset, const LogFactorials&,
                             float coefficient, int& flags) {
    const LawElement x = law_element(op, sample, i, flags);
    NegativeBinomialTime time;
    const NegativeBinomialLaw law = negative_binomial_law_of(op, x, offset, time);
    const double slope = rising_slope(law.size, x.births);
    const NegativeBinomialSlopes made = negative_binomial_slopes(law, log_one_plus(law.theta), x.births, slope);
    const double mean = wide_log_mean(time, x.head[0]), wide = wide_log_size(x.head[1]);
    store_slope(op.grad[0], sample, i, coefficient, free_slope(made.by_mean, clamped_log_mean(mean) == mean));
    store_slope(op.grad[1], sample, i, coefficient, free_slope(made.by_size, clamped_log_size(wide) == wide));
  }
};

}  // namespace
}  // namespace fastblackout::cuda
