// Body for scalar and AVX2: thresholds looked up by the guides, one element at a time (scalar) or sixteen at a time (AVX2).

#if FB_ISA_LEVEL == 1

#include "cpu/philox_avx2.h"

// Eight cells.
template <bool Gathers>
static inline __m256i look_up(const uint32_t* guide, __m256i at) {
  const int* cell = reinterpret_cast<const int*>(guide);
  if constexpr (Gathers) return _mm256_i32gather_epi32(cell, at, 4);
  const __m128i low = _mm256_castsi256_si128(at), high = _mm256_extracti128_si256(at, 1);
  const uint64_t a = static_cast<uint64_t>(_mm_cvtsi128_si64(low)), b = static_cast<uint64_t>(_mm_extract_epi64(low, 1));
  const uint64_t c = static_cast<uint64_t>(_mm_cvtsi128_si64(high)), d = static_cast<uint64_t>(_mm_extract_epi64(high, 1));
  constexpr uint64_t kLow = 0xffffffffu;
  return _mm256_setr_epi32(cell[a & kLow], cell[a >> 32], cell[b & kLow], cell[b >> 32], cell[c & kLow], cell[c >> 32], cell[d & kLow],
                           cell[d >> 32]);
}

// Sixteen searches under way; of vector h those of elements 4 h .. 4 h + 3 and 8 + 4 h .. 8 + 4 h + 3, as words are unpacked.
struct Searches {
  __m256i before[2];  // thresholds in earlier buckets
  __m256i below[2];   // bytes: minus how many of the three are below the uniform
  __m256i redo[2];    // some byte is not 0: a tie, or a crowded bucket
};

// row, u: words of sixteen elements in order.
template <bool Gathers, bool Fine>
static inline void search16(const uint32_t* guide, __m256i row, __m256i u, Searches& s) {
  __m256i at = _mm256_and_si256(_mm256_srli_epi16(u, 4), _mm256_set1_epi16(0xff0));
  if constexpr (Fine) {
    const __m256i turned = _mm256_add_epi16(u, _mm256_set1_epi16(256));
    const __m256i extreme = _mm256_cmpeq_epi16(_mm256_min_epu16(turned, _mm256_set1_epi16(511)), turned);
    const __m256i fine = _mm256_or_si256(_mm256_and_si256(u, _mm256_set1_epi16(0x1f0)), _mm256_set1_epi16(kCells));
    at = _mm256_blendv_epi8(at, fine, extreme);
  }
  at = _mm256_or_si256(at, row);
  // a lower byte of 255 passes for 254, so that it does not equal what stands for none
  const __m256i low = _mm256_xor_si256(_mm256_min_epu8(u, _mm256_set1_epi16(-2)), _mm256_set1_epi16(0x80)), zero = _mm256_setzero_si256();
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m256i cell = look_up<Gathers>(guide, h == 0 ? _mm256_unpacklo_epi16(at, zero) : _mm256_unpackhi_epi16(at, zero));
    const __m128i three = h == 0 ? _mm_setr_epi8(0, 0, 0, -1, 2, 2, 2, -1, 4, 4, 4, -1, 6, 6, 6, -1)
                                 : _mm_setr_epi8(8, 8, 8, -1, 10, 10, 10, -1, 12, 12, 12, -1, 14, 14, 14, -1);
    const __m256i bytes = _mm256_shuffle_epi8(low, _mm256_broadcastsi128_si256(three));
    s.before[h] = _mm256_add_epi32(s.before[h], _mm256_srli_epi32(cell, 24));
    s.below[h] = _mm256_add_epi8(s.below[h], _mm256_cmpgt_epi8(bytes, cell));
    s.redo[h] = _mm256_or_si256(s.redo[h], _mm256_cmpeq_epi8(bytes, cell));
  }
}

#else

static inline void primary_chunk(const SampleKey& key, uint32_t stream, uint32_t i0, int count, uint16_t* u1, uint16_t* u2) {
  for (int at = 0; at < count; at += 8)
    for (uint32_t odd = 0; odd < 2; ++odd) {
      const Words r = key.words((i0 + at) / 4 + odd, stream);
      for (int j = static_cast<int>(odd); j < 8; j += 2) {
        const uint32_t x = j < 4 ? r.w[1] : r.w[0], y = j < 4 ? r.w[3] : r.w[2];
        u1[at + j] = static_cast<uint16_t>((j & 2) == 0 ? x & 0xffff : x >> 16);
        u2[at + j] = static_cast<uint16_t>((j & 2) == 0 ? y & 0xffff : y >> 16);
      }
    }
}

void stream_words(const SampleKey& key, uint32_t stream, uint32_t i0, int count, uint32_t* words) {
  for (int at = 0; at < count; at += 4) {
    const Words r = key.words((i0 + at) / 4, stream);
    for (int j = 0; j < 4; ++j) words[at + j] = r.w[j];
  }
}

void element_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint64_t* high, uint64_t* low) {
  for (int at = 0; at < m; ++at) {
    const Words r = key.words(i[at], stream, sub);
    high[at] = static_cast<uint64_t>(r.w[0]) << 32 | r.w[1];
    low[at] = static_cast<uint64_t>(r.w[2]) << 32 | r.w[3];
  }
}

#endif

// Thresholds of a row below u; `tie` when it may equal one: the number is then a guess.
template <bool Fine>
static inline int search1(const uint32_t* guide, const uint16_t (*h)[16], int rows, int row, uint32_t u, bool& tie) {
  const uint32_t cell = guide[cells_of<Fine>(u) + static_cast<uint32_t>(row)];
  tie |= u == 65535;
  if (cell >> 24 == 0) {  // crowded
    int k = static_cast<int>(cell & 255);
    while (k < rows && h[k][row] < u) ++k;
    tie |= k < rows && h[k][row] == u;
    return k;
  }
  if ((cell & 0xffffff) == kNoThreshold) return static_cast<int>(cell >> 24) - 1;
  const uint32_t low = (u & 255) < 254 ? u & 255 : 254, bytes = cell ^ 0x808080, apart = (bytes ^ low * 0x010101) & 0xffffff;
  tie |= ((apart - 0x010101) & ~apart & 0x808080) != 0;  // one of the bytes is 0
  return static_cast<int>(cell >> 24) - 1 + ((bytes & 255) < low) + ((bytes >> 8 & 255) < low) + ((bytes >> 16 & 255) < low);
}

static inline uint8_t draw1(const DrawTable& table, const SampleKey& key, uint32_t stream_refine, uint32_t i, Primary primary, int n) {
  bool tie = false;
  const int a = n >> 4, b = n & 15;
  int found = search1<false>(table.guide_lower, table.h_lower, table.rows_lower[b >> 3], b, primary.u2, tie);
  if (a > 0) found += search1<true>(table.guide_upper, table.h_upper, table.rows_upper[a >> 3], a, primary.u1, tie);
  if (table.prob.mirrored) found = n - found;
  return tie ? exact_draw(table, key, stream_refine, i, primary, n, found) : static_cast<uint8_t>(found);
}

#if FB_ISA_LEVEL == 1
static __attribute__((noinline)) void redo16(const DrawTable& table, const SampleKey& key, uint32_t stream_refine, uint32_t i0, int at,
                                             int end, unsigned flags, __m256i v1, __m256i v2, const uint8_t* n, uint8_t* k) {
  alignas(32) uint16_t u1[16], u2[16];
  _mm256_store_si256(reinterpret_cast<__m256i*>(u1), v1);
  _mm256_store_si256(reinterpret_cast<__m256i*>(u2), v2);
  for (; flags != 0; flags &= flags - 1) {
    const int bit = __builtin_ctz(flags), e = at + bit;
    if (e < end) k[e] = draw1(table, key, stream_refine, i0 + static_cast<uint32_t>(e), Primary{u1[bit], u2[bit]}, n[e]);
  }
}

// Sixteen elements; those from `end` on are drawn too, but not mended.
template <bool Gathers>
FB_INLINE void draw16(const DrawTable& table, const SampleKey& key, uint32_t stream_refine, uint32_t i0, int at, int end, __m256i v1,
                      __m256i v2, const uint8_t* n, uint8_t* k) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(n + at));
  const __m256i counts = _mm256_cvtepu8_epi16(bytes), zero = _mm256_setzero_si256();
  const bool both = table.max_count > 15;
  const __m256i start = _mm256_set1_epi32(both ? -2 : -1);  // the cells say one more each
  Searches s = {{start, start}, {zero, zero}, {zero, zero}};
  search16<Gathers, false>(table.guide_lower, _mm256_and_si256(counts, _mm256_set1_epi16(15)), v2, s);
  if (both) search16<Gathers, true>(table.guide_upper, _mm256_srli_epi16(counts, 4), v1, s);
  __m256i sum[2];
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi32(0x010101), s.below[h]);
    sum[h] = _mm256_sub_epi32(s.before[h], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  const __m256i sums = _mm256_packus_epi32(sum[0], sum[1]);
  __m128i drawn = _mm_packus_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  if (table.prob.mirrored) drawn = _mm_sub_epi8(bytes, drawn);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(k + at), drawn);
  const __m256i highest = _mm256_cmpeq_epi16(_mm256_max_epu16(v1, v2), _mm256_set1_epi16(-1));
  const __m256i any = _mm256_or_si256(_mm256_or_si256(s.redo[0], s.redo[1]), highest);
  if (_mm256_testz_si256(any, any)) return;
  const __m256i settled = _mm256_packs_epi32(_mm256_cmpeq_epi32(s.redo[0], zero), _mm256_cmpeq_epi32(s.redo[1], zero));
  const __m256i words = _mm256_andnot_si256(highest, settled);
  const __m128i good = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  redo16(table, key, stream_refine, i0, at, end, 0xffffu & ~static_cast<unsigned>(_mm_movemask_epi8(good)), v1, v2, n, k);
}

// Rounds of the next words go between the draws, whose look-ups use other units: each is a chain of dependent steps.
template <bool Gathers>
static void draw_words(const DrawTable& table, const SampleKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0, int count,
                       const uint8_t* n, uint8_t* k) {
  const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
  Keys keys;
  make_keys(keys, key, stream << 24);
  BlockRun run(i0 / 4);
  Rounds rounds;
  start_rounds(keys, run.block, rounds);
  run_rounds<2, 9>(keys, rounds);
  for (int at = 0; at < count; at += 32) {
    __m256i u1[2], u2[2];
    finish_rounds(keys, rounds, u1, u2);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      u1[h] = _mm256_shuffle_epi8(u1[h], order);
      u2[h] = _mm256_shuffle_epi8(u2[h], order);
    }
    run.advance();
    start_rounds(keys, run.block, rounds);
    run_rounds<2, 4>(keys, rounds);
    draw16<Gathers>(table, key, stream_refine, i0, at, count, u1[0], u2[0], n, k);
    run_rounds<4, 7>(keys, rounds);
    draw16<Gathers>(table, key, stream_refine, i0, at + 16, count, u1[1], u2[1], n, k);
    run_rounds<7, 9>(keys, rounds);
  }
}

#undef FB_INLINE
#endif

void draw_chunk(DrawTable& table, const SampleKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0,
                int count, const uint8_t* n, uint8_t* k, bool) {
  if (trivial_draw(table, count, n, k)) return;
#if FB_ISA_LEVEL == 1
  (has_fast_gathers ? draw_words<true> : draw_words<false>)(table, key, stream, stream_refine, i0, count, n, k);
#else
  constexpr int kDrawBlock = 512;
  uint16_t u1[kDrawBlock], u2[kDrawBlock];
  for (int from = 0; from < count; from += kDrawBlock) {
    const int end = count - from < kDrawBlock ? count - from : kDrawBlock;
    primary_chunk(key, stream, i0 + from, end, u1, u2);
    for (int e = 0; e < end; ++e)
      k[from + e] = draw1(table, key, stream_refine, i0 + from + e, Primary{u1[e], u2[e]}, n[from + e]);
  }
#endif
}
