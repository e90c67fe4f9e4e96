// birth_loss: the sums of y - births log y over each sample, in the order that all backends keep
// (fastblackout/birth_loss.h), and their gradient by the logits. A warp sums one chunk: the upper levels of its halving tree
// lie within a lane (a thread of the warp), the others are shuffles. That fixes which lane has which element, so that narrow
// arrays come to the lanes through shared memory. The warp that is done last with a sample adds its chunk sums in ascending
// order, so that one launch does all.
#include "cuda/chunk_sums.cuh"

namespace fastblackout {
namespace cuda {
namespace {

FB_DEVICE int wrong_bits(float logit, float births) {
  return (is_finite(logit) ? 0 : kWrongLogit) | (births >= 0.0f && is_finite(births) ? 0 : kWrongBirths);
}

// A gain that is not positive and finite makes the loss NaN.
FB_DEVICE float checked_gain(float gain, int& flags) {
  if (gain > 0.0f && is_finite(gain)) return gain;
  flags |= kWrongNumber;
  return bit_cast<float>(0x7fc00000u);
}

// For each warp a chunk of narrow arrays, whose values have at most 16 bits.
struct Rows {
  Word4 births[kWarps][kLossChunk / 8], logits[kWarps][kLossChunk / 8];
};

static_assert(sizeof(Rows) <= 32 * 1024, "three blocks of 100 KiB: sm_120");

FB_DEVICE Rows& rows() { FB_SHARED_GIVEN(Rows); }

// Copies a chunk of a narrow array to shared memory; false for arrays that are read where they lie.
FB_DEVICE bool stage_chunk(const View& view, int64_t sample, uint32_t begin, uint32_t left, Word4* to) {
  if (!is_narrow(view.dtype) || !by_words(view, left, kLossChunk)) return false;
#pragma unroll
  for (uint32_t part = 0; part < kLossChunk / 8; part += 32)  // the second half is past the end of 8-bit values
    stage_narrow(view, sample * view.sample_stride + begin, left, part + lane_id(), to);
  return true;
}

FB_DEVICE Float4 four_of(const View& view, int64_t sample, uint32_t begin, uint32_t e, int count, bool staged,
                         const Word4* rows) {
  return staged ? narrow4(view.dtype, rows->v, e / 4) : load4(view, sample, begin + e, count);
}

// The lower levels of the tree, by pairs of lanes 16, 8, 4, 2 and 1 apart. At the first two levels a lane keeps half of its
// sums and gives the others away, so that it goes on with one sum. Which of two numbers comes first does not change their sum.
FB_DEVICE float added_row(const Float4& own) {
  const bool high = (threadIdx.x & 16) != 0, odd = (threadIdx.x & 8) != 0;
  float two[2];
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const float kept = high ? own.v[2 + c] : own.v[c], given = high ? own.v[c] : own.v[2 + c];
    two[c] = kept + __shfl_xor_sync(kAllLanes, given, 16);
  }
  float one = (odd ? two[1] : two[0]) + __shfl_xor_sync(kAllLanes, odd ? two[0] : two[1], 8);
#pragma unroll
  for (int h = 4; h > 0; h /= 2) one = one + __shfl_xor_sync(kAllLanes, one, h);
  one = one + __shfl_xor_sync(kAllLanes, one, 16);  // v[0] + v[2] and v[1] + v[3]
  return one + __shfl_xor_sync(kAllLanes, one, 8);
}

FB_KERNEL(kThreads, 4) loss_kernel(FB_PARAM(BirthLoss) op) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kWarps + warp;  // of all chunks
  const uint32_t sample = static_cast<uint32_t>(at / chunks_of(op));
  if (sample >= op.samples) return;
  const uint32_t begin = static_cast<uint32_t>(at - static_cast<int64_t>(sample) * chunks_of(op)) * kLossChunk;
  const uint32_t left = static_cast<uint32_t>(elements_left(op.elements, begin, kLossChunk));
  const bool staged_logits = stage_chunk(op.logits, sample, begin, left, rows().logits[warp]);
  const bool staged_births = stage_chunk(op.births, sample, begin, left, rows().births[warp]);
  __syncwarp();
  int flags = 0;
  const float gain = checked_gain(op.gain[sample], flags), log_gain = log_gain_of(gain);
  // A chunk is eight rows of 128 elements, four to a lane. Row s is added to row s + 4, and of those pairs the ones of even s and
  // the ones of odd s are summed, in turns. The sums begin as 0, which changes nothing: a sum of zeros is not -0.0 anyway.
  Float4 pair = {}, sum = {}, next = {};
#pragma unroll 1
  for (uint32_t step = 0; step < 8; ++step) {
    const uint32_t e = (step & 1) * 512 + (step >> 1) * 128 + 4 * lane;
    const int count = quad_left(left, e);
    const Float4 logit = four_of(op.logits, sample, begin, e, count, staged_logits, rows().logits[warp]);
    const Float4 births = four_of(op.births, sample, begin, e, count, staged_births, rows().births[warp]);
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (c < count) flags |= wrong_bits(logit.v[c], births.v[c]);
      const float loss = c < count ? birth_loss_element(logit.v[c], births.v[c], gain, log_gain) : 0.0f;
      if ((step & 1) == 0) {
        pair.v[c] = loss;
      } else {
        const float later = sum.v[c] + (pair.v[c] + loss);
        sum.v[c] = next.v[c];
        next.v[c] = later;
      }
    }
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) sum.v[c] = sum.v[c] + next.v[c];
  raise(op.flag, flags, flags != 0);
  const float of_chunk = added_row(sum);
  if (chunks_of(op) == 1) {
    if (lane == 0) store_loss(op, sample, 0.0 + static_cast<double>(of_chunk));  // 0.0 + x is never -0.0
  } else if (is_last(op, sample, begin / kLossChunk, of_chunk)) {
    const double of_all = added_up(op, sample);
    if (lane == 0) store_loss(op, sample, of_all);
  }
}

constexpr uint32_t kQuads = 2 * kThreads;  // quads, four neighbouring elements each, of a thread block

// The elements of all samples, and which arrays are one range over all of them that shared memory can stage.
struct Range {
  int64_t elements;
  bool logits, births, grad;  // whether an array is dense, aligned and narrow (is_dense)
};

// The gradient, element by element. The last block of a range that is no multiple of 16 stages nothing.
FB_KERNEL(kThreads, 4) loss_grad(FB_PARAM(BirthLoss) op, FB_PARAM(Range) range) {
  __shared__ Word4 staged[2][kQuads / 2];  // narrow logits and births; the gradient takes the place of the logits
  const uint32_t quads = static_cast<uint32_t>((op.elements + 3) / 4);  // of a sample
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kQuads, first_sample = first / quads;
  const uint32_t skipped = static_cast<uint32_t>(first - first_sample * quads);
  const int64_t rest = range.elements - 4 * first;
  const uint32_t left = rest < 4 * kQuads ? static_cast<uint32_t>(rest) : 4 * kQuads;
  const bool whole = range.elements % 16 == 0 || blockIdx.x + 1 < gridDim.x;
  const bool narrow_logits = range.logits && whole, narrow_births = range.births && whole, narrow_grad = range.grad && whole;
  if (narrow_logits) stage_narrow(op.logits, 4 * first, left, threadIdx.x, staged[0]);
  if (narrow_births) stage_narrow(op.births, 4 * first, left, threadIdx.x, staged[1]);
  __syncthreads();
#pragma unroll 1
  for (uint32_t quad = threadIdx.x; quad < kQuads; quad += kThreads) {
    const uint32_t of_sample = (skipped + quad) / quads, i = 4 * (skipped + quad - of_sample * quads);
    const int64_t sample = first_sample + of_sample;
    if (sample >= op.samples) break;
    const int count = quad_left(static_cast<uint32_t>(op.elements), i);
    const Float4 logit = narrow_logits ? narrow4(op.logits.dtype, staged[0]->v, quad) : load4(op.logits, sample, i, count);
    const Float4 births = narrow_births ? narrow4(op.births.dtype, staged[1]->v, quad) : load4(op.births, sample, i, count);
    int flags = 0;
    const float gain = checked_gain(op.gain[sample], flags), coefficient = static_cast<float>(op.weight[sample]);
    Float4 grad;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (c < count) flags |= wrong_bits(logit.v[c], births.v[c]);
      grad.v[c] = birth_loss_grad_element(logit.v[c], births.v[c], gain, coefficient);
    }
    raise(op.flag, flags, flags != 0);
    if (narrow_grad) put_narrow4(op.grad.dtype, staged[0]->v, quad, grad);  // where the logits of this quad were
    else store4(op.grad, sample, i, count, grad);
  }
  if (!narrow_grad) return;
  __syncthreads();
  const uint32_t e = 8 * threadIdx.x;
  if (e < left) *word_at(op.grad, 4 * first + e, 2) = staged[0][threadIdx.x];
}

bool is_dense(const View& view, const Common& op) {
  const bool joined = op.samples == 1 || (view.sample_stride == op.elements && op.elements % 4 == 0);
  const bool aligned = view.dims == 1 && view.strides[0] == 1 && reinterpret_cast<uintptr_t>(view.data) % 16 == 0;
  return is_narrow(view.dtype) && joined && aligned;
}

}  // namespace

int birth_loss(const BirthLoss& op, void* stream) {
  if (op.samples == 0) return 0;
  const int64_t chunks = op.samples * chunks_of(op);  // a warp each: below 2^34, more than a GPU's memory holds
  const int shared = is_narrow(op.logits.dtype) ? sizeof(Rows) : is_narrow(op.births.dtype) ? sizeof(Rows) / 2 : 0;
  FB_LAUNCH_SHARED(loss_kernel, shared, static_cast<unsigned>((chunks + kWarps - 1) / kWarps), kThreads, stream, op);
  return cudaGetLastError();
}

int birth_loss_gradient(const BirthLoss& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  const int64_t quads = op.samples * ((op.elements + 3) / 4);
  const Range range{op.samples * op.elements, is_dense(op.logits, op), is_dense(op.births, op), is_dense(op.grad, op)};
  FB_LAUNCH(loss_grad, static_cast<unsigned>((quads + kQuads - 1) / kQuads), kThreads, stream, op, range);
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace fastblackout
