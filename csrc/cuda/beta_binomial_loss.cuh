// The law "beta-binomial": its losses and its gradient.
#pragma once

#include "cuda/law_chunk.cuh"

namespace fastblackout {
namespace cuda {
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

FB_DEVICE double law_loss(const LawElement& x, double offset, double chosen) {
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

FB_DEVICE HeadSlopes law_slopes(const LawElement& x, double offset) {
  const BetaBinomialLaw law = beta_binomial_law(x.head[0], x.head[1], offset);
  double a = 0.0, b = 0.0, c = 0.0;
#pragma unroll 1
  for (int which = 0; which < 3; ++which) {
    const Factor factor = factor_of(which, law, x);
    a = b;
    b = c;
    c = rising_slope(factor.x, factor.n);
  }
  return beta_binomial_slopes(law.mean, law.rest, clamp_is_free(x.head[1]), a, b, c);
}

FB_COLD double chosen_without_table(double room, double births) { return log_chosen(room, births); }

FB_KERNEL(kThreads, 3) law_losses(FB_PARAM(PosteriorLoss) op) {
  __shared__ float losses[kLossChunk];
  __shared__ double factorials[kMostTabled + 1];
  const LawChunk chunk = own_law_chunk(op);
  const bool tabled = op.max_count <= kMostTabled;
  if (tabled) factorials[threadIdx.x] = log_factorial(static_cast<double>(threadIdx.x));
  __syncthreads();
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < kLossChunk; e += kThreads) {
    float loss = 0.0f;
    if (e < chunk.left) {
      const LawElement x = law_element(op, chunk.sample, chunk.begin + e, flags);
      double chosen;
      if (tabled) {
        const int room = static_cast<int>(x.room), births = static_cast<int>(x.births);
        chosen = (factorials[room] - factorials[births]) - factorials[room - births];
      } else {
        chosen = chosen_without_table(x.room, x.births);
      }
      loss = static_cast<float>(law_loss(x, offset, chosen));
    }
    losses[e] = loss;
  }
  finish_chunk(op, chunk, losses, flags);
}

FB_KERNEL(kThreads, 3) law_grads(FB_PARAM(PosteriorLoss) op) {
  const LawChunk chunk = own_law_chunk(op);
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
  const float coefficient = static_cast<float>(op.weight[chunk.sample]);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < chunk.left; e += kThreads) {
    const uint32_t i = chunk.begin + e;
    const LawElement x = law_element(op, chunk.sample, i, flags);
    const HeadSlopes slopes = law_slopes(x, offset);
#pragma unroll
    for (int g = 0; g < 2; ++g)
      store_one(op.grad[g], chunk.sample, i, static_cast<double>(coefficient * static_cast<float>(slopes.of[g])));
  }
  raise(op.flag, flags, flags != 0);
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
