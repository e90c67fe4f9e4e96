// What the losses of all laws share: the counts of an element, the chunk of a block, the sum of its losses, and the two kernels.
// What differs by the law is a class: kBlocks, how many blocks are to share a multiprocessor; whether the loss, and the gradient, of
// an element take log factorials from a table; and both functions.
#pragma once

#include "cuda/chunk_sums.cuh"
#include "cuda/head.cuh"

namespace fastblackout::cuda {
namespace {

struct LawCounts {
  double room, births;
};
// The counts of an element, brought into their ranges: births to whole numbers in 0..max_count - x_t, a NaN to 0
FB_DEVICE LawCounts law_counts(const PosteriorLoss& op, uint32_t sample, uint32_t i, int& flags) {
  LawCounts made;
  bool wrong = false;
  const double most = static_cast<double>(op.max_count);
  made.room = most - clamp_count(load_one(op.x_t, sample, i), most, wrong);
  if (wrong) flags |= kWrongCount;
  const double born = load_one(op.births, sample, i);
  const double inside = born > 0.0 ? (born < made.room ? born : made.room) : 0.0;
  made.births = static_cast<double>(static_cast<int64_t>(inside));
  if (!(made.births == born)) flags |= kWrongBirths;
  return made;
}

// And of a head of two arrays
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

struct LawChunk {
  uint32_t sample, number, begin, left;
};

FB_DEVICE LawChunk own_law_chunk(const PosteriorLoss& op) {
  const uint32_t sample = blockIdx.x / chunks_of(op), number = blockIdx.x - sample * chunks_of(op);
  const int64_t left = op.elements - static_cast<int64_t>(number) * kLossChunk;
  return LawChunk{sample, number, number * kLossChunk, static_cast<uint32_t>(left < kLossChunk ? left : kLossChunk)};
}

// Of the tree over a lane's 32 elements, each 32 after the one before, the node that First, First + Stride, .. add up to
template <int First, int Stride>
FB_DEVICE float loss_node(const float* losses) {
  if constexpr (Stride == 32) return losses[32 * First];
  else return loss_node<First, 2 * Stride>(losses) + loss_node<First + Stride, 2 * Stride>(losses);
}

// Adds the losses of a chunk, and the sums of all chunks where the others are done.
FB_DEVICE void finish_chunk(const PosteriorLoss& op, const LawChunk& chunk, const float* losses, int flags) {
  raise(op.flag, flags, flags != 0);
  __syncthreads();
  if (threadIdx.x >= 32) return;
  float sum = loss_node<0, 1>(losses + lane_id());
#pragma unroll
  for (int h = 16; h > 0; h /= 2) sum = sum + __shfl_xor_sync(kAllLanes, sum, h);
  const bool alone = chunks_of(op) == 1;
  if (!alone && !is_last(op, chunk.sample, chunk.number, sum)) return;
  const double of_all = alone ? 0.0 + static_cast<double>(sum) : added_up(op, chunk.sample);
  if (lane_id() == 0) store_loss(op, chunk.sample, of_all);
}

template <class Law>
FB_KERNEL(kThreads, Law::kBlocks) law_losses(FB_PARAM(PosteriorLoss) op) {
  __shared__ float losses[kLossChunk];
  const LawChunk chunk = own_law_chunk(op);
  const LogFactorials factorials = shared_factorials<Law::kLossTabled>(op.max_count);
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < kLossChunk; e += kThreads)
    losses[e] = e < chunk.left ? static_cast<float>(Law::loss(op, chunk.sample, chunk.begin + e, offset, factorials, flags)) : 0.0f;
  finish_chunk(op, chunk, losses, flags);
}

template <class Law>
FB_KERNEL(kThreads, Law::kBlocks) law_grads(FB_PARAM(PosteriorLoss) op) {
  const LawChunk chunk = own_law_chunk(op);
  const LogFactorials factorials = shared_factorials<Law::kGradTabled>(op.max_count);
  int flags = 0;
  const double offset = checked_law_offset(op, chunk.sample, flags);
  const float coefficient = static_cast<float>(op.weight[chunk.sample]);
#pragma unroll 1
  for (uint32_t e = threadIdx.x; e < chunk.left; e += kThreads)
    Law::grad(op, chunk.sample, chunk.begin + e, offset, factorials, coefficient, flags);
  raise(op.flag, flags, flags != 0);
}

FB_DEVICE void store_slope(const View& grad, uint32_t sample, uint32_t i, float coefficient, double slope) {
  store_one(grad, sample, i, static_cast<double>(coefficient * static_cast<float>(slope)));
}

}  // namespace
}  // namespace fastblackout::cuda
