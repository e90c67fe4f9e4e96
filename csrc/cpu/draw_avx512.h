// Body for AVX-512, after draw_search.h: words, searches and what they found, 64 elements at a time.

// Starts the rounds of the next 64 elements; first: kPhiloxM0 times the numbers of the even blocks before. Philox blocks 2t
// serve the even elements of eight, blocks 2t + 1 the odd ones, both in the order of their words: so vector 0 of a pair draws the
// even elements of 64, vector 1 the odd ones, and bytes need no shuffle.
FB_INLINE void next_rounds(const Keys& keys, Rounds* rounds, __m512i& first) {
  first = _mm512_add_epi64(first, _mm512_set1_epi64(16ll * kPhiloxM0));
  rounds[0] = start_rounds(keys, first);
  rounds[1] = start_rounds(keys, _mm512_add_epi64(first, _mm512_set1_epi64(kPhiloxM0)));
}

// Primary words of 64 elements, and with More the next rounds.
template <bool More>
FB_INLINE void next_words(const Keys& keys, Rounds* rounds, __m512i& first, Pair& u1, Pair& u2, uint16_t (*primary)[kDrawChunk], int at) {
  finish_rounds(keys, rounds[0], u1.v[0], u2.v[0]);
  finish_rounds(keys, rounds[1], u1.v[1], u2.v[1]);
  if constexpr (More) next_rounds(keys, rounds, first);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    _mm512_store_si512(primary[0] + at + 32 * h, u1.v[h]);
    _mm512_store_si512(primary[1] + at + 32 * h, u2.v[h]);
  }
}

struct Bytes {  // of 64 elements, and their rows in the lowest four bits of each lane
  __m512i all;
  Pair a, b;
};

FB_INLINE Bytes load_counts(const uint8_t* n) {
  const __m512i all = _mm512_loadu_si512(n);
  return Bytes{all, {{_mm512_srli_epi16(all, 4), _mm512_srli_epi16(all, 12)}}, {{all, _mm512_srli_epi16(all, 8)}}};
}

// The elements that need the exact search: words of 64, the 32 even ones first, and where they begin.
struct Flagged {
  uint64_t of[kDrawChunk / 64];
  int at[kDrawChunk / 64], words;
};

FB_INLINE void add_flags(Flagged& flagged, uint64_t flags, int at) {
  flagged.of[flagged.words] = flags;
  flagged.at[flagged.words] = at;
  flagged.words += flags != 0;
}

// Stores what both searches of 64 elements found; returns which elements need the exact search.
template <int Upper, int Lower, bool Vbmi>
FB_INLINE uint64_t store_drawn(const DrawTable& table, const Search& upper, const Search& lower, __m512i bytes, uint8_t* k) {
  // compared under a mask, no mask leaves the mask registers
  __mmask32 good[2];
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    __m512i seen = lower.seen.v[h];
    if constexpr (Upper > 0) seen = _mm512_min_epu16(seen, upper.seen.v[h]);
    good[h] = _mm512_test_epi16_mask(seen, seen);
  }
  __m512i drawn = found<Lower, true, Vbmi>(table.lower, lower, good);
  if constexpr (Upper > 0) drawn = _mm512_add_epi8(drawn, found<Upper, (Upper <= kAnchored), Vbmi>(table.upper, upper, good));
  if (table.prob.mirrored) drawn = _mm512_sub_epi8(bytes, drawn);
  _mm512_storeu_si512(k, drawn);
  return ~(static_cast<uint64_t>(good[1]) << 32 | good[0]);
}

// 64 elements, without rounds.
template <int Upper, int Lower, bool Vbmi>
FB_INLINE void draw_64(const DrawTable& table, const Pair& u1, const Pair& u2, const uint8_t* n, uint8_t* k, Flagged& flagged, int at) {
  const Bytes bytes = load_counts(n + at);
  Search upper = start_search(u1, bytes.a, bytes.all), lower = start_search(u2, bytes.b, bytes.all);
  descend<0, Upper, Lower, Vbmi>(table, upper, lower);
  add_flags(flagged, store_drawn<Upper, Lower, Vbmi>(table, upper, lower, bytes.all, k + at), at);
}

template <int Upper, int Lower, bool Vbmi>
static void draw_blocks(const DrawTable& table, const Keys& keys, uint32_t i0, int count, const uint8_t* n, uint8_t* k,
                        uint16_t (*primary)[kDrawChunk], Flagged& flagged) {
  const __m512i before = _mm512_setr_epi64(-16, -14, -12, -10, -8, -6, -4, -2);
  __m512i first = _mm512_mullo_epi64(_mm512_add_epi64(_mm512_set1_epi64(i0 / 4), before), _mm512_set1_epi64(kPhiloxM0));
  Rounds rounds[4];
  next_rounds(keys, rounds, first);
  run_both<2, 9>(keys, rounds);
  int at = 0;
  // With four sets in turns rounds wait less, each a chain of dependent steps: faster but for the longest searches.
  constexpr int kSets = Upper <= 4 && Lower <= 3 ? 4 : 2;
  if constexpr (kSets == 4) {
    next_rounds(keys, rounds + 2, first);
    run_both<2, 9>(keys, rounds + 2);
    for (; at + 128 < count; at += 128) {
      Pair u1[2], u2[2];
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        next_words<true>(keys, rounds + 2 * h, first, u1[h], u2[h], primary, at + 64 * h);
      }
      run_four<2, 4>(keys, rounds);
      draw_64<Upper, Lower, Vbmi>(table, u1[0], u2[0], n, k, flagged, at);
      run_four<4, 7>(keys, rounds);
      draw_64<Upper, Lower, Vbmi>(table, u1[1], u2[1], n, k, flagged, at + 64);
      run_four<7, 9>(keys, rounds);
    }
  } else {
    for (; at + 64 < count; at += 64) {
      Pair u1, u2;
      next_words<true>(keys, rounds, first, u1, u2, primary, at);
      const Bytes bytes = load_counts(n + at);
      Search upper = start_search(u1, bytes.a, bytes.all), lower = start_search(u2, bytes.b, bytes.all);
      descend<0, Upper, Lower, Vbmi>(table, upper, lower, keys, rounds);
      add_flags(flagged, store_drawn<Upper, Lower, Vbmi>(table, upper, lower, bytes.all, k + at), at);
    }
  }
#pragma GCC unroll 2
  for (int set = 0; set < kSets && at < count; set += 2, at += 64) {  // the words that are left
    Pair u1, u2;
    next_words<false>(keys, rounds + set, first, u1, u2, primary, at);
    draw_64<Upper, Lower, Vbmi>(table, u1, u2, n, k, flagged, at);
  }
}

typedef void (*DrawBlocks)(const DrawTable&, const Keys&, uint32_t, int, const uint8_t*, uint8_t*, uint16_t (*)[kDrawChunk], Flagged&);
#define FB_LOWER(U, S) {draw_blocks<U, 1, S>, draw_blocks<U, 2, S>, draw_blocks<U, 3, S>, draw_blocks<U, 4, S>}
#define FB_BOTH(S) \
  {FB_LOWER(0, S), FB_LOWER(1, S), FB_LOWER(2, S), FB_LOWER(3, S), FB_LOWER(4, S), FB_LOWER(5, S), FB_LOWER(6, S)}
static const DrawBlocks kDrawBlocks[2][kMaxLevels + 1][4] = {FB_BOTH(false), FB_BOTH(true)};
#undef FB_BOTH
#undef FB_LOWER

void draw_chunk(const DrawTable& table, const SampleKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0,
                int count, const uint8_t* n, uint8_t* k) {
  if (trivial_draw(table, count, n, k)) return;
  alignas(64) uint16_t primary[2][kDrawChunk];  // u1 and u2, flipped, of 64 elements the 32 even ones first
  Flagged flagged;
  flagged.words = 0;
  Keys keys;
  make_keys(keys, key, stream, 0, kFlipped);
  kDrawBlocks[table.layout == Layout::bytes][table.upper.levels][table.lower.levels - 1](table, keys, i0, count, n, k, primary, flagged);
  for (int word = 0; word < flagged.words; ++word)
    for (uint64_t flags = flagged.of[word]; flags != 0; flags &= flags - 1) {
      const int at = flagged.at[word], bit = __builtin_ctzll(flags), i = at + 2 * (bit & 31) + (bit >> 5);
      if (i < count) k[i] = exact_draw(table, key, stream_refine, i0 + i, Primary{primary[0][at + bit] ^ 0x8000u, primary[1][at + bit] ^ 0x8000u}, n[i], k[i]);
    }
}

#undef FB_INLINE
