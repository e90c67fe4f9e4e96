// birth_loss: per-sample sums of y - births log y, and its gradient by the logits.
#if !defined(FB_ISA)

#include "fastblackout/birth_loss.h"

#include "cpu/chunks.h"

#define FB_FILE "cpu/birth_loss.cpp"
namespace fastblackout {
namespace cpu {
namespace {

struct Sums : BirthLoss {
  float* chunk_sums;  // (samples, chunks of a sample)
};

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

}  // namespace

static_assert(kLossChunk == kChunk, "a loss chunk is summed as one tree");

void birth_loss(const BirthLoss& op) {
  check_values(op, "birth_loss", "logits", op.logits, Rule::finite, 0.0);
  check_values(op, "birth_loss", "births", op.births, Rule::nonnegative, 3.4028234663852886e38);
  const int64_t chunks = chunks_of(op);
  std::vector<float> sums(static_cast<size_t>(op.samples * chunks));
  Sums job{op, sums.data()};
  for_chunks(job, loss_chunk);
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    double total = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total = total + static_cast<double>(sums[sample * chunks + chunk]);
    op.loss[sample] = static_cast<float>(op.weight[sample] * total);
  }
}

void birth_loss_grad(const BirthLoss& op) { for_chunks(op, grad_chunk); }

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

static void loss_chunk(const Sums& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float logit[kChunk], births[kChunk];
  load(op.logits, sample, i0, count, logit);
  load(op.births, sample, i0, count, births);
  const float gain = op.gain[sample], log_gain = log_gain_of(gain);
  for (int k = 0; k < count; ++k) logit[k] = birth_loss_element(logit[k], births[k], gain, log_gain);
  for (int k = count; k < kChunk; ++k) logit[k] = 0.0f;
  op.chunk_sums[sample * chunks_of(op) + i0 / kChunk] = birth_loss_chunk_sum(logit);
}

static void grad_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float logit[kChunk], births[kChunk];
  load(op.logits, sample, i0, count, logit);
  load(op.births, sample, i0, count, births);
  const float gain = op.gain[sample], coefficient = static_cast<float>(op.weight[sample]);
  for (int k = 0; k < count; ++k) logit[k] = birth_loss_grad_element(logit[k], births[k], gain, coefficient);
  store(op.grad, sample, i0, count, logit);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
