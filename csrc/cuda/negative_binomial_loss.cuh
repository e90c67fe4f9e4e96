// The law "negative-binomial": its losses and its gradient.
#pragma once

#include "cuda/bayes.cuh"
#include "cuda/law_chunk.cuh"
#include "fastblackout/negative_binomial_law.h"

namespace fastblackout {
namespace cuda {
namespace {

FB_DEVICE NegativeBinomialLaw negative_binomial_law_of(const PosteriorLoss& op, const LawElement& x, double offset, NegativeBinomialTime& time) {
  const double most = static_cast<double>(op.max_count);
  time = negative_binomial_time(offset, most);
  return negative_binomial_law(time, x.head[0], x.head[1], most - x.room);
}

FB_KERNEL(kThreads, 3) negative_binomial_losses(FB_PARAM(PosteriorLoss) op) {
  __shared__ float losses[kLossChunk];
  __shared__ double table[kMostTabled + 1];
  const LawChunk chunk = own_law_chunk(op);
  const LogFactorials factorials = shared_factorials<>(op.max_count, table);
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < kLossChunk; e += kThreads) {
    float loss = 0.0f;
    if (e < chunk.left) {
      const LawElement x = law_element(op, chunk.sample, chunk.begin + e, flags);
      NegativeBinomialTime time;
      const NegativeBinomialLaw law = negative_binomial_law_of(op, x, offset, time);
      const Rising made = rising(law.size, at_least_one(x.births));
      const double log_rest = portable_log(law.size * (made.above / made.below));
      loss = static_cast<float>(
          negative_binomial_loss(law, log_one_plus(law.theta), x.births, made.sum, log_rest, factorial_at(factorials, x.births)));
    }
    losses[e] = loss;
  }
  finish_chunk(op, chunk, losses, flags);
}

FB_KERNEL(kThreads, 3) negative_binomial_grads(FB_PARAM(PosteriorLoss) op) {
  const LawChunk chunk = own_law_chunk(op);
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
  const float coefficient = static_cast<float>(op.weight[chunk.sample]);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < chunk.left; e += kThreads) {
    const uint32_t i = chunk.begin + e;
    const LawElement x = law_element(op, chunk.sample, i, flags);
    NegativeBinomialTime time;
    const NegativeBinomialLaw law = negative_binomial_law_of(op, x, offset, time);
    const double slope = rising_slope(law.size, x.births);
    const NegativeBinomialSlopes made = negative_binomial_slopes(law, log_one_plus(law.theta), x.births, slope);
    const double mean = wide_log_mean(time, x.head[0]), wide = wide_log_size(x.head[1]);
    const double by_mean = free_slope(made.by_mean, clamped_log_mean(mean) == mean);
    const double by_size = free_slope(made.by_size, clamped_log_size(wide) == wide);
    store_one(op.grad[0], chunk.sample, i, static_cast<double>(coefficient * static_cast<float>(by_mean)));
    store_one(op.grad[1], chunk.sample, i, static_cast<double>(coefficient * static_cast<float>(by_size)));
  }
  raise(op.flag, flags, flags != 0);
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
