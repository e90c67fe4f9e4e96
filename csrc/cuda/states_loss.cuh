// The laws with a logit for every state: their losses and their gradients. A thread takes an element after the other.
#pragma once

#include "cuda/law_chunk.cuh"
#include "cuda/states.cuh"

namespace fastblackout::cuda {
namespace {

template <bool Known>
struct StateLosses {
  static constexpr int kBlocks = Known ? 2 : 3;
  static constexpr bool kLossTabled = Known, kGradTabled = Known;

  static FB_DEVICE double loss(const PosteriorLoss& op, uint32_t sample, uint32_t i, double offset, const LogFactorials& factorials, int& flags) {
    const LawCounts counts = law_counts(op, sample, i, flags);
    const StateRow<Known> row(op, sample, i, counts.room, offset, factorials, flags);
    const SeenState seen = row.seen(counts.births);
    return row.top == row.top ? state_loss(seen.apart, seen.others, seen.weight) : row.top;
  }

  static FB_DEVICE void grad(const PosteriorLoss& op, uint32_t sample, uint32_t i, double offset, const LogFactorials& factorials,
                             float coefficient, int& flags) {
    const LawCounts counts = law_counts(op, sample, i, flags);
    const StateRow<Known> row(op, sample, i, counts.room, offset, factorials, flags);
    const SeenState seen = row.seen(counts.births);
    const float inverse = inverse_total(seen.others, seen.weight), own = seen_slope(seen.others, seen.weight);
    const int64_t to = offset_of(op.grad[0], sample, i);
#pragma unroll 1
    for (int v = 0; v < row.states; ++v) {
      const float slope = v < row.x ? 0.0f : (v == seen.at ? own : row.weight(v) * inverse);
      put_value(op.grad[0], to + v * op.grad[0].state_stride, static_cast<double>(coefficient * slope));
    }
  }
};

}  // namespace
}  // namespace fastblackout::cuda
