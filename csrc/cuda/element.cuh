// One thread an element: the per-element draws, over samples and elements as one range.
#pragma once

#include "cuda/draw.cuh"
#include "fastblackout/poisson.h"

namespace fastblackout {
namespace cuda {
namespace {

struct Place {
  int64_t sample;
  uint32_t i;
};

// The element of this thread; past the last one, a sample that is none.
FB_DEVICE Place place_of(const Common& op) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, sample = at / op.elements;
  return Place{sample, static_cast<uint32_t>(at - sample * op.elements)};
}

// At most 2^31 - 1 blocks, 5e11 elements: more than a GPU's memory holds.
inline unsigned element_grid(const Common& op) { return static_cast<unsigned>((op.samples * op.elements + kThreads - 1) / kThreads); }

FB_DEVICE int64_t binomial_draw(int64_t n, double p, double q, const SampleKey& key, uint32_t i, uint32_t stream) {
  return binomial_element(n, p, q, key.seed_low, key.seed_high, i, key.sample, key.call, stream);
}

FB_DEVICE int64_t poisson_draw(double rate, const SampleKey& key, uint32_t i, uint32_t stream) {
  return poisson_element(rate, key.seed_low, key.seed_high, i, key.sample, key.call, stream);
}

// Word i % 4, without the local memory that an index of it would take
FB_DEVICE uint32_t word_of(const Words& words, uint32_t i) {
  const uint32_t c = i & 3u;
  return c < 2 ? (c == 0 ? words.w[0] : words.w[1]) : (c == 2 ? words.w[2] : words.w[3]);
}

// In [0, 1]; what is not is clamped, NaN to 0.
FB_DEVICE double clamp_prob(double p, bool& wrong) {
  wrong = wrong || !(p >= 0.0 && p <= 1.0);
  return p >= 0.0 ? (p <= 1.0 ? p : 1.0) : 0.0;
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
