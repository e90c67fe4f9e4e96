// energy_loss: a block takes a chunk of 1,024 elements. Its threads leave the draws and the births in shared memory, then each
// warp sums the squares of one distance after the other: the upper levels of the halving tree lie within a lane, the others
// are shuffles. The block that is done last with a sample adds the chunk sums in ascending order and makes norms and loss: one
// launch. The gradient is another, of the same blocks.
#include "cuda/tile.cuh"
#include "fastblackout/energy_loss.h"

namespace fastblackout::cuda {
namespace {

constexpr int kMostNorms = kMostDraws * (kMostDraws + 1) / 2;

struct Rows {
  float v[kMostDraws + 1][kLossChunk];  // the draws, then the births; a launch has as many as it needs
};

FB_DEVICE Rows& rows() { FB_SHARED_GIVEN(Rows); }

FB_HD uint32_t chunks_of(const EnergyLoss& op) {  // one where there are no elements
  return op.elements > kLossChunk ? static_cast<uint32_t>((op.elements + kLossChunk - 1) / kLossChunk) : 1;
}

struct Chunk {
  uint32_t sample, number, begin, left;
};

FB_DEVICE Chunk own_chunk(const EnergyLoss& op) {
  const uint32_t sample = blockIdx.x / chunks_of(op), number = blockIdx.x - sample * chunks_of(op);
  const int64_t left = op.elements - static_cast<int64_t>(number) * kLossChunk;
  return Chunk{sample, number, number * kLossChunk, static_cast<uint32_t>(left < kLossChunk ? left : kLossChunk)};
}

// max_count - x_t, exact before it is rounded
FB_DEVICE float room_of(const EnergyLoss& op, uint32_t sample, uint32_t i, int& flags) {
  bool wrong = false;
  const double most = static_cast<double>(op.max_count), x = clamp_count(load_one(op.x_t, sample, i), most, wrong);
  if (wrong) flags |= kWrongCount;
  return static_cast<float>(most - x);
}

FB_DEVICE float births_of(const EnergyLoss& op, uint32_t sample, uint32_t i, int& flags) {
  const float births = static_cast<float>(load_one(op.births, sample, i));
  if (!(births >= 0.0f && is_finite(births))) flags |= kWrongBirths;
  return births;
}

// `at`: where the element lies in the first draw
FB_DEVICE float argument_of(const EnergyLoss& op, int64_t at, int s, float offset, int& flags) {
  const float logit = static_cast<float>(value_at(op.logits, at + s * op.logits.draw_stride));
  if (!is_finite(logit)) flags |= kWrongLogit;
  return energy_argument(logit, offset);
}

FB_DEVICE float checked_offset(const EnergyLoss& op, uint32_t sample, int& flags) {
  const float offset = op.offset[sample];
  if (!is_finite(offset)) flags |= kWrongNumber;
  return offset;
}

// Of the tree over a lane's 32 elements, each 32 after the one before, the node that First, First + Stride, .. add up to
template <int First, int Stride>
FB_DEVICE float squares_node(const float* a, const float* b) {
  if constexpr (Stride == 32) {
    const float apart = a[32 * First] - b[32 * First];
    return apart * apart;
  } else {
    return squares_node<First, 2 * Stride>(a, b) + squares_node<First + Stride, 2 * Stride>(a, b);
  }
}

FB_DEVICE float sum_of_squares(const float* a, const float* b) {  // by a whole warp
  float sum = squares_node<0, 1>(a + lane_id(), b + lane_id());
#pragma unroll
  for (int h = 16; h > 0; h /= 2) sum = sum + __shfl_xor_sync(kAllLanes, sum, h);
  return sum;
}

// Whether all other chunks of the sample are done: where there are others, by a count that the last one sets back to 0. By all
// threads of a block.
FB_DEVICE bool is_last(const EnergyLoss& op, const Chunk& chunk) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (chunks_of(op) == 1) return true;
  if (threadIdx.x == 0) last = atomicInc(op.chunks_done + chunk.sample, chunks_of(op) - 1) == chunks_of(op) - 1;
  __syncthreads();
  __threadfence();
  return last;
}

FB_KERNEL(kThreads, 4) energy_squares(FB_PARAM(EnergyLoss) op) {
  const int draws = static_cast<int>(op.logits.draws), norms = norms_of(draws);
  const Chunk chunk = own_chunk(op);
  int flags = 0;
  const float offset = checked_offset(op, chunk.sample, flags);
  for (uint32_t e = threadIdx.x; e < kLossChunk; e += kThreads) {
    const bool inside = e < chunk.left;
    const uint32_t i = chunk.begin + e;
    const float room = inside ? room_of(op, chunk.sample, i, flags) : 0.0f;
    const int64_t at = inside ? offset_of(op.logits, chunk.sample, i) : 0;
    rows().v[draws][e] = inside ? births_of(op, chunk.sample, i, flags) : 0.0f;
#pragma unroll 1
    for (int s = 0; s < draws; ++s) {
      float y = 0.0f;
      if (inside) {
        const float z = argument_of(op, at, s, offset, flags), some = exp_minus_abs_or_nan(z);
        y = energy_draw(room, z, some, energy_inverse(some));
      }
      rows().v[s][e] = y;
    }
  }
  raise(op.flag, flags, flags != 0);
  __syncthreads();
  float* const sums = op.chunk_sums + static_cast<int64_t>(chunk.sample) * chunks_of(op) * norms;
#pragma unroll 1
  for (int k = static_cast<int>(threadIdx.x / 32); k < norms; k += kWarps) {
    const EnergyPair pair = energy_pair(draws, k);
    const float sum = sum_of_squares(rows().v[pair.first], rows().v[pair.second]);
    if (lane_id() == 0) sums[static_cast<int64_t>(chunk.number) * norms + k] = sum;
  }
  if (!is_last(op, chunk)) return;
  __shared__ double made[kMostNorms];
  if (static_cast<int>(threadIdx.x) < norms) {
    double total = 0.0;
#pragma unroll 1
    for (uint32_t c = 0; c < chunks_of(op); ++c) total = total + static_cast<double>(sums[static_cast<int64_t>(c) * norms + threadIdx.x]);
    made[threadIdx.x] = portable_sqrt(total);
    op.norms[static_cast<int64_t>(chunk.sample) * norms + threadIdx.x] = made[threadIdx.x];
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  const double weight = op.weight[chunk.sample];
  raise(op.flag, kWrongNumber, !(weight - weight == 0.0));
  op.loss[chunk.sample] = energy_loss_of(made, draws, weight);
}

FB_KERNEL(kThreads, 4) energy_grad(FB_PARAM(EnergyLoss) op) {
  __shared__ float y[kMostDraws][kThreads], slope[kMostDraws][kThreads], away[kMostDraws], apart[kMostDraws][kMostDraws];
  const int draws = static_cast<int>(op.logits.draws);
  const Chunk chunk = own_chunk(op);
  const uint32_t thread = threadIdx.x;
  const double* const norms = op.norms + static_cast<int64_t>(chunk.sample) * norms_of(draws);
  const double coefficient = op.weight[chunk.sample];
  if (thread < kMostDraws * kMostDraws) {
    const int s = static_cast<int>(thread) / kMostDraws, r = static_cast<int>(thread) % kMostDraws;
    if (s < draws && r < draws) {
      if (s == r) away[s] = energy_factor_away(norms, draws, s, coefficient);
      else apart[s][r] = energy_factor_apart(norms, draws, s, r, coefficient);
    }
  }
  __syncthreads();
  int flags = 0;
  const float offset = checked_offset(op, chunk.sample, flags);
#pragma unroll 1
  for (uint32_t e = thread; e < chunk.left; e += kThreads) {  // of y and slope a thread reads its own alone
    const uint32_t i = chunk.begin + e;
    const float room = room_of(op, chunk.sample, i, flags), births = births_of(op, chunk.sample, i, flags);
    const int64_t at = offset_of(op.logits, chunk.sample, i), to = offset_of(op.grad, chunk.sample, i);
#pragma unroll 1
    for (int s = 0; s < draws; ++s) {
      const float z = argument_of(op, at, s, offset, flags), some = exp_minus_abs_or_nan(z), inverse = energy_inverse(some);
      y[s][thread] = energy_draw(room, z, some, inverse);
      slope[s][thread] = energy_slope(room, some, inverse);
    }
#pragma unroll 1
    for (int s = 0; s < draws; ++s) {
      const float own = y[s][thread];
      float pull = away[s] * (own - births);
#pragma unroll 1
      for (int r = 0; r < draws; ++r)
        if (r != s) pull = pull - apart[s][r] * (own - y[r][thread]);
      put_value(op.grad, to + s * op.grad.draw_stride, static_cast<double>(pull * slope[s][thread]));
    }
  }
  raise(op.flag, flags, flags != 0);
}

// A block a chunk: below 2^31, more than a GPU's memory holds
unsigned blocks_of(const EnergyLoss& op) { return static_cast<unsigned>(op.samples * chunks_of(op)); }

}  // namespace

int energy_loss(const EnergyLoss& op, void* stream) {
  if (op.samples == 0) return 0;
  const int shared = static_cast<int>((op.logits.draws + 1) * kLossChunk * static_cast<int64_t>(sizeof(float)));
  FB_LAUNCH_SHARED(energy_squares, shared, blocks_of(op), kThreads, stream, op);
  return cudaGetLastError();
}

int energy_loss_gradient(const EnergyLoss& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  FB_LAUNCH(energy_grad, blocks_of(op), kThreads, stream, op);
  return cudaGetLastError();
}

}  // namespace fastblackout::cuda
