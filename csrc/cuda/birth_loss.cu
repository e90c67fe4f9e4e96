// birth_loss: the sums of y - births log y over each sample, in the order that all backends keep
// (fastblackout/birth_loss.h), and their gradient by the logits. Four warps sum a chunk, eight rows of 128 elements: each takes
// 32 columns, whose sums are the upper levels of the halving tree, and one of them adds the 128 columns. A sample of up to 8
// chunks is one block; of a larger one each chunk is, and the block that is done last adds the chunk sums. One launch does all.
#include "cuda/chunk_sums.cuh"

namespace fastblackout::cuda {
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

constexpr uint32_t kChunkThreads = 128, kMostChunks = BirthLoss::kUnscratched;  // of a chunk, and of a block

// Four values of an array, which are read as wide as they are: a warp's are whole sectors of 32 bytes all the same.
FB_DEVICE Float4 four_of(const View& view, int64_t sample, uint32_t i, int count) {
  if (!is_narrow(view.dtype) || !view.aligned || count != 4) return load4(view, sample, i, count);
  const int64_t from = sample * view.sample_stride + i;
  return narrow4(view.dtype, reinterpret_cast<const uint32_t*>(view.data + (view.dtype == kU8 ? from : 2 * from)), 0);
}

// The sum of 128 columns, made by a whole warp. Each column is the sum of a chunk's eight rows.
FB_DEVICE float across(const float* columns) {
  const float* own = columns + lane_id();
  float sum = (own[0] + own[64]) + (own[32] + own[96]);
#pragma unroll
  for (int h = 16; h > 0; h /= 2) sum = sum + __shfl_xor_sync(kAllLanes, sum, h);
  return sum;
}

struct Sum {
  float gain, log_gain;  // of the sample
  float columns[kMostChunks][128], chunks[kMostChunks];
};

// A block takes a sample of up to 8 chunks, or a chunk of a larger one.
FB_KERNEL(kMostChunks * kChunkThreads, 1) loss_kernel(FB_PARAM(BirthLoss) op, uint32_t first_sample) {
  __shared__ Sum shared;
  const bool whole = chunks_of(op) <= kMostChunks;
  const uint32_t of_launch = whole ? blockIdx.x : blockIdx.x / chunks_of(op), sample = first_sample + of_launch;
  const uint32_t own = threadIdx.x / kChunkThreads, chunk = whole ? own : blockIdx.x - of_launch * chunks_of(op);
  const uint32_t lane = lane_id(), column = threadIdx.x % kChunkThreads / 32 * 32;  // the first of the warp's 32
  const uint32_t left = static_cast<uint32_t>(elements_left(op.elements, chunk * kLossChunk, kLossChunk));
  int flags = 0;
  if (threadIdx.x == 0) {
    shared.gain = checked_gain(op.gain[sample], flags);
    shared.log_gain = log_gain_of(shared.gain);
  }
  // A lane has four neighbouring elements of a row, and of the row four further on, to which the tree adds the first. The sums
  // begin as 0, which changes nothing: a sum of zeros is not -0.0 anyway.
  Float4 sum = {};
#pragma unroll 1
  for (uint32_t row = 0; row < 8; row += 4) {
    const uint32_t e = 128 * (row + lane / 8) + column + 4 * (lane % 8);
    const int count = quad_left(left, e);
    const Float4 logit = four_of(op.logits, sample, chunk * kLossChunk + e, count);
    const Float4 births = four_of(op.births, sample, chunk * kLossChunk + e, count);
    if (row == 0) __syncthreads();  // the gain's logarithm is made while elements are fetched
    const float gain = shared.gain, log_gain = shared.log_gain;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if (c < count) flags |= wrong_bits(logit.v[c], births.v[c]);
      sum.v[c] = sum.v[c] + (c < count ? birth_loss_element(logit.v[c], births.v[c], gain, log_gain) : 0.0f);
    }
  }
  raise(op.flag, flags, flags != 0);
  // The rows of lanes 16 apart, then 8: a lane keeps half of its sums and gives the others away, so that it goes on with one.
  // Which of two numbers comes first does not change their sum.
  const bool high = (lane & 16) != 0, odd = (lane & 8) != 0;
  float two[2];
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const float kept = high ? sum.v[2 + c] : sum.v[c], given = high ? sum.v[c] : sum.v[2 + c];
    two[c] = kept + __shfl_xor_sync(kAllLanes, given, 16);
  }
  const float one = (odd ? two[1] : two[0]) + __shfl_xor_sync(kAllLanes, odd ? two[0] : two[1], 8);
  shared.columns[own][column + 4 * (lane % 8) + 2 * high + odd] = one;
  __syncthreads();
  if (column == 0) {
    const float of_chunk = across(shared.columns[own]);
    if (whole) {
      if (lane == 0) shared.chunks[own] = of_chunk;
    } else if (is_last(op, sample, chunk, of_chunk)) {
      const double of_all = added_up(op, sample);
      if (lane == 0) store_loss(op, sample, of_all);
    }
  }
  if (!whole) return;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double of_all = 0.0;
#pragma unroll 1
  for (uint32_t c = 0; c < chunks_of(op); ++c) of_all = of_all + static_cast<double>(shared.chunks[c]);
  store_loss(op, sample, of_all);
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
  const uint32_t chunks = chunks_of(op);
  const bool whole = chunks <= kMostChunks;
  const int64_t blocks = whole ? 1 : chunks, most = kMaxBlocks / blocks;
  for (int64_t first = 0; first < op.samples; first += most) {  // once, except for billions of chunks
    const int64_t samples = op.samples - first < most ? op.samples - first : most;
    FB_LAUNCH(loss_kernel, static_cast<unsigned>(samples * blocks), (whole ? chunks : 1) * kChunkThreads, stream, op,
              static_cast<uint32_t>(first));
  }
  return cudaGetLastError();
}

int birth_loss_gradient(const BirthLoss& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  const int64_t quads = op.samples * ((op.elements + 3) / 4);
  const Range range{op.samples * op.elements, is_dense(op.logits, op), is_dense(op.births, op), is_dense(op.grad, op)};
  FB_LAUNCH(loss_grad, static_cast<unsigned>((quads + kQuads - 1) / kQuads), kThreads, stream, op, range);
  return cudaGetLastError();
}

}  // namespace fastblackout::cuda
