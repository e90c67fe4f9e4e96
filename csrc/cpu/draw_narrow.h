// Body for scalar and AVX2: primary bits of a block into buffers, then thresholds looked up by the guides, one element at a
// time (scalar) or eight at a time (AVX2).

#if FB_ISA_LEVEL == 1

// Eight blocks in 64-bit lanes of two vectors in turns; see draw_avx512.h. `even` is w1 | w0 << 32, `odd` w3 | w2 << 32. The
// first two rounds fold what all blocks share.
static inline void philox8(const SampleKey& key, uint32_t c3, const __m256i* block, __m256i* even, __m256i* odd) {
  const __m256i m0 = _mm256_set1_epi64x(kPhiloxM0), m1 = _mm256_set1_epi64x(kPhiloxM1);
  uint32_t k0 = key.seed_low, k1 = key.seed_high;
  const uint64_t shared_1 = static_cast<uint64_t>(kPhiloxM1) * key.call;
  const uint64_t shared_0 = static_cast<uint64_t>(kPhiloxM0) * (static_cast<uint32_t>(shared_1 >> 32) ^ key.sample ^ k0);
  __m256i x0[2], x1[2], x2[2], x3[2];
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m256i first = _mm256_mul_epu32(m0, block[h]);
    x1[h] = _mm256_mul_epu32(m1, _mm256_xor_si256(_mm256_srli_epi64(first, 32), _mm256_set1_epi64x(c3 ^ k1)));
    x0[h] = _mm256_xor_si256(_mm256_srli_epi64(x1[h], 32), _mm256_set1_epi64x(static_cast<uint32_t>(shared_1) ^ (k0 + kPhiloxW0)));
    x2[h] = _mm256_xor_si256(first, _mm256_set1_epi64x(static_cast<uint32_t>(shared_0 >> 32) ^ (k1 + kPhiloxW1)));
    x3[h] = _mm256_set1_epi64x(static_cast<int64_t>(shared_0));
  }
  k0 += kPhiloxW0;
  k1 += kPhiloxW1;
#pragma GCC unroll 8
  for (int round = 2; round < 10; ++round) {
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256i p0 = _mm256_mul_epu32(m0, x0[h]), p1 = _mm256_mul_epu32(m1, x2[h]);
      const __m256i t1 = _mm256_xor_si256(x1[h], _mm256_set1_epi64x(k0)), t3 = _mm256_xor_si256(x3[h], _mm256_set1_epi64x(k1));
      if (round == 9) {
        even[h] = _mm256_xor_si256(p1, _mm256_slli_epi64(t1, 32));
        odd[h] = _mm256_xor_si256(p0, _mm256_slli_epi64(t3, 32));
      } else {
        x0[h] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), t1);
        x2[h] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), t3);
        x1[h] = p1;
        x3[h] = p0;
      }
    }
  }
}

// Blocks first, first + 1, ... of eight.
struct BlockRun {
  __m256i block[2];

  explicit BlockRun(uint32_t first) {
    block[0] = _mm256_add_epi64(_mm256_set1_epi64x(first), _mm256_setr_epi64x(0, 1, 2, 3));
    block[1] = _mm256_add_epi64(block[0], _mm256_set1_epi64x(4));
  }
  void advance() {
    block[0] = _mm256_add_epi64(block[0], _mm256_set1_epi64x(8));
    block[1] = _mm256_add_epi64(block[1], _mm256_set1_epi64x(8));
  }
};

// u1 and u2 have room for a multiple of 32.
static inline void primary_chunk(const SampleKey& key, uint32_t stream, uint32_t i0, int count, uint16_t* u1, uint16_t* u2) {
  const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
  BlockRun run(i0 / 4);
  for (int at = 0; at < count; at += 32, run.advance()) {
    __m256i even[2], odd[2];
    philox8(key, stream << 24, run.block, even, odd);
    for (int h = 0; h < 2; ++h) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(u1 + at + 16 * h), _mm256_shuffle_epi8(even[h], order));
      _mm256_store_si256(reinterpret_cast<__m256i*>(u2 + at + 16 * h), _mm256_shuffle_epi8(odd[h], order));
    }
  }
}

void stream_words(const SampleKey& key, uint32_t stream, uint32_t i0, int count, uint32_t* words) {
  BlockRun run(i0 / 4);
  for (int at = 0; at < count; at += 32, run.advance()) {
    __m256i even[2], odd[2];
    philox8(key, stream << 24, run.block, even, odd);
    for (int h = 0; h < 2; ++h) {
      const __m256i w01 = _mm256_shuffle_epi32(even[h], 0xb1), w23 = _mm256_shuffle_epi32(odd[h], 0xb1);
      const __m256i b0 = _mm256_unpacklo_epi64(w01, w23), b1 = _mm256_unpackhi_epi64(w01, w23);  // blocks 0 2, 1 3
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + at + 16 * h), _mm256_permute2x128_si256(b0, b1, 0x20));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + at + 16 * h + 8), _mm256_permute2x128_si256(b0, b1, 0x31));
    }
  }
}

// Words of eight elements.
static inline void words_of(const SampleKey& key, uint32_t c3, const uint32_t* i, __m256i* even, __m256i* odd) {
  __m256i block[2];
  for (int h = 0; h < 2; ++h) block[h] = _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(i + 4 * h)));
  philox8(key, c3, block, even, odd);
}

void element_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint64_t* high, uint64_t* low) {
  for (int at = 0; at < m; at += 8) {
    __m256i even[2], odd[2];
    words_of(key, stream << 24 | sub, i + at, even, odd);
    for (int h = 0; h < 2; ++h) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + at + 4 * h), even[h]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + at + 4 * h), odd[h]);
    }
  }
}

void trial_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint32_t* u, uint32_t* v) {
  for (int at = 0; at < m; at += 8) {
    __m256i even[2], odd[2];
    words_of(key, stream << 24 | sub, i + at, even, odd);
    // of each pair of lanes the upper words, which leaves the elements in the order 0 1 4 5 2 3 6 7
    const __m256i first = _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(even[0]), _mm256_castsi256_ps(even[1]), 0xdd));
    const __m256i second = _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(odd[0]), _mm256_castsi256_ps(odd[1]), 0xdd));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(u + at), _mm256_permute4x64_epi64(first, 0xd8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(v + at), _mm256_permute4x64_epi64(second, 0xd8));
  }
}

// Eight cells.
template <bool Gathers>
static inline __m256i look_up(const uint32_t (*guide)[16], __m256i at) {
  const int* cell = reinterpret_cast<const int*>(guide);
  if constexpr (Gathers) return _mm256_i32gather_epi32(cell, at, 4);
  const __m128i low = _mm256_castsi256_si128(at), high = _mm256_extracti128_si256(at, 1);
  const uint64_t a = static_cast<uint64_t>(_mm_cvtsi128_si64(low)), b = static_cast<uint64_t>(_mm_extract_epi64(low, 1));
  const uint64_t c = static_cast<uint64_t>(_mm_cvtsi128_si64(high)), d = static_cast<uint64_t>(_mm_extract_epi64(high, 1));
  constexpr uint64_t kLow = 0xffffffffu;
  return _mm256_setr_epi32(cell[a & kLow], cell[a >> 32], cell[b & kLow], cell[b >> 32], cell[c & kLow], cell[c >> 32], cell[d & kLow],
                           cell[d >> 32]);
}

// Eight searches at once: adds the counts found to `sum` and to `redo` the lanes that one comparison does not settle.
template <bool Gathers>
static inline void search8(const uint32_t (*guide)[16], __m256i row, __m256i u, __m256i& sum, __m256i& redo) {
  const __m256i at = _mm256_or_si256(_mm256_slli_epi32(_mm256_srli_epi32(u, kGuideShift), 4), row);
  const __m256i cell = look_up<Gathers>(guide, at);
  const __m256i t = _mm256_and_si256(cell, _mm256_set1_epi32(0xffff));
  const __m256i before = _mm256_and_si256(_mm256_srli_epi32(cell, 16), _mm256_set1_epi32(0xff));
  sum = _mm256_add_epi32(sum, _mm256_sub_epi32(before, _mm256_cmpgt_epi32(u, t)));
  const __m256i several = _mm256_cmpgt_epi32(_mm256_srli_epi32(cell, 24), _mm256_set1_epi32(1));
  redo = _mm256_or_si256(redo, _mm256_or_si256(_mm256_cmpeq_epi32(u, t), several));
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

// Thresholds of a row below u; `tie` when it equals one.
static inline int search1(const uint32_t (*guide)[16], const uint16_t (*h)[16], int row, int u, bool& tie) {
  const uint32_t cell = guide[u >> kGuideShift][row];
  int k = static_cast<int>(cell >> 16 & 0xff);
  const int end = k + static_cast<int>(cell >> 24);
  while (k < end && h[k][row] < u) ++k;
  tie |= u == 65535 || (k < end && h[k][row] == u);
  return k;
}

static inline uint8_t draw1(const DrawTable& table, const SampleKey& key, uint32_t stream_refine, uint32_t i, Primary primary, int n) {
  bool tie = false;
  int found = search1(table.guide_lower, table.h_lower, n & 15, static_cast<int>(primary.u2), tie);
  if (n > 15) found += search1(table.guide_upper, table.h_upper, n >> 4, static_cast<int>(primary.u1), tie);
  if (table.prob.mirrored) found = n - found;
  return tie ? exact_draw(table, key, stream_refine, i, primary, n, found) : static_cast<uint8_t>(found);
}

#if FB_ISA_LEVEL == 1
static inline __m256i widen(const uint16_t* from) {
  return _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
}

// Sixteen elements; those from `end` on are drawn too, but not mended.
template <bool Gathers>
static inline void draw16(const DrawTable& table, const SampleKey& key, uint32_t stream_refine, uint32_t i0, int at, int end,
                          const uint16_t* u1, const uint16_t* u2, const uint8_t* n, uint8_t* k) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(n + at));
  __m256i sum[2], redo[2];
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m256i count = _mm256_cvtepu8_epi32(h == 0 ? bytes : _mm_srli_si128(bytes, 8));
    const __m256i v1 = widen(u1 + at + 8 * h), v2 = widen(u2 + at + 8 * h);
    sum[h] = _mm256_setzero_si256();
    redo[h] = _mm256_cmpeq_epi32(_mm256_max_epi32(v1, v2), _mm256_set1_epi32(65535));
    search8<Gathers>(table.guide_lower, _mm256_and_si256(count, _mm256_set1_epi32(15)), v2, sum[h], redo[h]);
    if (table.max_count > 15) search8<Gathers>(table.guide_upper, _mm256_srli_epi32(count, 4), v1, sum[h], redo[h]);
  }
  const __m256i sums = _mm256_permute4x64_epi64(_mm256_packus_epi32(sum[0], sum[1]), 0xd8);
  __m128i drawn = _mm_packus_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  if (table.prob.mirrored) drawn = _mm_sub_epi8(bytes, drawn);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(k + at), drawn);
  int flags = _mm256_movemask_ps(_mm256_castsi256_ps(redo[0])) | _mm256_movemask_ps(_mm256_castsi256_ps(redo[1])) << 8;
  for (; flags != 0; flags &= flags - 1) {
    const int e = at + __builtin_ctz(static_cast<unsigned>(flags));
    if (e < end) k[e] = draw1(table, key, stream_refine, i0 + e, Primary{u1[e], u2[e]}, n[e]);
  }
}
#endif

constexpr int kDrawBlock = 512;  // whose uniforms lie beside the guides in the first-level cache

void draw_chunk(const DrawTable& table, const SampleKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0,
                int count, const uint8_t* n, uint8_t* k) {
  if (trivial_draw(table, count, n, k)) return;
  alignas(64) uint16_t u1[kDrawBlock], u2[kDrawBlock];
  for (int from = 0; from < count; from += kDrawBlock) {
    const int end = count - from < kDrawBlock ? count - from : kDrawBlock;
    primary_chunk(key, stream, i0 + from, end, u1, u2);
#if FB_ISA_LEVEL == 1
    const auto draw = has_fast_gathers ? draw16<true> : draw16<false>;
    for (int at = 0; at < end; at += 16) draw(table, key, stream_refine, i0 + from, at, end, u1, u2, n + from, k + from);
#else
    for (int e = 0; e < end; ++e)
      k[from + e] = draw1(table, key, stream_refine, i0 + from + e, Primary{u1[e], u2[e]}, n[from + e]);
#endif
  }
}
