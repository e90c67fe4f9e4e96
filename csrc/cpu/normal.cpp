// normal: out = mean + std z, element by element, z standard normal
#if !defined(FB_ISA)

#include "fastblackout/normal.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/normal.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(normal_chunk, Normal)

void normal(const Normal& op) {
  check_given(op, "normal", "mean", op.mean, Rule::number, 0.0);
  check_given(op, "normal", "std", op.deviation, Rule::nonnegative, kLargest);
  draw_seed(op);
  for_chunks(rows_as_one(op), normal_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/normal.inc"

static void normal_chunk(const Normal& op, int64_t sample, int64_t i0, int count) {
  alignas(64) uint32_t high[kChunk], low[kChunk];
  alignas(64) double mean[kChunk], deviation[kChunk], z[kChunk];
  const DrawKey key = key_of(op, sample);
  stream_words(key, NORMAL, static_cast<uint32_t>(i0), count, high);
  stream_words(key, NORMAL_REFINE, static_cast<uint32_t>(i0), count, low);
  normal_magnitudes(count, high, low, mean, z);
  load_given(op.mean, sample, i0, count, mean);
  load_given(op.deviation, sample, i0, count, deviation);
  for (int e = 0; e < count; ++e) z[e] = mean[e] + deviation[e] * with_sign(z[e], high[e]);
  store(op.out, sample, i0, count, z);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
