// The sum of a sample from the sums of its chunks of 1,024 elements, each left by one warp: the warp that is done last with a
// sample adds them in ascending order, so that one launch does all. `Op` is a loss with chunk_sums and chunks_done (cuda/ops.h).
#pragma once

#include "cuda/tile.cuh"
#include "fastblackout/birth_loss.h"

namespace fastblackout::cuda {
namespace {

template <class Op>
FB_HD uint32_t chunks_of(const Op& op) {  // chunks of a sample; one where it has no elements
  return op.elements > kLossChunk ? static_cast<uint32_t>((op.elements + kLossChunk - 1) / kLossChunk) : 1;
}

template <class Op>
FB_DEVICE float* chunk_sums_of(const Op& op, uint32_t sample) {
  return op.chunk_sums + static_cast<int64_t>(sample) * chunks_of(op);
}

template <class Op>
FB_DEVICE void store_loss(const Op& op, uint32_t sample, double sum) {
  const double weight = op.weight[sample];
  raise(op.flag, kWrongNumber, !(weight - weight == 0.0));
  op.loss[sample] = static_cast<float>(weight * sum);
}

// Leaves the sum of a chunk in memory, and returns whether the sums of all other chunks of the sample lie there too. This is
// told by a count of the chunks done, which the last one sets back to 0, so that it serves the next launch and each replay of a
// CUDA graph.
template <class Op>
FB_DEVICE bool is_last(const Op& op, uint32_t sample, uint32_t chunk, float of_chunk) {
  unsigned before = 0;
  if (threadIdx.x % 32 == 0) {
    chunk_sums_of(op, sample)[chunk] = of_chunk;
    __threadfence();
    before = atomicInc(op.chunks_done + sample, chunks_of(op) - 1);
    __threadfence();
  }
  const bool last = __shfl_sync(kAllLanes, before, 0) == chunks_of(op) - 1;
  __syncwarp();  // the other lanes may read after the fence of the first
  return last;
}

// Adds the chunk sums of a sample in ascending order, in float64; called by a whole warp.
template <class Op>
FB_DEVICE double added_up(const Op& op, uint32_t sample) {
  const uint32_t lane = threadIdx.x % 32, chunks = chunks_of(op);
  double total = 0.0;
#pragma unroll 1
  for (uint32_t from = 0; from < chunks; from += 32) {
    const float own = from + lane < chunks ? chunk_sums_of(op, sample)[from + lane] : 0.0f;
    const int count = static_cast<int>(chunks - from < 32 ? chunks - from : 32);
#pragma unroll 1
    for (int c = 0; c < count; ++c) total = total + static_cast<double>(__shfl_sync(kAllLanes, own, c));
  }
  return total;
}

}  // namespace
}  // namespace fastblackout::cuda
