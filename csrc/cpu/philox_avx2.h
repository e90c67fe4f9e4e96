// Body for AVX2: Philox in 64-bit lanes, four blocks a vector and two vectors in turns, and the words of a sample. FB_INLINE ends in
// draw_narrow.h.

#define FB_INLINE static inline __attribute__((always_inline))

// As in philox_avx512.h, on vectors half as wide: what is the same for a whole sample, and the keys of the rounds.
struct Keys {
  __m256i c3_k1, x1_k0, p0, p0_k1, k0[10], k1[10];
};

static inline void make_keys(Keys& keys, const SampleKey& key, uint32_t c3) {
  const uint64_t p1 = static_cast<uint64_t>(kPhiloxM1) * key.call;
  const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * (static_cast<uint32_t>(p1 >> 32) ^ key.sample ^ key.seed_low);
  keys.c3_k1 = _mm256_set1_epi64x(c3 ^ key.seed_high);
  keys.x1_k0 = _mm256_set1_epi64x(static_cast<uint32_t>(p1) ^ (key.seed_low + kPhiloxW0));
  keys.p0 = _mm256_set1_epi64x(static_cast<int64_t>(p0));
  keys.p0_k1 = _mm256_set1_epi64x(static_cast<uint32_t>(p0 >> 32) ^ (key.seed_high + kPhiloxW1));
  uint32_t k0 = key.seed_low, k1 = key.seed_high;
  for (int round = 0; round < 10; ++round, k0 += kPhiloxW0, k1 += kPhiloxW1) {
    keys.k0[round] = _mm256_set1_epi64x(k0);
    keys.k1[round] = _mm256_set1_epi64x(k1);
  }
}

// Philox of eight blocks in 64-bit lanes under way; between rounds the upper halves carry rubbish.
struct Rounds {
  __m256i x0[2], x1[2], x2[2], x3[2];
};

// After the first two.
FB_INLINE void start_rounds(const Keys& keys, const __m256i* block, Rounds& r) {
  const __m256i m0 = _mm256_set1_epi64x(kPhiloxM0), m1 = _mm256_set1_epi64x(kPhiloxM1);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m256i first = _mm256_mul_epu32(m0, block[h]);
    r.x1[h] = _mm256_mul_epu32(m1, _mm256_xor_si256(_mm256_srli_epi64(first, 32), keys.c3_k1));
    r.x0[h] = _mm256_xor_si256(_mm256_srli_epi64(r.x1[h], 32), keys.x1_k0);
    r.x2[h] = _mm256_xor_si256(first, keys.p0_k1);
    r.x3[h] = keys.p0;
  }
}

template <int From, int To>
FB_INLINE void run_rounds(const Keys& keys, Rounds& r) {
  const __m256i m0 = _mm256_set1_epi64x(kPhiloxM0), m1 = _mm256_set1_epi64x(kPhiloxM1);
#pragma GCC unroll 8
  for (int round = From; round < To; ++round)
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256i p0 = _mm256_mul_epu32(m0, r.x0[h]), p1 = _mm256_mul_epu32(m1, r.x2[h]);
      r.x0[h] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(r.x1[h], keys.k0[round]));
      r.x2[h] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(r.x3[h], keys.k1[round]));
      r.x1[h] = p1;
      r.x3[h] = p0;
    }
}

// The last round: `even` gets w1 | w0 << 32 and `odd` w3 | w2 << 32.
FB_INLINE void finish_rounds(const Keys& keys, const Rounds& r, __m256i* even, __m256i* odd) {
  const __m256i m0 = _mm256_set1_epi64x(kPhiloxM0), m1 = _mm256_set1_epi64x(kPhiloxM1);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m256i t1 = _mm256_xor_si256(r.x1[h], keys.k0[9]), t3 = _mm256_xor_si256(r.x3[h], keys.k1[9]);
    even[h] = _mm256_xor_si256(_mm256_mul_epu32(m1, r.x2[h]), _mm256_slli_epi64(t1, 32));
    odd[h] = _mm256_xor_si256(_mm256_mul_epu32(m0, r.x0[h]), _mm256_slli_epi64(t3, 32));
  }
}

FB_INLINE void philox8(const Keys& keys, const __m256i* block, __m256i* even, __m256i* odd) {
  Rounds r;
  start_rounds(keys, block, r);
  run_rounds<2, 9>(keys, r);
  finish_rounds(keys, r, even, odd);
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

void stream_words(const SampleKey& key, uint32_t stream, uint32_t i0, int count, uint32_t* words) {
  Keys keys;
  make_keys(keys, key, stream << 24);
  BlockRun run(i0 / 4);
  for (int at = 0; at < count; at += 32, run.advance()) {
    __m256i even[2], odd[2];
    philox8(keys, run.block, even, odd);
    for (int h = 0; h < 2; ++h) {
      const __m256i w01 = _mm256_shuffle_epi32(even[h], 0xb1), w23 = _mm256_shuffle_epi32(odd[h], 0xb1);
      const __m256i b0 = _mm256_unpacklo_epi64(w01, w23), b1 = _mm256_unpackhi_epi64(w01, w23);  // blocks 0 2, 1 3
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + at + 16 * h), _mm256_permute2x128_si256(b0, b1, 0x20));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + at + 16 * h + 8), _mm256_permute2x128_si256(b0, b1, 0x31));
    }
  }
}

// Words of eight elements.
static inline void words_of(const Keys& keys, const uint32_t* i, __m256i* even, __m256i* odd) {
  __m256i block[2];
  for (int h = 0; h < 2; ++h) block[h] = _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(i + 4 * h)));
  philox8(keys, block, even, odd);
}

void element_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint64_t* high, uint64_t* low) {
  Keys keys;
  make_keys(keys, key, stream << 24 | sub);
  for (int at = 0; at < m; at += 8) {
    __m256i even[2], odd[2];
    words_of(keys, i + at, even, odd);
    for (int h = 0; h < 2; ++h) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + at + 4 * h), even[h]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + at + 4 * h), odd[h]);
    }
  }
}

void trial_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint32_t* u, uint32_t* v) {
  Keys keys;
  make_keys(keys, key, stream << 24 | sub);
  for (int at = 0; at < m; at += 8) {
    __m256i even[2], odd[2];
    words_of(keys, i + at, even, odd);
    // of each pair of lanes the upper words, which leaves the elements in the order 0 1 4 5 2 3 6 7
    const __m256i first = _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(even[0]), _mm256_castsi256_ps(even[1]), 0xdd));
    const __m256i second = _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(odd[0]), _mm256_castsi256_ps(odd[1]), 0xdd));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(u + at), _mm256_permute4x64_epi64(first, 0xd8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(v + at), _mm256_permute4x64_epi64(second, 0xd8));
  }
}
