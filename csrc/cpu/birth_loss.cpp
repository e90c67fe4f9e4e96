// birth_loss: per-sample sums of y - births log y, and its gradient by the logits. Where a gradient will be asked for, the
// same pass keeps the slope of every element, and the gradient is that times the sample's coefficient.
#if !defined(FB_ISA)

#include "fastblackout/birth_loss.h"

#include "cpu/chunks.h"

#define FB_FILE "cpu/birth_loss.cpp"
namespace fastblackout {
namespace cpu {
namespace {

struct Sums : BirthLoss {
  float* chunk_sums;  // (samples, chunks of a sample)
  std::atomic<bool>* bad;
};

constexpr double kMostBirths = 3.4028234663852886e38;  // the largest float32

int64_t chunks_of(const Common& op) { return (op.elements + kChunk - 1) / kChunk; }

}  // namespace
}  // namespace cpu
}  // namespace fastblackout
#include "cpu/for_each_isa.h"

namespace fastblackout {
namespace cpu {
namespace {

void loss_chunk(const Sums& op, int64_t sample, int64_t i0, int count) { FB_CALL_ISA(op.isa, loss_chunk, op, sample, i0, count); }

void grad_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, grad_chunk, op, sample, i0, count);
}

void scale_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, scale_chunk, op, sample, i0, count);
}

}  // namespace

static_assert(kLossChunk == kChunk, "a loss chunk is summed as one tree");

void birth_loss(const BirthLoss& op) {
  const int64_t chunks = chunks_of(op);
  std::vector<float> sums(static_cast<size_t>(op.samples * chunks));
  std::atomic<bool> bad{false};
  Sums job{op, sums.data(), &bad};
  for_chunks(job, loss_chunk);
  if (bad) {  // seen on the way: what is written so far reaches nobody
    check_values(op, "birth_loss", "logits", op.logits, Rule::finite, 0.0);
    check_values(op, "birth_loss", "births", op.births, Rule::nonnegative, kMostBirths);
  }
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    double total = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total = total + static_cast<double>(sums[sample * chunks + chunk]);
    op.loss[sample] = static_cast<float>(op.weight[sample] * total);
  }
}

void birth_loss_grad(const BirthLoss& op) { for_chunks(op, grad_chunk); }

void birth_loss_scale(const BirthLoss& op) { for_chunks(op, scale_chunk); }

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

// A chunk of float32 values where they lie, if they do in C order; else copied to `buffer`.
static inline const float* floats_of(const View& view, int64_t sample, int64_t i0, int count, float* buffer) {
  if (view.dtype == Dtype::f32 && view.dims == 1 && view.strides[0] == 1)
    return reinterpret_cast<const float*>(view.data) + sample * view.sample_stride + i0;
  load(view, sample, i0, count, buffer);
  return buffer;
}

// Each function by a loop of its own: short chains of dependent steps, of which a processor overlaps several.
struct Exponentials {
  alignas(64) float e[kChunk], g[kChunk];

  void fill(int count, const float* __restrict x) {
    for (int k = 0; k < count; ++k) e[k] = exp_minus_abs(x[k]);
    for (int k = 0; k < count; ++k) g[k] = log1p_over(e[k]);
  }
};

static void slopes(int count, const float* __restrict x, const float* __restrict births, const Exponentials& of, float gain, float* __restrict to) {
  for (int k = 0; k < count; ++k) to[k] = birth_loss_slope_of(x[k], births[k], gain, of.e[k], of.g[k]);
}

static void loss_chunk(const Sums& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float x_buffer[kChunk], births_buffer[kChunk], soft[kChunk], loss[kChunk];
  Exponentials of;
  const float* __restrict x = floats_of(op.logits, sample, i0, count, x_buffer);
  const float* __restrict births = floats_of(op.births, sample, i0, count, births_buffer);
  const float gain = op.gain[sample], log_gain = log_gain_of(gain), most = static_cast<float>(kMostBirths);
  int bad = 0;
  for (int k = 0; k < count; ++k) bad |= (x[k] - x[k] != 0.0f) | !(births[k] >= 0.0f) | !(births[k] <= most);
  if (bad != 0) *op.bad = true;
  of.fill(count, x);
  for (int k = 0; k < count; ++k) soft[k] = softplus_of(x[k], of.e[k], of.g[k]);
  for (int k = 0; k < count; ++k) loss[k] = log_float(soft[k]);
  for (int k = 0; k < count; ++k) loss[k] = log_softplus_of(x[k], of.e[k], loss[k]);
  for (int k = 0; k < count; ++k) loss[k] = birth_loss_of(births[k], gain, log_gain, soft[k], loss[k]);
  for (int k = count; k < kChunk; ++k) loss[k] = 0.0f;
  op.chunk_sums[sample * chunks_of(op) + i0 / kChunk] = birth_loss_chunk_sum(loss);
  if (!op.grad) return;
  slopes(count, x, births, of, gain, soft);
  store(op.grad, sample, i0, count, soft);
}

static void grad_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float x_buffer[kChunk], births_buffer[kChunk], grad[kChunk];
  Exponentials of;
  const float* x = floats_of(op.logits, sample, i0, count, x_buffer);
  const float* births = floats_of(op.births, sample, i0, count, births_buffer);
  const float coefficient = static_cast<float>(op.weight[sample]);
  of.fill(count, x);
  slopes(count, x, births, of, op.gain[sample], grad);
  for (int k = 0; k < count; ++k) grad[k] = coefficient * grad[k];
  store(op.grad, sample, i0, count, grad);
}

static void scale_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float buffer[kChunk], grad[kChunk];
  const float* slope = floats_of(op.logits, sample, i0, count, buffer);
  const float coefficient = static_cast<float>(op.weight[sample]);
  for (int k = 0; k < count; ++k) grad[k] = coefficient * slope[k];
  store(op.grad, sample, i0, count, grad);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
