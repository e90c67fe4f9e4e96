// normal: out = mean + std z, element by element, z standard normal
#if !defined(FB_ISA)

#include "fastblackout/normal.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/normal.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout {
namespace cpu {
namespace {

void normal_chunk(const Normal& op, int64_t sample, int64_t i0, int count) { FB_CALL_ISA(op.isa, normal_chunk, op, sample, i0, count); }

}  // namespace

void normal(const Normal& op) {
  check_values(op, "normal", "mean", op.mean, Rule::number, 0.0);
  check_values(op, "normal", "std", op.deviation, Rule::nonnegative, kLargest);
  for_chunks(op, normal_chunk);
}

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

// |z| of `count` elements, by loops over dense lists that vectorise: all as if they were of the centre, then the tails, 15 of
// 100, as if near, then the far ones among these, 3 of 10^11. v: scratch.
static void normal_magnitudes(int count, const uint32_t* __restrict high, const uint32_t* __restrict low, double* __restrict v,
                              double* __restrict z) {
  for (int e = 0; e < count; ++e) {
    const NormalTail t = normal_tail(high[e], low[e]);
    v[e] = t.v;
    z[e] = normal_centre(t.q);
  }
  uint16_t element[kChunk + 1];
  alignas(64) double root[kChunk];
  int tails = 0;
  for (int e = 0; e < count; ++e) {
    element[tails] = static_cast<uint16_t>(e);
    tails += v[e] < kNormalCentre;
  }
  for (int t = 0; t < tails; ++t) root[t] = v[element[t]];
  int far = 0;
  for (int t = 0; t < tails; ++t) {
    root[t] = normal_root(root[t]);
    v[t] = normal_near(root[t]);
    far += root[t] > 5.0;
  }
  if (far != 0)
    for (int t = 0; t < tails; ++t)
      if (root[t] > 5.0) v[t] = normal_far(root[t]);
  for (int t = 0; t < tails; ++t) z[element[t]] = v[t];
}

static void normal_chunk(const Normal& op, int64_t sample, int64_t i0, int count) {
  alignas(64) uint32_t high[kChunk], low[kChunk];
  alignas(64) double mean[kChunk], deviation[kChunk], z[kChunk];
  SampleKey key = op.key;
  key.sample += static_cast<uint32_t>(sample);
  stream_words(key, NORMAL, static_cast<uint32_t>(i0), count, high);
  stream_words(key, NORMAL_REFINE, static_cast<uint32_t>(i0), count, low);
  normal_magnitudes(count, high, low, mean, z);
  load(op.mean, sample, i0, count, mean);
  load(op.deviation, sample, i0, count, deviation);
  for (int e = 0; e < count; ++e) z[e] = mean[e] + deviation[e] * with_sign(z[e], high[e]);
  store(op.out, sample, i0, count, z);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
