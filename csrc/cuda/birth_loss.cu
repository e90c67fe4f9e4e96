// birth_loss: per-sample sums of y - births log y in the order all backends keep, and its gradient by the logits. A warp
// sums one chunk: the upper levels of its halving tree lie within a lane, the middle ones are shuffles, the last again
// within a lane. A second kernel adds the chunk sums of each sample in ascending order.
#include "cuda/draw.cuh"
#include "fastblackout/birth_loss.h"

namespace fastblackout {
namespace cuda {
namespace {

constexpr int kSumThreads = 128;

FB_DEVICE int wrong_bits(float logit, float births) {
  return (logit - logit == 0.0f ? 0 : kWrongLogit) | (births >= 0.0f && births - births == 0.0f ? 0 : kWrongBirths);
}

struct Part {
  float v[4];
};

// Elements chunk + 128 s + 4 lane + 0..3, zero past the end.
FB_DEVICE Part part_of(const BirthLoss& op, int64_t sample, uint32_t i, float gain, float log_gain, int& flags) {
  const int left = elements_left(op.elements, i, 4);
  const Float4 logit = load4(op.logits, sample, i, left), births = load4(op.births, sample, i, left);
  Part part;
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (c < left) flags |= wrong_bits(logit.v[c], births.v[c]);
    part.v[c] = c < left ? birth_loss_element(logit.v[c], births.v[c], gain, log_gain) : 0.0f;
  }
  return part;
}

FB_KERNEL(kThreads, 4) loss_chunks(FB_PARAM(BirthLoss) op) {
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t chunks = (op.elements + kLossChunk - 1) / kLossChunk, total = chunks * op.samples;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kWarps + warp; at < total; at += static_cast<int64_t>(gridDim.x) * kWarps) {
    const int64_t sample = at / chunks;
    const uint32_t i = static_cast<uint32_t>(at - sample * chunks) * kLossChunk + 4 * lane;
    const float gain = op.gain[sample], log_gain = log_gain_of(gain);
    int flags = 0;
    Part sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    // v[s] + v[s + 4], then those pairs + 2, then + 1: s runs 0, 4, 2, 6, 1, 5, 3, 7
    Part pair = sum, half = sum;
#pragma unroll 1
    for (uint32_t step = 0; step < 8; ++step) {
      const uint32_t s = (step & 1) * 4 + (step & 2) + (step >> 2);
      const Part v = part_of(op, sample, i + 128 * s, gain, log_gain, flags);
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float two = (step & 1) == 0 ? v.v[c] : pair.v[c] + v.v[c];
        pair.v[c] = two;
        if ((step & 1) == 0) continue;
        half.v[c] = (step & 2) == 0 ? two : half.v[c] + two;
        if ((step & 2) == 0) continue;
        sum.v[c] = (step & 4) == 0 ? half.v[c] : sum.v[c] + half.v[c];
      }
    }
#pragma unroll
    for (int h = 16; h > 0; h /= 2) {
#pragma unroll
      for (int c = 0; c < 4; ++c) sum.v[c] = sum.v[c] + __shfl_down_sync(kAllLanes, sum.v[c], h);
    }
    if (lane == 0) op.chunk_sums[at] = (sum.v[0] + sum.v[2]) + (sum.v[1] + sum.v[3]);
    raise(op.flag, flags, flags != 0);
  }
}

__global__ void loss_sums(FB_PARAM(BirthLoss) op) {
  __shared__ float sums[kSumThreads];
  const int64_t chunks = (op.elements + kLossChunk - 1) / kLossChunk;
  for (int64_t sample = blockIdx.x; sample < op.samples; sample += gridDim.x) {
    double total = 0.0;
    for (int64_t from = 0; from < chunks; from += kSumThreads) {
      const int64_t at = from + threadIdx.x;
      sums[threadIdx.x] = at < chunks ? op.chunk_sums[sample * chunks + at] : 0.0f;
      __syncthreads();
      const int count = chunks - from < kSumThreads ? static_cast<int>(chunks - from) : kSumThreads;
      if (threadIdx.x == 0)
        for (int c = 0; c < count; ++c) total = total + static_cast<double>(sums[c]);
      __syncthreads();
    }
    if (threadIdx.x == 0) op.loss[sample] = static_cast<float>(op.weight[sample] * total);
  }
}

FB_KERNEL(kThreads, 4) loss_grad(FB_PARAM(BirthLoss) op) {
  const int64_t quads = (op.elements + 3) / 4, total = quads * op.samples;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < total; at += step) {
    const int64_t sample = at / quads;
    const uint32_t i = static_cast<uint32_t>(at - sample * quads) * 4;
    const int left = elements_left(op.elements, i, 4);
    const Float4 logit = load4(op.logits, sample, i, left), births = load4(op.births, sample, i, left);
    const float gain = op.gain[sample], coefficient = static_cast<float>(op.weight[sample]);
    int flags = 0;
    Float4 grad;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (c < left) flags |= wrong_bits(logit.v[c], births.v[c]);
      grad.v[c] = birth_loss_grad_element(logit.v[c], births.v[c], gain, coefficient);
    }
    store4(op.grad, sample, i, left, grad);
    raise(op.flag, flags, flags != 0);
  }
}

}  // namespace

int birth_loss(const BirthLoss& op, void* stream) {
  if (op.samples == 0) return 0;
  const int64_t chunks = op.samples * ((op.elements + kLossChunk - 1) / kLossChunk);
  if (chunks > 0) FB_LAUNCH(loss_chunks, grid_of((chunks + kWarps - 1) / kWarps), kThreads, stream, op);
  FB_LAUNCH(loss_sums, grid_of(op.samples), kSumThreads, stream, op);
  return cudaGetLastError();
}

int birth_loss_grad(const BirthLoss& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  const int64_t quads = op.samples * ((op.elements + 3) / 4);
  FB_LAUNCH(loss_grad, grid_of((quads + kThreads - 1) / kThreads), kThreads, stream, op);
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace fastblackout
