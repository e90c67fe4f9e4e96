// posterior_loss: a block takes a chunk of 1,024 elements, in float64, and leaves their losses in shared memory, which a warp sums:
// the upper levels of the halving tree lie within a lane, the others are shuffles. Where counts are small, the logarithms of
// factorials come from a table that each block makes, an entry a thread. The gradient is a launch of its own.
#include "cuda/bayes.cuh"
#include "cuda/law_chunk.cuh"
#include "cuda/states.cuh"
#include "fastblackout/negative_binomial_law.h"

namespace fastblackout {
namespace cuda {
namespace {

struct LawElement : LawCounts {
  double head[2];
};

FB_DEVICE LawElement law_element(const PosteriorLoss& op, uint32_t sample, uint32_t i, int& flags) {
  LawElement made;
  static_cast<LawCounts&>(made) = law_counts(op, sample, i, flags);
  made.head[0] = checked_head(op.head[0], sample, i, flags);
  made.head[1] = checked_head(op.head[1], sample, i, flags);
  return made;
}

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

// The law "bayes-logistic": a thread an element after the other
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

// The law "negative-binomial"
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
      loss = static_cast<float>(negative_binomial_loss(law, x.births, made.sum, made.above, made.below, factorial_at(factorials, x.births)));
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
    const NegativeBinomialSlopes made = negative_binomial_slopes(law, x.births, rising_slope(law.size, x.births));
    const double mean = wide_log_mean(time, x.head[0]), wide = wide_log_size(x.head[1]);
    const double by_mean = free_slope(made.by_mean, clamped_log_mean(mean) == mean);
    const double by_size = free_slope(made.by_size, clamped_log_size(wide) == wide);
    store_one(op.grad[0], chunk.sample, i, static_cast<double>(coefficient * static_cast<float>(by_mean)));
    store_one(op.grad[1], chunk.sample, i, static_cast<double>(coefficient * static_cast<float>(by_size)));
  }
  raise(op.flag, flags, flags != 0);
}

// The laws with a logit for every state: a thread an element after the other
template <bool Known>
FB_KERNEL(kThreads, Known ? 2 : 3) state_losses(FB_PARAM(PosteriorLoss) op) {
  __shared__ float losses[kLossChunk];
  __shared__ double table[Known ? kMostTabled + 1 : 1];
  const LawChunk chunk = own_law_chunk(op);
  const LogFactorials factorials = shared_factorials<Known>(op.max_count, table);
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < kLossChunk; e += kThreads) {
    float loss = 0.0f;
    if (e < chunk.left) {
      const LawCounts counts = law_counts(op, chunk.sample, chunk.begin + e, flags);
      const StateRow<Known> row(op, chunk.sample, chunk.begin + e, counts.room, offset, factorials, flags);
      const SeenState seen = row.seen(counts.births);
      loss = static_cast<float>(state_loss(seen.apart, seen.others, seen.weight));
    }
    losses[e] = loss;
  }
  finish_chunk(op, chunk, losses, flags);
}

template <bool Known>
FB_KERNEL(kThreads, Known ? 2 : 3) state_grads(FB_PARAM(PosteriorLoss) op) {
  __shared__ double table[Known ? kMostTabled + 1 : 1];
  const LawChunk chunk = own_law_chunk(op);
  const LogFactorials factorials = shared_factorials<Known>(op.max_count, table);
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
  const float coefficient = static_cast<float>(op.weight[chunk.sample]);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < chunk.left; e += kThreads) {
    const uint32_t i = chunk.begin + e;
    const LawCounts counts = law_counts(op, chunk.sample, i, flags);
    const StateRow<Known> row(op, chunk.sample, i, counts.room, offset, factorials, flags);
    const SeenState seen = row.seen(counts.births);
    const float inverse = inverse_total(seen.others, seen.weight), own = seen_slope(seen.others, seen.weight);
    const int64_t to = offset_of(op.grad[0], chunk.sample, i);
#pragma unroll 1
    for (int v = 0; v < row.states; ++v) {
      const float slope = v < row.x ? 0.0f : (v == seen.at ? own : row.weight(v) * inverse);
      put_value(op.grad[0], to + v * op.grad[0].state_stride, static_cast<double>(coefficient * slope));
    }
  }
  raise(op.flag, flags, flags != 0);
}

Family family_of(const PosteriorLoss& op) { return static_cast<Family>(op.family); }

// A block a chunk: below 2^31, more than a GPU's memory holds
unsigned blocks_of(const PosteriorLoss& op) { return static_cast<unsigned>(op.samples * chunks_of(op)); }

}  // namespace

int posterior_loss(const PosteriorLoss& op, void* stream) {
  if (op.samples == 0) return 0;
  switch (family_of(op)) {
    case Family::beta_binomial: FB_LAUNCH(law_losses, blocks_of(op), kThreads, stream, op); break;
    case Family::bayes_logistic: FB_LAUNCH(bayes_losses, blocks_of(op), kThreads, stream, op); break;
    case Family::negative_binomial: FB_LAUNCH(negative_binomial_losses, blocks_of(op), kThreads, stream, op); break;
    case Family::categorical: FB_LAUNCH(state_losses<false>, blocks_of(op), kThreads, stream, op); break;
    case Family::bayes_categorical: FB_LAUNCH(state_losses<true>, blocks_of(op), kThreads, stream, op); break;
  }
  return cudaGetLastError();
}

int posterior_loss_gradient(const PosteriorLoss& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  switch (family_of(op)) {
    case Family::beta_binomial: FB_LAUNCH(law_grads, blocks_of(op), kThreads, stream, op); break;
    case Family::bayes_logistic: FB_LAUNCH(bayes_grads, blocks_of(op), kThreads, stream, op); break;
    case Family::negative_binomial: FB_LAUNCH(negative_binomial_grads, blocks_of(op), kThreads, stream, op); break;
    case Family::categorical: FB_LAUNCH(state_grads<false>, blocks_of(op), kThreads, stream, op); break;
    case Family::bayes_categorical: FB_LAUNCH(state_grads<true>, blocks_of(op), kThreads, stream, op); break;
  }
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace fastblackout
