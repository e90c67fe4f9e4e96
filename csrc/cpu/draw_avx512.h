// Body for AVX-512: Philox in 64-bit lanes (eight blocks a vector), 32 elements a vector of 16-bit lanes, thresholds
// looked up by vpermw and vpermi2w from level-ordered tables.

struct Keys {  // everything of the counter and key that is the same for a whole sample, one vector each
  __m512i sample, call, c3, k0[10], k1[10];
};

static inline void make_keys(Keys& keys, const SampleKey& key, uint32_t stream) {
  keys.sample = _mm512_set1_epi64(key.sample);
  keys.call = _mm512_set1_epi64(key.call);
  keys.c3 = _mm512_set1_epi64(static_cast<int64_t>(stream) << 24);
  uint32_t k0 = key.seed_low, k1 = key.seed_high;
  for (int round = 0; round < 10; ++round, k0 += kPhiloxW0, k1 += kPhiloxW1) {
    keys.k0[round] = _mm512_set1_epi64(k0);
    keys.k1[round] = _mm512_set1_epi64(k1);
  }
}

// Eight blocks. `even` holds w1 | w0 << 32 and `odd` w3 | w2 << 32 in each 64-bit lane. The upper halves of the lanes carry
// rubbish between rounds: vpmuludq does not read them.
static inline void philox8(const Keys& keys, __m512i block, __m512i& even, __m512i& odd) {
  const __m512i m0 = _mm512_set1_epi64(kPhiloxM0), m1 = _mm512_set1_epi64(kPhiloxM1);
  __m512i x0 = block, x1 = keys.sample, x2 = keys.call, x3 = keys.c3;
#pragma GCC unroll 9
  for (int round = 0; round < 9; ++round) {
    const __m512i p0 = _mm512_mul_epu32(m0, x0), p1 = _mm512_mul_epu32(m1, x2);
    x0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), x1, keys.k0[round], 0x96);
    x2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), x3, keys.k1[round], 0x96);
    x1 = p1;
    x3 = p0;
  }
  const __m512i p0 = _mm512_mul_epu32(m0, x0), p1 = _mm512_mul_epu32(m1, x2);
  even = _mm512_xor_si512(p1, _mm512_slli_epi64(_mm512_xor_si512(x1, keys.k0[9]), 32));
  odd = _mm512_xor_si512(p0, _mm512_slli_epi64(_mm512_xor_si512(x3, keys.k1[9]), 32));
}

static inline __m512i table32(const WindowSearch& s, int at) {
  return _mm512_load_si512(reinterpret_cast<const __m512i*>(s.level + at));
}

static inline __m512i lookup64(const WindowSearch& s, int at, __m512i index) {
  return _mm512_permutex2var_epi16(table32(s, at), index, table32(s, at + 32));
}

// Number of thresholds of row `row` below u, within the window. `flagged` collects lanes that need the exact search.
template <int Levels>
static inline __m512i search32(const WindowSearch& s, __m512i row, __m512i u, __mmask32& flagged) {
  __m512i index = row, next = _mm512_set1_epi16(-1);
  __mmask32 left[kMaxLevels];
#pragma GCC unroll 6
  for (int level = 0; level < Levels; ++level) {
    __m512i t;
    if (level == 0) {
      t = _mm512_permutexvar_epi16(index, _mm512_broadcast_i64x4(*reinterpret_cast<const __m256i*>(s.level + 16)));
    } else if (level == 1) {
      t = _mm512_permutexvar_epi16(index, table32(s, 32));
    } else if (level == 2) {
      t = lookup64(s, 64, index);
    } else if (level == 3) {
      t = _mm512_mask_blend_epi16(left[2], lookup64(s, 128, index), lookup64(s, 192, index));
    } else if (level == 4) {
      const __m512i t0 = _mm512_mask_blend_epi16(left[2], lookup64(s, 256, index), lookup64(s, 320, index));
      const __m512i t1 = _mm512_mask_blend_epi16(left[2], lookup64(s, 384, index), lookup64(s, 448, index));
      t = _mm512_mask_blend_epi16(left[3], t0, t1);
    } else {
      __m512i half[2];
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const int at = 512 + 256 * h;
        const __m512i t0 = _mm512_mask_blend_epi16(left[2], lookup64(s, at, index), lookup64(s, at + 64, index));
        const __m512i t1 = _mm512_mask_blend_epi16(left[2], lookup64(s, at + 128, index), lookup64(s, at + 192, index));
        half[h] = _mm512_mask_blend_epi16(left[3], t0, t1);
      }
      t = _mm512_mask_blend_epi16(left[4], half[0], half[1]);
    }
    left[level] = _mm512_cmple_epu16_mask(u, t);
    next = _mm512_mask_mov_epi16(next, left[level], t);
    index = _mm512_mask_add_epi16(index, left[level], index, _mm512_set1_epi16(static_cast<int16_t>(16 << level)));
  }
  const __m512i path = _mm512_srli_epi16(index, 4);
  const uint16_t* counts = kPathCounts.of[Levels];
  __m512i k = Levels <= 5 ? _mm512_permutexvar_epi16(path, _mm512_load_si512(counts))
                          : _mm512_permutex2var_epi16(_mm512_load_si512(counts), path, _mm512_load_si512(counts + 32));
  k = _mm512_add_epi16(k, _mm512_permutexvar_epi16(row, _mm512_load_si512(s.first)));
  const __m512i from_lowest = _mm512_sub_epi16(u, _mm512_set1_epi16(static_cast<int16_t>(s.lowest)));
  flagged |= _mm512_cmpeq_epi16_mask(next, u) |
             _mm512_cmpgt_epu16_mask(from_lowest, _mm512_set1_epi16(static_cast<int16_t>(s.span)));
  return k;
}

template <int Upper, int Lower>
static void draw_blocks(const DrawTable& table, const Keys& keys, uint32_t i0, int count, const uint8_t* n, uint8_t* k,
                        uint16_t* u1, uint16_t* u2, uint64_t* flagged) {
  // Within 128 bits: the words of blocks 2t and 2t + 1 to elements 8t .. 8t + 7.
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
  __m512i block = _mm512_add_epi64(_mm512_set1_epi64(i0 / 4), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
  const __m512i eight = _mm512_set1_epi64(8), low4 = _mm512_set1_epi16(15);
  const bool mirrored = table.prob.mirrored;
  for (int at = 0; at < count; at += 64) {
    __m512i v1[2], v2[2];
    philox8(keys, block, v1[0], v2[0]);
    block = _mm512_add_epi64(block, eight);
    philox8(keys, block, v1[1], v2[1]);
    block = _mm512_add_epi64(block, eight);
    uint64_t flags = 0;
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      v1[half] = _mm512_shuffle_epi8(v1[half], order);
      v2[half] = _mm512_shuffle_epi8(v2[half], order);
      const __m512i n16 = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(n + at + 32 * half)));
      __mmask32 flag = 0;
      __m512i sum = search32<Lower>(table.lower, _mm512_and_si512(n16, low4), v2[half], flag);
      if (Upper > 0) sum = _mm512_add_epi16(sum, search32<Upper>(table.upper, _mm512_srli_epi16(n16, 4), v1[half], flag));
      if (mirrored) sum = _mm512_sub_epi16(n16, sum);
      _mm512_storeu_si512(u1 + at + 32 * half, v1[half]);
      _mm512_storeu_si512(u2 + at + 32 * half, v2[half]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(k + at + 32 * half), _mm512_cvtepi16_epi8(sum));
      flags |= static_cast<uint64_t>(flag) << (32 * half);
    }
    flagged[at / 64] = flags;
  }
}

typedef void (*DrawBlocks)(const DrawTable&, const Keys&, uint32_t, int, const uint8_t*, uint8_t*, uint16_t*, uint16_t*, uint64_t*);
#define FB_LOWER(U) draw_blocks<U, 1>, draw_blocks<U, 2>, draw_blocks<U, 3>, draw_blocks<U, 4>
static const DrawBlocks kDrawBlocks[kMaxLevels + 1][4] = {{FB_LOWER(0)}, {FB_LOWER(1)}, {FB_LOWER(2)}, {FB_LOWER(3)},
                                                          {FB_LOWER(4)}, {FB_LOWER(5)}, {FB_LOWER(6)}};
#undef FB_LOWER

void draw_chunk(const DrawTable& table, const SampleKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0,
                int count, const uint8_t* n, uint8_t* k) {
  if (trivial_draw(table, count, n, k)) return;
  alignas(64) uint16_t u1[kChunk], u2[kChunk];
  uint64_t flagged[kChunk / 64];
  Keys keys;
  make_keys(keys, key, stream);
  kDrawBlocks[table.upper.levels][table.lower.levels - 1](table, keys, i0, count, n, k, u1, u2, flagged);
  for (int at = 0; at < count; at += 64)
    for (uint64_t flags = flagged[at / 64]; flags != 0; flags &= flags - 1) {
      const int i = at + __builtin_ctzll(flags);
      if (i < count) k[i] = exact_draw(table, key, stream_refine, i0 + i, Primary{u1[i], u2[i]}, n[i]);
    }
}

void rounding_words(const SampleKey& key, uint32_t i0, int count, uint32_t* words) {
  Keys keys;
  make_keys(keys, key, ROUNDING);
  __m512i block = _mm512_add_epi64(_mm512_set1_epi64(i0 / 4), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  for (int at = 0; at < count; at += 32) {
    __m512i even, odd;
    philox8(keys, block, even, odd);
    block = _mm512_add_epi64(block, _mm512_set1_epi64(8));
    const __m512i w01 = _mm512_rol_epi64(even, 32), w23 = _mm512_rol_epi64(odd, 32);
    const __m512i b0 = _mm512_unpacklo_epi64(w01, w23), b1 = _mm512_unpackhi_epi64(w01, w23);  // blocks 0 2 4 6, 1 3 5 7
    _mm512_storeu_si512(words + at, _mm512_permutex2var_epi64(b0, low, b1));
    _mm512_storeu_si512(words + at + 16, _mm512_permutex2var_epi64(b0, high, b1));
  }
}
