// Body for AVX-512: Philox in 64-bit lanes, eight blocks a vector, and the words of a sample.

// Always inline: a search or a set of rounds that g++ takes for an object in memory costs twice the time.
#define FB_INLINE static inline __attribute__((always_inline))

// The same in every 64-bit lane: the processor spreads it as it loads it.
struct Lanes {
  uint64_t lane;
  __attribute__((always_inline)) operator __m512i() const { return _mm512_set1_epi64(static_cast<int64_t>(lane)); }
};

// What is the same for a whole sample: the keys of the rounds, and what the first two rounds, and x3_k1 the third, make of the parts
// of the counter that all blocks share.
struct Keys {
  Lanes c3_k1, x1_k0, p0, p0_k1, x3_k1, k0[10], k1[10];
};

// The upper half of each 64-bit lane in both halves; the lower half as the upper, above 0. Shuffles run on every port, shifts
// on two.
FB_INLINE __m512i upper_halves(__m512i x) { return _mm512_shuffle_epi32(x, static_cast<_MM_PERM_ENUM>(0xf5)); }
FB_INLINE __m512i raised(__m512i x) { return _mm512_maskz_shuffle_epi32(0xaaaa, x, static_cast<_MM_PERM_ENUM>(0xa0)); }

constexpr uint64_t kFlipped = 0x8000800080008000u, kFlippedBytes = 0x8080808080808080u;

// flip: exclusively or-ed to what finish_rounds gives.
FB_INLINE void make_keys(Keys& keys, const SampleKey& key, uint32_t stream, uint32_t sub = 0, uint64_t flip = 0) {
  const uint64_t p1 = static_cast<uint64_t>(kPhiloxM1) * key.call;
  const uint32_t x0 = static_cast<uint32_t>(p1 >> 32) ^ key.sample ^ key.seed_low;
  const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * x0;
  keys.c3_k1.lane = (stream << 24 | sub) ^ key.seed_high;
  keys.x1_k0.lane = static_cast<uint32_t>(p1) ^ (key.seed_low + kPhiloxW0);
  keys.p0.lane = p0;
  keys.p0_k1.lane = static_cast<uint32_t>(p0 >> 32) ^ (key.seed_high + kPhiloxW1);
  keys.x3_k1.lane = static_cast<uint32_t>(p0) ^ (key.seed_high + 2 * kPhiloxW1);
  uint32_t k0 = key.seed_low, k1 = key.seed_high;
  for (int round = 0; round < 10; ++round, k0 += kPhiloxW0, k1 += kPhiloxW1) {
    const bool last = round == 9;  // its keys go to the upper halves
    keys.k0[round].lane = last ? static_cast<uint64_t>(k0) << 32 ^ flip : k0;
    keys.k1[round].lane = last ? static_cast<uint64_t>(k1) << 32 ^ flip : k1;
  }
}

// Philox of eight blocks under way. The upper halves of the lanes carry rubbish between rounds: vpmuludq does not read them.
struct Rounds {
  __m512i x0, x1, x2, x3;
};

// After the first two; first: kPhiloxM0 times the numbers of the blocks.
FB_INLINE Rounds start_rounds(const Keys& keys, __m512i first) {
  const __m512i p1 = _mm512_mul_epu32(_mm512_set1_epi64(kPhiloxM1), _mm512_xor_si512(upper_halves(first), keys.c3_k1));
  return Rounds{_mm512_xor_si512(upper_halves(p1), keys.x1_k0), p1, _mm512_xor_si512(first, keys.p0_k1), keys.p0};
}

FB_INLINE Rounds start_blocks(const Keys& keys, __m512i block) {
  return start_rounds(keys, _mm512_mul_epu32(_mm512_set1_epi64(kPhiloxM0), block));
}

// The part of the first three rounds that the sample has no part in; first as above, whose lower words go to the upper halves.
FB_INLINE void share_rounds(const Keys& keys, __m512i first, SharedRounds& shared) {
  const Rounds r = start_rounds(keys, first);
  const __m512i x1_k0 = _mm512_and_si512(_mm512_xor_si512(r.x1, keys.k0[2]), _mm512_set1_epi64(0xffffffff));
  _mm512_store_si512(shared.first_x1, _mm512_or_si512(x1_k0, raised(first)));
  _mm512_store_si512(shared.p0, _mm512_mul_epu32(_mm512_set1_epi64(kPhiloxM0), r.x0));
}

FB_INLINE __m512i load_upper_halves(const uint64_t* x) { return _mm512_loadu_si512(reinterpret_cast<const char*>(x) + 4); }

// After the first three.
FB_INLINE Rounds resume_rounds(const Keys& keys, const SharedRounds& shared) {
  const __m512i first = load_upper_halves(shared.first_x1), x1_k0 = _mm512_load_si512(shared.first_x1);
  const __m512i p1 = _mm512_mul_epu32(_mm512_set1_epi64(kPhiloxM1), _mm512_xor_si512(first, keys.p0_k1));
  return Rounds{_mm512_xor_si512(upper_halves(p1), x1_k0), p1, _mm512_xor_si512(load_upper_halves(shared.p0), keys.x3_k1),
                _mm512_load_si512(shared.p0)};
}

FB_INLINE void one_round(Rounds& r, __m512i k0, __m512i k1) {
  const __m512i m0 = _mm512_set1_epi64(kPhiloxM0), m1 = _mm512_set1_epi64(kPhiloxM1);
  const __m512i p0 = _mm512_mul_epu32(m0, r.x0), p1 = _mm512_mul_epu32(m1, r.x2);
  r.x0 = _mm512_ternarylogic_epi64(upper_halves(p1), r.x1, k0, 0x96);
  r.x2 = _mm512_ternarylogic_epi64(upper_halves(p0), r.x3, k1, 0x96);
  r.x1 = p1;
  r.x3 = p0;
}

template <int From, int To>
FB_INLINE void run_rounds(const Keys& keys, Rounds& r) {
  if constexpr (From < To) {
    one_round(r, keys.k0[From], keys.k1[From]);
    run_rounds<From + 1, To>(keys, r);
  }
}

// Two at once: a key is loaded once for both.
template <int From, int To>
FB_INLINE void run_both(const Keys& keys, Rounds* r) {
  if constexpr (From < To) {
    const __m512i k0 = keys.k0[From], k1 = keys.k1[From];
    one_round(r[0], k0, k1);
    one_round(r[1], k0, k1);
    run_both<From + 1, To>(keys, r);
  }
}

template <int From, int To>
FB_INLINE void run_four(const Keys& keys, Rounds* r) {
  if constexpr (From < To) {
    const __m512i k0 = keys.k0[From], k1 = keys.k1[From];
#pragma GCC unroll 4
    for (int set = 0; set < 4; ++set) one_round(r[set], k0, k1);
    run_four<From + 1, To>(keys, r);
  }
}

// The last round: `even` gets w1 | w0 << 32 and `odd` w3 | w2 << 32 in each 64-bit lane.
FB_INLINE void finish_rounds(const Keys& keys, const Rounds& r, __m512i& even, __m512i& odd) {
  const __m512i m0 = _mm512_set1_epi64(kPhiloxM0), m1 = _mm512_set1_epi64(kPhiloxM1);
  const __m512i p0 = _mm512_mul_epu32(m0, r.x0), p1 = _mm512_mul_epu32(m1, r.x2);
  even = _mm512_ternarylogic_epi64(p1, raised(r.x1), keys.k0[9], 0x96);
  odd = _mm512_ternarylogic_epi64(p0, raised(r.x3), keys.k1[9], 0x96);
}

FB_INLINE void philox8(const Keys& keys, __m512i block, __m512i& even, __m512i& odd) {
  Rounds r = start_blocks(keys, block);
  run_rounds<2, 9>(keys, r);
  finish_rounds(keys, r, even, odd);
}

void stream_words(const SampleKey& key, uint32_t stream, uint32_t i0, int count, uint32_t* words) {
  Keys keys;
  make_keys(keys, key, stream);
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

void element_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint64_t* high, uint64_t* low) {
  Keys keys;
  make_keys(keys, key, stream, sub);
  for (int at = 0; at < m; at += 8) {
    __m512i even, odd;
    philox8(keys, _mm512_cvtepu32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(i + at))), even, odd);
    _mm512_storeu_si512(high + at, even);
    _mm512_storeu_si512(low + at, odd);
  }
}

// The high words of a trial, sixteen blocks at a time.
void trial_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint32_t* u, uint32_t* v) {
  Keys keys;
  make_keys(keys, key, stream, sub);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  for (int at = 0; at < m; at += 16) {
    const __m512i blocks = _mm512_loadu_si512(i + at);
    __m512i even[2], rest[2];
    Rounds r[2] = {start_blocks(keys, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(blocks))),
                   start_blocks(keys, _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(blocks, 1)))};
    run_both<2, 9>(keys, r);
    finish_rounds(keys, r[0], even[0], rest[0]);
    finish_rounds(keys, r[1], even[1], rest[1]);
    _mm512_storeu_si512(u + at, _mm512_permutex2var_epi32(even[0], odd, even[1]));
    _mm512_storeu_si512(v + at, _mm512_permutex2var_epi32(rest[0], odd, rest[1]));
  }
}
