// birth_loss: per-sample sums of y - births log y in the order all backends keep, and its gradient by the logits. A warp
// sums one chunk: the upper levels of its halving tree lie within a lane, the middle ones are shuffles, the last again
// within a lane. The warp that is done last with a sample adds its chunk sums in ascending order: one launch.
#include "cuda/draw.cuh"
#include "fastblackout/birth_loss.h"

namespace fastblackout {
namespace cuda {
namespace {

FB_DEVICE int wrong_bits(float logit, float births) {
  return (is_finite(logit) ? 0 : kWrongLogit) | (births >= 0.0f && is_finite(births) ? 0 : kWrongBirths);
}

// A gain that is none makes the loss NaN.
FB_DEVICE float checked_gain(float gain, int& flags) {
  if (gain > 0.0f && is_finite(gain)) return gain;
  flags |= kWrongNumber;
  return bit_cast<float>(0x7fc00000u);
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

FB_HD uint32_t chunks_of(const BirthLoss& op) {  // one where there are no elements
  return op.elements > kLossChunk ? static_cast<uint32_t>((op.elements + kLossChunk - 1) / kLossChunk) : 1;
}

FB_DEVICE float* chunk_sums_of(const BirthLoss& op, uint32_t sample) {
  return op.chunk_sums + static_cast<int64_t>(sample) * chunks_of(op);
}

FB_DEVICE void store_loss(const BirthLoss& op, uint32_t sample, double sum) {
  const double weight = op.weight[sample];
  raise(op.flag, kWrongNumber, !(weight - weight == 0.0));
  op.loss[sample] = static_cast<float>(weight * sum);
}

// Leaves the sum of a chunk in memory. Whether all others of the sample lie there: by a count of those done, which the
// last one sets back to 0, so that it serves the next launch and each replay of a graph.
FB_DEVICE bool is_last(const BirthLoss& op, uint32_t sample, uint32_t chunk, float of_chunk) {
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

// Ascending, in float64; by a whole warp.
FB_DEVICE double added_up(const BirthLoss& op, uint32_t sample) {
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

FB_KERNEL(kThreads, 4) loss_kernel(FB_PARAM(BirthLoss) op) {
  const uint32_t lane = threadIdx.x % 32;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;  // of all chunks
  const uint32_t sample = static_cast<uint32_t>(at / chunks_of(op));
  if (sample >= op.samples) return;
  const uint32_t i = static_cast<uint32_t>(at - static_cast<int64_t>(sample) * chunks_of(op)) * kLossChunk + 4 * lane;
  int flags = 0;
  const float gain = checked_gain(op.gain[sample], flags), log_gain = log_gain_of(gain);
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
  raise(op.flag, flags, flags != 0);
  const float of_chunk = (sum.v[0] + sum.v[2]) + (sum.v[1] + sum.v[3]);  // lane 0 has it
  if (chunks_of(op) == 1) {
    if (lane == 0) store_loss(op, sample, 0.0 + static_cast<double>(of_chunk));  // not -0.0
  } else if (is_last(op, sample, i / kLossChunk, of_chunk)) {
    const double of_all = added_up(op, sample);
    if (lane == 0) store_loss(op, sample, of_all);
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
    int flags = 0;
    const float gain = checked_gain(op.gain[sample], flags), coefficient = static_cast<float>(op.weight[sample]);
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
  const int64_t chunks = op.samples * chunks_of(op);  // a warp each: below 2^34, more than a GPU's memory holds
  FB_LAUNCH(loss_kernel, static_cast<unsigned>((chunks + kWarps - 1) / kWarps), kThreads, stream, op);
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
