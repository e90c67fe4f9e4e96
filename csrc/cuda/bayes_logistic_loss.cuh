// The law "bayes-logistic": its losses and its gradient. A thread takes an element after the other.
#pragma once

#include "cuda/bayes.cuh"
#include "cuda/law_chunk.cuh"

namespace fastblackout {
namespace cuda {
namespace {

FB_KERNEL(kThreads, 2) bayes_losses(FB_PARAM(PosteriorLoss) op) {
  __shared__ float losses[kLossChunk];
  __shared__ double table[kMostTabled + 1];
  __shared__ BayesSlots<false> slots[kThreads];
  const LawChunk chunk = own_law_chunk(op);
  const LogFactorials factorials = shared_factorials<>(op.max_count, table);
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < kLossChunk; e += kThreads) {
    float loss = 0.0f;
    if (e < chunk.left) {
      const LawCounts counts = law_counts(op, chunk.sample, chunk.begin + e, flags);
      const BayesElement x = bayes_element(static_cast<double>(op.max_count), counts.room, offset);
      const BayesHead<PosteriorLoss> head = bayes_head(op, chunk.sample, chunk.begin + e, flags);
      const double base_top = bayes_base_top(x, head);
      const double total = bayes_total<false>(x, head, factorials, base_top, slots[threadIdx.x]);
      const BayesSeenSum seen = bayes_seen_sum(x, head, base_top, counts.births);
      const double likelihood = likelihood_of(factorials, x, counts.births);
      loss = static_cast<float>(bayes_loss(x, slots[threadIdx.x].top, total, likelihood, seen.top, seen.sum));
    }
    losses[e] = loss;
  }
  finish_chunk(op, chunk, losses, flags);
}

FB_KERNEL(kThreads, 2) bayes_grads(FB_PARAM(PosteriorLoss) op) {
  __shared__ double table[kMostTabled + 1];
  __shared__ BayesSlots<true> all_slots[kThreads];
  const LawChunk chunk = own_law_chunk(op);
  const LogFactorials factorials = shared_factorials<>(op.max_count, table);
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
  const float coefficient = static_cast<float>(op.weight[chunk.sample]);
  BayesSlots<true>& slots = all_slots[threadIdx.x];
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < chunk.left; e += kThreads) {
    const uint32_t i = chunk.begin + e;
    const LawCounts counts = law_counts(op, chunk.sample, i, flags);
    const BayesElement x = bayes_element(static_cast<double>(op.max_count), counts.room, offset);
    const BayesHead<PosteriorLoss> head = bayes_head(op, chunk.sample, i, flags);
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
      const double wide = head.at(head.components + j), scale = wide == clamped_wide(wide) ? made.scale : 0.0;
      store_one(op.grad[j], chunk.sample, i, static_cast<double>(coefficient * static_cast<float>(made.mean)));
      store_one(op.grad[head.components + j], chunk.sample, i, static_cast<double>(coefficient * static_cast<float>(scale)));
      if (j + 1 < head.components)
        store_one(op.grad[2 * head.components + j], chunk.sample, i, static_cast<double>(coefficient * static_cast<float>(made.logit)));
    }
  }
  raise(op.flag, flags, flags != 0);
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
