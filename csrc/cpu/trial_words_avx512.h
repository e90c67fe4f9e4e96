// Body for AVX-512, after draw_avx512.h: the high words of a trial, sixteen blocks at a time.

template <int Round>
static inline void run_in_turns(const Keys& keys, Rounds* r) {
  run_rounds<Round, Round + 1>(keys, r[0]);
  run_rounds<Round, Round + 1>(keys, r[1]);
  if constexpr (Round < 8) run_in_turns<Round + 1>(keys, r);
}

// What the first two rounds make of the parts of the counter that all blocks share.
struct Opening {
  __m512i c3_k1, x1_k0, p0, p0_k1;

  Opening(const SampleKey& key, uint32_t c3) {
    const uint64_t p1 = static_cast<uint64_t>(kPhiloxM1) * key.call;
    const uint32_t x0 = static_cast<uint32_t>(p1 >> 32) ^ key.sample ^ key.seed_low, second_k1 = key.seed_high + kPhiloxW1;
    const uint64_t second = static_cast<uint64_t>(kPhiloxM0) * x0;
    c3_k1 = _mm512_set1_epi64(c3 ^ key.seed_high);
    x1_k0 = _mm512_set1_epi64(static_cast<uint32_t>(p1) ^ (key.seed_low + kPhiloxW0));
    p0 = _mm512_set1_epi64(static_cast<int64_t>(second));
    p0_k1 = _mm512_set1_epi64(static_cast<uint32_t>(second >> 32) ^ second_k1);
  }
  Rounds after_two(__m512i block) const {
    const __m512i first = _mm512_mul_epu32(_mm512_set1_epi64(kPhiloxM0), block);
    const __m512i p1 = _mm512_mul_epu32(_mm512_set1_epi64(kPhiloxM1), _mm512_xor_si512(_mm512_srli_epi64(first, 32), c3_k1));
    return Rounds{_mm512_xor_si512(_mm512_srli_epi64(p1, 32), x1_k0), p1, _mm512_xor_si512(first, p0_k1), p0};
  }
};

void trial_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint32_t* u, uint32_t* v) {
  Keys keys;
  make_keys(keys, key, stream, sub);
  const Opening opening(key, stream << 24 | sub);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  for (int at = 0; at < m; at += 16) {
    const __m512i blocks = _mm512_loadu_si512(i + at);
    __m512i even[2], rest[2];
    Rounds r[2] = {opening.after_two(_mm512_cvtepu32_epi64(_mm512_castsi512_si256(blocks))),
                   opening.after_two(_mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(blocks, 1)))};
    run_in_turns<2>(keys, r);
    finish_rounds(keys, r[0], even[0], rest[0]);
    finish_rounds(keys, r[1], even[1], rest[1]);
    _mm512_storeu_si512(u + at, _mm512_permutex2var_epi32(even[0], odd, even[1]));
    _mm512_storeu_si512(v + at, _mm512_permutex2var_epi32(rest[0], odd, rest[1]));
  }
}
