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
  if (bad) {  // perhaps, seen on the way: what is written so far reaches nobody
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

#include "cpu/exponentials.h"

// A chunk of float32 values where they lie, if they do in C order; else null.
static inline float* floats_in_place(const View& view, int64_t sample, int64_t i0) {
  const bool plain = view.dtype == Dtype::f32 && view.dims == 1 && view.strides[0] == 1;
  return plain ? reinterpret_cast<float*>(view.data) + sample * view.sample_stride + i0 : nullptr;
}

// A chunk of values, filled up with zeros to whole Wides.
static inline const float* floats_of(const View& view, int64_t sample, int64_t i0, int count, float* buffer) {
  const int end = padded_to_wide(count);
  const float* direct = floats_in_place(view, sample, i0);
  if (direct != nullptr && end == count) return direct;
  load(view, sample, i0, count, buffer);
  std::memset(buffer + count, 0, sizeof(float) * static_cast<size_t>(end - count));
  return buffer;
}

// What is made of a chunk of logits, filled up to whole Wides.
struct Parts : Exponentials {
  alignas(64) float shrinkage[kChunk], soft[kChunk];

  void losses(int count, const float* __restrict x, const float* __restrict births, float gain, float log_gain,
              float* __restrict loss) {
    for (int k = 0; k < count; k += kWide) store_wide(log_shrinkage(load_wide(e + k)), shrinkage + k);
    for (int k = 0; k < count; ++k) {
      soft[k] = softplus_of(x[k], e[k], g[k]);
      n[k] = log_power(soft[k]);
      f[k] = log_fraction(soft[k]);
    }
    for (int k = 0; k < count; k += kWide) store_wide(log_series(load_wide(f + k)), series + k);
    for (int k = 0; k < count; ++k) {
      const float log_soft = log_softplus_of(x[k], log_of(n[k], f[k], series[k]), shrinkage[k]);
      loss[k] = birth_loss_of(births[k], gain, log_gain, soft[k], log_soft);
    }
  }

  void slopes(int count, const float* __restrict x, const float* __restrict births, float gain, float coefficient,
              float* __restrict to) const {
    for (int k = 0; k < count; ++k) to[k] = coefficient * birth_loss_slope_of(x[k], births[k], gain, e[k], g[k]);
  }
};

// Whether a value lies below 0, above what float32 holds, or nowhere.
static inline bool any_bad(const float* births, int count) {
  int bad = 0;
  for (int k = 0; k < count; ++k) bad |= !(births[k] >= 0.0f) | !(births[k] <= static_cast<float>(kMostBirths));
  return bad != 0;
}

template <bool Loss>
static inline void chunk_of(const BirthLoss& op, int64_t sample, int64_t i0, int count, float coefficient, float* loss,
                            std::atomic<bool>* bad) {
  alignas(64) float x_buffer[kChunk], births_buffer[kChunk], slope_buffer[kChunk];
  Parts parts;
  const float* x = floats_of(op.logits, sample, i0, count, x_buffer);
  const float* births = floats_of(op.births, sample, i0, count, births_buffer);
  const float gain = op.gain[sample], log_gain = Loss && gain != 1.0f ? log_gain_of(gain) : 0.0f;
  if (Loss && op.births.dtype != Dtype::u8 && any_bad(births, count)) *bad = true;
  float* direct = op.grad && padded_to_wide(count) == count ? floats_in_place(op.grad, sample, i0) : nullptr;
  float* slopes = direct != nullptr ? direct : slope_buffer;
  parts.fill(count, x);
  if constexpr (Loss) parts.losses(count, x, births, gain, log_gain, loss);
  if (op.grad) parts.slopes(count, x, births, gain, coefficient, slopes);
  if (op.grad && direct == nullptr) store(op.grad, sample, i0, count, slopes);
}

static void loss_chunk(const Sums& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float loss[kChunk];
  chunk_of<true>(op, sample, i0, count, 1.0f, loss, op.bad);
  std::memset(loss + count, 0, sizeof(float) * static_cast<size_t>(kChunk - count));
  const float sum = birth_loss_chunk_sum(loss);
  op.chunk_sums[sample * chunks_of(op) + i0 / kChunk] = sum;
  if (sum - sum != 0.0f) *op.bad = true;  // a logit that is not finite has such a loss, whatever its births
}

static void grad_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  chunk_of<false>(op, sample, i0, count, static_cast<float>(op.weight[sample]), nullptr, nullptr);
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
