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

void check(const Normal& op, const char* argument, const View& view, Rule rule, double limit) {
  Common looked_at = op;
  if (is_one(view) && op.elements > 1) looked_at.elements = 1;
  check_values(looked_at, "normal", argument, view, rule, limit);
}

}  // namespace

void normal(const Normal& op) {
  check(op, "mean", op.mean, Rule::number, 0.0);
  check(op, "std", op.deviation, Rule::nonnegative, kLargest);
  for_chunks(op, normal_chunk);
}

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

// Lists the tails among `count` elements; returns how many.
static int list_tails(int count, const uint32_t* high, int* list) {
  int tails = 0;
#if FB_ISA_LEVEL == 2
  const __m512i step = _mm512_set1_epi32(16), end = _mm512_set1_epi32(kNormalCentre), kept = _mm512_set1_epi32(INT32_MAX);
  __m512i e = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i last = _mm512_set1_epi32(count);
  for (int at = 0; at < count; at += 16, e = _mm512_add_epi32(e, step)) {
    const __m512i below = _mm512_and_si512(kept, _mm512_loadu_si512(high + at));
    const __mmask16 found = _mm512_cmplt_epi32_mask(below, end) & _mm512_cmplt_epi32_mask(e, last);
    _mm512_storeu_si512(list + tails, _mm512_maskz_compress_epi32(found, e));
    tails += __builtin_popcount(found);
  }
#else
  for (int e = 0; e < count; ++e) {
    list[tails] = e;
    tails += below_sign(high[e]) < kNormalCentre;
  }
#endif
  return tails;
}

// |z| of `count` elements, by loops over dense lists that vectorise: all as if they were of the centre, then the tails, 15 of
// 100, as if near, then the far ones among these, 3 of 10^11. v: scratch.
static void normal_magnitudes(int count, const uint32_t* __restrict high, const uint32_t* __restrict low, double* __restrict v,
                              double* __restrict z) {
  for (int e = 0; e < count; ++e) {
    const NormalTail t = normal_tail(high[e], low[e]);
    v[e] = t.v;
    z[e] = normal_centre(t.q);
  }
  int element[kChunk + 16];
  alignas(64) double root[kChunk];
  const int tails = list_tails(count, high, element);
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

// The first `count` values of a sample from i0 on; what is one number for all of them is read once.
static void load_given(const View& view, int64_t sample, int64_t i0, int count, double* __restrict to) {
  load(view, sample, i0, is_one(view) ? 1 : count, to);
  if (!is_one(view)) return;
  const double value = to[0];
  for (int e = 1; e < count; ++e) to[e] = value;
}

static void normal_chunk(const Normal& op, int64_t sample, int64_t i0, int count) {
  alignas(64) uint32_t high[kChunk], low[kChunk];
  alignas(64) double mean[kChunk], deviation[kChunk], z[kChunk];
  SampleKey key = op.key;
  key.sample += static_cast<uint32_t>(sample);
  stream_words(key, NORMAL, static_cast<uint32_t>(i0), count, high);
  stream_words(key, NORMAL_REFINE, static_cast<uint32_t>(i0), count, low);
  normal_magnitudes(count, high, low, mean, z);
  load_given(op.mean, sample, i0, count, mean);
  load_given(op.deviation, sample, i0, count, deviation);
  for (int e = 0; e < count; ++e) z[e] = mean[e] + deviation[e] * with_sign(z[e], high[e]);
  store(op.out, sample, i0, count, z);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
