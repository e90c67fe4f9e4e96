// The law "bayes-logistic": its losses and its gradient. A thread takes an element after the other.
#pragma once

#include "cuda/bayes.cuh"
#include "cuda/element.cuh"
#include "cuda/law_chunk.cuh"

namespace fastblackout::cuda {
namespace {

struct BayesLosses {
  static constexpr int kBlocks = 2;
  static constexpr bool kLossTabled = true, kGradTabled = true;

  static FB_DEVICE double loss(const PosteriorLoss& op, uint32_t sample, uint32_t i, double offset, const LogFactorials& factorials, int& flags) {
    BayesSlots<false>& slots = own_hat<BayesSlots<false>>();
    const LawCounts counts = law_counts(op, sample, i, flags);
    const BayesElement x = bayes_element(static_cast<double>(op.max_count), counts.room, offset);
    const BayesHead<PosteriorLoss> head = bayes_head(op, sample, i, flags);
    const double base_top = bayes_base_top(x, head);
    const double total = bayes_total<false>(x, head, factorials, base_top, slots);
    const BayesSeenSum seen = bayes_seen_sum(x, head, base_top, counts.births);
    const double likelihood = likelihood_of(factorials, x, counts.births);
    return bayes_loss(x, slots.top, total, likelihood, seen.top, seen.sum);
  }

  static FB_DEVICE void grad(const PosteriorLoss& op, uint32_t sample, uint32_t i, double offset, const LogFactorials& factorials,
                             float coefficient, int& flags) {
    BayesSlots<true>& slots = own_hat<BayesSlots<true>>();
    const LawCounts counts = law_counts(op, sample, i, flags);
    const BayesElement x = bayes_element(static_cast<double>(op.max_count), counts.room, offset);
    const BayesHead<PosteriorLoss> head = bayes_head(op, sample, i, flags);
    const double base_top = bayes_base_top(x, head);
    const double inverse = 1.0 / bayes_total<true>(x, head, factorials, base_top, slots);
    const BayesSeenSum all = bayes_seen_sum(x, head, base_top, counts.births);
    const double of_all = 1.0 / all.sum;
#pragma unroll 1
    for (int j = 0; j < head.components; ++j) {
      const BayesSeen seen = seen_by(x, head, j, base_top, counts.births);
      const double share = (portable_exp(seen.log_mass - all.top) * seen.factor) * of_all;
      const BayesWeights weights{slots.factor[j], slots.most[j], slots.zero[j]};
      const BayesSums sums{slots.sums[j][0], slots.sums[j][1], slots.sums[j][2]};
      const BayesSlopes made =
          bayes_slopes(x, head.component(x, j), weights, sums, inverse, counts.births, share, seen.mean, seen.scale);
      const double wide = head.at(head.components + j);
      store_slope(op.grad[j], sample, i, coefficient, made.mean);
      store_slope(op.grad[head.components + j], sample, i, coefficient, wide == clamped_wide(wide) ? made.scale : 0.0);
      if (j + 1 < head.components) store_slope(op.grad[2 * head.components + j], sample, i, coefficient, made.logit);
    }
  }
};

}  // namespace
}  // namespace fastblackout::cuda
