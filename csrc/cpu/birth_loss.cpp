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

// A chunk of float32 values where they lie, if they do in C order; else null.
static inline float* floats_in_place(const View& view, int64_t sample, int64_t i0) {
  const bool plain = view.dtype == Dtype::f32 && view.dims == 1 && view.strides[0] == 1;
  return plain ? reinterpret_cast<float*>(view.data) + sample * view.sample_stride + i0 : nullptr;
}

static inline const float* floats_of(const View& view, int64_t sample, int64_t i0, int count, float* buffer) {
  if (const float* direct = floats_in_place(view, sample, i0)) return direct;
  load(view, sample, i0, count, buffer);
  return buffer;
}

// Each function by a loop of its own: short chains of dependent steps, of which a processor overlaps several.
struct Exponentials {
  alignas(64) float e[kChunk], g[kChunk];

  // Returns whether an x is not finite.
  bool fill(int count, const float* __restrict x) {
    int bad = 0;
    for (int k = 0; k < count; ++k) {
      bad |= x[k] - x[k] != 0.0f;
      e[k] = exp_minus_abs(x[k]);
    }
    for (int k = 0; k < count; ++k) g[k] = log1p_over(e[k]);
    return bad != 0;
  }
};

// The slopes times coefficient, to the chunk of `view` itself or by way of the buffer.
static inline void store_slopes(const View& view, int64_t sample, int64_t i0, int count, const float* __restrict x,
                                const float* __restrict births, const Exponentials& of, float gain, float coefficient, float* buffer) {
  float* direct = floats_in_place(view, sample, i0);
  float* __restrict to = direct != nullptr ? direct : buffer;
  for (int k = 0; k < count; ++k) to[k] = coefficient * birth_loss_slope_of(x[k], births[k], gain, of.e[k], of.g[k]);
  if (direct == nullptr) store(view, sample, i0, count, buffer);
}

static void loss_chunk(const Sums& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float x_buffer[kChunk], births_buffer[kChunk], soft[kChunk], loss[kChunk];
  Exponentials of;
  const float* __restrict x = floats_of(op.logits, sample, i0, count, x_buffer);
  const float* __restrict births = floats_of(op.births, sample, i0, count, births_buffer);
  const float gain = op.gain[sample], log_gain = log_gain_of(gain), most = static_cast<float>(kMostBirths);
  int bad = of.fill(count, x);
  if (op.births.dtype != Dtype::u8)
    for (int k = 0; k < count; ++k) bad |= !(births[k] >= 0.0f) | !(births[k] <= most);
  if (bad != 0) *op.bad = true;
  for (int k = 0; k < count; ++k) {
    soft[k] = softplus_of(x[k], of.e[k], of.g[k]);
    loss[k] = log_float(soft[k]);
  }
  for (int k = 0; k < count; ++k)
    loss[k] = birth_loss_of(births[k], gain, log_gain, soft[k], log_softplus_of(x[k], of.e[k], loss[k]));
  std::memset(loss + count, 0, sizeof(float) * static_cast<size_t>(kChunk - count));
  op.chunk_sums[sample * chunks_of(op) + i0 / kChunk] = birth_loss_chunk_sum(loss);
  if (op.grad) store_slopes(op.grad, sample, i0, count, x, births, of, gain, 1.0f, soft);
}

static void grad_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float x_buffer[kChunk], births_buffer[kChunk], buffer[kChunk];
  Exponentials of;
  const float* x = floats_of(op.logits, sample, i0, count, x_buffer);
  const float* births = floats_of(op.births, sample, i0, count, births_buffer);
  of.fill(count, x);
  store_slopes(op.grad, sample, i0, count, x, births, of, op.gain[sample], static_cast<float>(op.weight[sample]), buffer);
}

// In place: grad holds the slopes.
static void scale_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float buffer[kChunk];
  float* direct = floats_in_place(op.grad, sample, i0);
  float* grad = direct != nullptr ? direct : buffer;
  const float coefficient = static_cast<float>(op.weight[sample]);
  if (direct == nullptr) load(op.grad, sample, i0, count, buffer);
  for (int k = 0; k < count; ++k) grad[k] = coefficient * grad[k];
  if (direct == nullptr) store(op.grad, sample, i0, count, buffer);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
