// Body for scalar and AVX2: primary bits of a chunk into buffers, then the same windows searched one element at a time
// (scalar) or eight at a time by gathers (AVX2).

#if FB_ISA_LEVEL == 1

// Four blocks in 64-bit lanes; see draw_avx512.h. `even` is w1 | w0 << 32, `odd` w3 | w2 << 32. The first two rounds fold
// what all blocks share.
static inline void philox4(const SampleKey& key, uint32_t c3, __m256i block, __m256i& even, __m256i& odd) {
  const __m256i m0 = _mm256_set1_epi64x(kPhiloxM0), m1 = _mm256_set1_epi64x(kPhiloxM1);
  uint32_t k0 = key.seed_low, k1 = key.seed_high;
  const uint64_t shared_1 = static_cast<uint64_t>(kPhiloxM1) * key.call;
  const uint64_t shared_0 = static_cast<uint64_t>(kPhiloxM0) * (static_cast<uint32_t>(shared_1 >> 32) ^ key.sample ^ k0);
  const __m256i first = _mm256_mul_epu32(m0, block);
  __m256i x1 = _mm256_mul_epu32(m1, _mm256_xor_si256(_mm256_srli_epi64(first, 32), _mm256_set1_epi64x(c3 ^ k1)));
  k0 += kPhiloxW0;
  k1 += kPhiloxW1;
  __m256i x0 = _mm256_xor_si256(_mm256_srli_epi64(x1, 32), _mm256_set1_epi64x(static_cast<uint32_t>(shared_1) ^ k0));
  __m256i x2 = _mm256_xor_si256(first, _mm256_set1_epi64x(static_cast<uint32_t>(shared_0 >> 32) ^ k1));
  __m256i x3 = _mm256_set1_epi64x(static_cast<int64_t>(shared_0));
#pragma GCC unroll 8
  for (int round = 2; round < 10; ++round) {
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
    const __m256i p0 = _mm256_mul_epu32(m0, x0), p1 = _mm256_mul_epu32(m1, x2);
    const __m256i t1 = _mm256_xor_si256(x1, _mm256_set1_epi64x(k0)), t3 = _mm256_xor_si256(x3, _mm256_set1_epi64x(k1));
    if (round == 9) {
      even = _mm256_xor_si256(p1, _mm256_slli_epi64(t1, 32));
      odd = _mm256_xor_si256(p0, _mm256_slli_epi64(t3, 32));
    } else {
      x0 = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), t1);
      x2 = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), t3);
      x1 = p1;
      x3 = p0;
    }
  }
}

static inline void primary_chunk(const SampleKey& key, uint32_t stream, uint32_t i0, int count, uint16_t* u1, uint16_t* u2) {
  const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
  __m256i block = _mm256_add_epi64(_mm256_set1_epi64x(i0 / 4), _mm256_setr_epi64x(0, 1, 2, 3));
  for (int at = 0; at < count; at += 16) {
    __m256i even, odd;
    philox4(key, stream << 24, block, even, odd);
    block = _mm256_add_epi64(block, _mm256_set1_epi64x(4));
    _mm256_store_si256(reinterpret_cast<__m256i*>(u1 + at), _mm256_shuffle_epi8(even, order));
    _mm256_store_si256(reinterpret_cast<__m256i*>(u2 + at), _mm256_shuffle_epi8(odd, order));
  }
}

void stream_words(const SampleKey& key, uint32_t stream, uint32_t i0, int count, uint32_t* words) {
  __m256i block = _mm256_add_epi64(_mm256_set1_epi64x(i0 / 4), _mm256_setr_epi64x(0, 1, 2, 3));
  for (int at = 0; at < count; at += 16) {
    __m256i even, odd;
    philox4(key, stream << 24, block, even, odd);
    block = _mm256_add_epi64(block, _mm256_set1_epi64x(4));
    const __m256i w01 = _mm256_shuffle_epi32(even, 0xb1), w23 = _mm256_shuffle_epi32(odd, 0xb1);
    const __m256i b0 = _mm256_unpacklo_epi64(w01, w23), b1 = _mm256_unpackhi_epi64(w01, w23);  // blocks 0 2, 1 3
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + at), _mm256_permute2x128_si256(b0, b1, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + at + 8), _mm256_permute2x128_si256(b0, b1, 0x31));
  }
}

void element_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint64_t* high, uint64_t* low) {
  for (int at = 0; at < m; at += 4) {
    __m256i even, odd;
    philox4(key, stream << 24 | sub, _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(i + at))), even, odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + at), even);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + at), odd);
  }
}

void trial_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint32_t* u, uint32_t* v) {
  const __m256i odd = _mm256_setr_epi32(1, 3, 5, 7, 1, 3, 5, 7);
  for (int at = 0; at < m; at += 4) {
    __m256i even, rest;
    philox4(key, stream << 24 | sub, _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(i + at))), even, rest);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(u + at), _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(even, odd)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(v + at), _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(rest, odd)));
  }
}

// Eight searches at once. Adds the counts found to `sum` and the lanes to redo exactly to `redo`.
static inline void search8(const WindowSearch& s, __m256i row, __m256i u, __m256i& sum, __m256i& redo) {
  const __m256i low16 = _mm256_set1_epi32(0xffff);
  const int* level0 = reinterpret_cast<const int*>(s.level);
  __m256i index = row, next = low16, count = _mm256_setzero_si256();
  for (int level = 0; level < s.levels; ++level) {
    const __m256i at = _mm256_add_epi32(index, _mm256_set1_epi32(16 << level));
    const __m256i t = _mm256_and_si256(_mm256_i32gather_epi32(level0, at, 2), low16);
    const __m256i right = _mm256_cmpgt_epi32(u, t);
    next = _mm256_blendv_epi8(t, next, right);
    count = _mm256_add_epi32(count, _mm256_and_si256(right, _mm256_set1_epi32(1 << (s.levels - 1 - level))));
    index = _mm256_add_epi32(index, _mm256_andnot_si256(right, _mm256_set1_epi32(16 << level)));
  }
  const __m256i first = _mm256_and_si256(_mm256_i32gather_epi32(reinterpret_cast<const int*>(s.first), row, 2), low16);
  sum = _mm256_add_epi32(sum, _mm256_add_epi32(count, first));
  const __m256i from_lowest = _mm256_and_si256(_mm256_sub_epi32(u, _mm256_set1_epi32(s.lowest)), low16);
  redo = _mm256_or_si256(redo, _mm256_or_si256(_mm256_cmpeq_epi32(next, u), _mm256_cmpgt_epi32(from_lowest, _mm256_set1_epi32(s.span))));
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

static inline int search1(const WindowSearch& s, int row, int u, bool& redo) {
  int index = row, next = 65535, count = s.first[row];
  for (int level = 0; level < s.levels; ++level) {
    const int t = s.level[(16 << level) + index];
    const bool left = u <= t;
    next = left ? t : next;
    index += left ? 16 << level : 0;
    count += left ? 0 : 1 << (s.levels - 1 - level);
  }
  redo |= next == u || static_cast<uint16_t>(u - s.lowest) > s.span;
  return count;
}

#endif

void draw_chunk(const DrawTable& table, const SampleKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0,
                int count, const uint8_t* n, uint8_t* k) {
  if (trivial_draw(table, count, n, k)) return;
  alignas(64) uint16_t u1[kDrawChunk], u2[kDrawChunk];
  primary_chunk(key, stream, i0, count, u1, u2);
  const bool upper = table.upper.levels > 0, mirrored = table.prob.mirrored;
#if FB_ISA_LEVEL == 1
  for (int at = 0; at < count; at += 8) {
    const __m256i n8 = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(n + at)));
    const __m256i v1 = _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(u1 + at)));
    const __m256i v2 = _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(u2 + at)));
    __m256i sum = _mm256_setzero_si256(), redo = _mm256_setzero_si256();
    search8(table.lower, _mm256_and_si256(n8, _mm256_set1_epi32(15)), v2, sum, redo);
    if (upper) search8(table.upper, _mm256_srli_epi32(n8, 4), v1, sum, redo);
    if (mirrored) sum = _mm256_sub_epi32(n8, sum);
    const __m128i sum16 = _mm_packus_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(k + at), _mm_packus_epi16(sum16, sum16));
    for (int flags = _mm256_movemask_ps(_mm256_castsi256_ps(redo)); flags != 0; flags &= flags - 1) {
      const int i = at + __builtin_ctz(static_cast<unsigned>(flags));
      if (i < count) k[i] = exact_draw(table, key, stream_refine, i0 + i, Primary{u1[i], u2[i]}, n[i], k[i]);
    }
  }
#else
  for (int i = 0; i < count; ++i) {
    bool redo = false;
    int sum = search1(table.lower, n[i] & 15, u2[i], redo);
    if (upper) sum += search1(table.upper, n[i] >> 4, u1[i], redo);
    if (mirrored) sum = n[i] - sum;
    k[i] = redo ? exact_draw(table, key, stream_refine, i0 + i, Primary{u1[i], u2[i]}, n[i], sum) : static_cast<uint8_t>(sum);
  }
#endif
}
