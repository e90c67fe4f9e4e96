// Body for AVX-512, after draw_avx512.h: the high words of a trial, sixteen blocks at a time.

void trial_words(const SampleKey& key, uint32_t stream, uint32_t sub, const uint32_t* i, int m, uint32_t* u, uint32_t* v) {
  Keys keys;
  make_keys(keys, key, stream, sub);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  for (int at = 0; at < m; at += 16) {
    const __m512i blocks = _mm512_loadu_si512(i + at);
    __m512i even[2], rest[2];
    Rounds r[2] = {start_rounds(keys, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(blocks))),
                   start_rounds(keys, _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(blocks, 1)))};
    run_both<2, 9>(keys, r);
    finish_rounds(keys, r[0], even[0], rest[0]);
    finish_rounds(keys, r[1], even[1], rest[1]);
    _mm512_storeu_si512(u + at, _mm512_permutex2var_epi32(even[0], odd, even[1]));
    _mm512_storeu_si512(v + at, _mm512_permutex2var_epi32(rest[0], odd, rest[1]));
  }
}
