// The laws with a logit for every state: their losses and their gradients. A thread takes an element after the other.
#pragma once

#include "cuda/law_chunk.cuh"
#include "cuda/states.cuh"

namespace fastblackout {
namespace cuda {
namespace {

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
      loss = static_cast<float>(row.top == row.top ? state_loss(seen.apart, seen.others, seen.weight) : row.top);
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

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
