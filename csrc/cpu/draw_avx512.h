// Body for AVX-512, after draw_search.h: words, searches and what they found, 64 elements at a time.

// Of 64 elements two vectors of Philox blocks: blocks 2t serve the even elements of eight, blocks 2t + 1 the odd ones, both in the
// order of their words: so vector 0 of a pair draws the even elements of 64, vector 1 the odd ones, and bytes need no shuffle.
struct Blocks {
  __m512i first;               // without `shared`: kPhiloxM0 times the numbers of the even blocks of the 64 elements before
  const SharedRounds* shared;  // of the next ones, or null
};

FB_INLINE void advance(__m512i& first) { first = _mm512_add_epi64(first, _mm512_set1_epi64(16ll * kPhiloxM0)); }
FB_INLINE __m512i odd_blocks(__m512i first) { return _mm512_add_epi64(first, _mm512_set1_epi64(kPhiloxM0)); }

// The first three rounds of the next 64 elements.
FB_INLINE void next_rounds(const Keys& keys, Rounds* rounds, Blocks& blocks) {
  if (blocks.shared != nullptr) {
    rounds[0] = resume_rounds(keys, blocks.shared[0]);
    rounds[1] = resume_rounds(keys, blocks.shared[1]);
    blocks.shared += 2;
  } else {
    advance(blocks.first);
    rounds[0] = start_rounds(keys, blocks.first);
    rounds[1] = start_rounds(keys, odd_blocks(blocks.first));
    run_both<2, 3>(keys, rounds);
  }
}

// Primary words of 64 elements, and with More the next rounds.
template <bool More>
FB_INLINE void next_words(const Keys& keys, Rounds* rounds, Blocks& blocks, Pair& u1, Pair& u2, uint16_t (*primary)[kDrawChunk], int at) {
  finish_rounds(keys, rounds[0], u1.v[0], u2.v[0]);
  finish_rounds(keys, rounds[1], u1.v[1], u2.v[1]);
  if constexpr (More) next_rounds(keys, rounds, blocks);
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

// Stores what both searches of 64 elements found; returns which elements need the exact search. seen: of both; Searched: either has
// levels.
template <int Upper, bool Searched, bool Vbmi>
FB_INLINE uint64_t store_drawn(const DrawTable& table, const Search& upper, const Pair& u2, const Pair& seen, __m512i lower_path, uint8_t* k) {
  // compared under a mask, no mask leaves the mask registers
  __mmask32 good[2] = {~0u, ~0u};
  if constexpr (Searched) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) good[h] = _mm512_test_epi16_mask(seen.v[h], seen.v[h]);
  }
  keep_within<true>(table.lower, u2, good);
  keep_within<(Upper <= kAnchored)>(table.upper, upper.u, good);
  __m512i drawn = _mm512_add_epi8(lower_path, path_of<Upper>(upper));
  if constexpr (Upper > kAnchored) drawn = _mm512_add_epi8(drawn, window_starts<Vbmi>(table.upper, upper));
  if (table.prob.mirrored) drawn = _mm512_sub_epi8(upper.counts, drawn);
  _mm512_storeu_si512(k, drawn);
  return ~(static_cast<uint64_t>(good[1]) << 32 | good[0]);
}

FB_INLINE Pair least(const Pair& x, const Pair& y) {
  return Pair{{_mm512_min_epu16(x.v[0], y.v[0]), _mm512_min_epu16(x.v[1], y.v[1])}};
}

// 64 elements, without rounds.
template <int Upper, int Lower, bool Vbmi>
FB_INLINE void draw_64(const DrawTable& table, const Pair& u1, const Pair& u2, const uint8_t* n, uint8_t* k, Flagged& flagged, int at) {
  const Bytes bytes = load_counts(n + at);
  Search upper = start_search(u1, bytes.a, bytes.all), lower = start_search(u2, bytes.b, bytes.all);
  descend<0, Upper, Lower, Vbmi>(table, upper, lower);
  const Pair seen = Upper == 0 ? lower.seen : Lower == 0 ? upper.seen : least(upper.seen, lower.seen);
  add_flags(flagged, store_drawn<Upper, (Upper > 0 || Lower > 0), Vbmi>(table, upper, u2, seen, path_of<Lower>(lower), k + at), at);
}

// A block whose lower rows are searched, and its upper ones through kHead levels. All else is loaded again for the others.
struct Begun {
  Pair index, seen;
  __m512i lower_path;
};

template <int Lower>
FB_INLINE Begun begun(const Search& upper, const Search& lower) {
  return Begun{upper.index, least(upper.seen, lower.seen), path_of<Lower>(lower)};
}

FB_INLINE Pair load_pair(const uint16_t* from) { return Pair{{_mm512_load_si512(from), _mm512_load_si512(from + 32)}}; }

FB_INLINE Search resume_search(const Begun& block, const uint16_t* u1, const uint8_t* n) {
  const Bytes bytes = load_counts(n);
  return Search{load_pair(u1), bytes.a, block.index, block.seen, bytes.all};
}

template <int Upper, bool Vbmi>
FB_INLINE void finish_block(const DrawTable& table, const Search& upper, const Begun& block, const uint16_t* u2, uint8_t* k, Flagged& flagged, int at) {
  add_flags(flagged, store_drawn<Upper, true, Vbmi>(table, upper, load_pair(u2 + at), upper.seen, block.lower_path, k + at), at);
}

// kPhiloxM0 times the numbers of the even blocks of the 64 elements before i0.
FB_INLINE __m512i blocks_before(uint32_t i0) {
  const __m512i before = _mm512_setr_epi64(-16, -14, -12, -10, -8, -6, -4, -2);
  return _mm512_mullo_epi64(_mm512_add_epi64(_mm512_set1_epi64(i0 / 4), before), _mm512_set1_epi64(kPhiloxM0));
}

template <int Upper, int Lower, bool Vbmi>
static void draw_blocks(const DrawTable& table, const Keys& keys, uint32_t i0, int count, const uint8_t* n, uint8_t* k,
                        uint16_t (*primary)[kDrawChunk], Flagged& flagged, const SharedRounds* shared) {
  Blocks blocks{blocks_before(i0), shared};
  Rounds rounds[4];
  next_rounds(keys, rounds, blocks);
  run_both<3, 9>(keys, rounds);
  int at = 0;
  // Every set of rounds and every search is a chain of dependent steps, and the processor looks only about a hundred vector
  // instructions ahead: four sets in turns, or a long search in two iterations, wait less.
  constexpr int kSets = Upper <= kHead ? 4 : 2;
  if constexpr (kSets == 4) {
    next_rounds(keys, rounds + 2, blocks);
    run_both<3, 9>(keys, rounds + 2);
    for (; at + 128 < count; at += 128) {
      Pair u1[2], u2[2];
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        next_words<true>(keys, rounds + 2 * h, blocks, u1[h], u2[h], primary, at + 64 * h);
      }
      run_four<3, 5>(keys, rounds);
      draw_64<Upper, Lower, Vbmi>(table, u1[0], u2[0], n, k, flagged, at);
      run_four<5, 7>(keys, rounds);
      draw_64<Upper, Lower, Vbmi>(table, u1[1], u2[1], n, k, flagged, at + 64);
      run_four<7, 9>(keys, rounds);
    }
  } else if (count > 64) {
    Begun block;
    for (; at + 64 < count; at += 64) {
      Pair u1, u2;
      next_words<true>(keys, rounds, blocks, u1, u2, primary, at);
      const Bytes bytes = load_counts(n + at);
      Search upper = start_search(u1, bytes.a, bytes.all), lower = start_search(u2, bytes.b, bytes.all);
      if (at == 0) {
        descend<0, kHead, Lower, Vbmi>(table, upper, lower);
        run_both<3, 9>(keys, rounds);
      } else {
        Search last = resume_search(block, primary[0] + at - 64, n + at - 64);
        descend<0, Upper, Lower, Vbmi>(table, last, upper, lower, keys, rounds);
        finish_block<Upper, Vbmi>(table, last, block, primary[1], k, flagged, at - 64);
      }
      block = begun<Lower>(upper, lower);
    }
    Search last = resume_search(block, primary[0] + at - 64, n + at - 64), none = last;
    descend<kHead, Upper, kHead, Vbmi>(table, last, none);
    finish_block<Upper, Vbmi>(table, last, block, primary[1], k, flagged, at - 64);
  }
#pragma GCC unroll 2
  for (int set = 0; set < kSets && at < count; set += 2, at += 64) {  // the words that are left
    Pair u1, u2;
    next_words<false>(keys, rounds + set, blocks, u1, u2, primary, at);
    draw_64<Upper, Lower, Vbmi>(table, u1, u2, n, k, flagged, at);
  }
}

typedef void (*DrawBlocks)(const DrawTable&, const Keys&, uint32_t, int, const uint8_t*, uint8_t*, uint16_t (*)[kDrawChunk], Flagged&,
                           const SharedRounds*);
#define FB_LOWER(U, S) \
  {draw_blocks<U, (U > kUnsearched), S>, draw_blocks<U, 1, S>, draw_blocks<U, 2, S>, draw_blocks<U, 3, S>, draw_blocks<U, 4, S>}
#define FB_BOTH(S) \
  {FB_LOWER(0, S), FB_LOWER(1, S), FB_LOWER(2, S), FB_LOWER(3, S), FB_LOWER(4, S), FB_LOWER(5, S), FB_LOWER(6, S)}
static const DrawBlocks kDrawBlocks[2][kMaxLevels + 1][5] = {FB_BOTH(false), FB_BOTH(true)};
#undef FB_BOTH
#undef FB_LOWER

// Of the elements from i0 on, kept or made now. draw_blocks reads as many as 64 elements ahead.
static const SharedRounds* shared_rounds(DrawTable& table, const Keys& keys, const SampleKey& key, uint32_t stream, uint32_t i0, int count) {
  const uint32_t before = i0 % kDrawChunk;
  ChunkRounds& rounds = table.rounds[i0 / kDrawChunk];
  if (rounds.stream != stream || rounds.call != key.call || rounds.seed_low != key.seed_low || rounds.seed_high != key.seed_high) {
    rounds.stream = stream;
    rounds.call = key.call;
    rounds.seed_low = key.seed_low;
    rounds.seed_high = key.seed_high;
    rounds.filled = 0;
  }
  const int end = static_cast<int>(before) + (count + 127) / 128 * 128;
  if (rounds.filled < end) {
    __m512i first = blocks_before(i0 - before + static_cast<uint32_t>(rounds.filled));
    for (; rounds.filled < end; rounds.filled += 64) {
      advance(first);
      share_rounds(keys, first, rounds.of[rounds.filled / 32]);
      share_rounds(keys, odd_blocks(first), rounds.of[rounds.filled / 32 + 1]);
    }
  }
  return rounds.of + before / 32;
}

void draw_chunk(DrawTable& table, const SampleKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0,
                int count, const uint8_t* n, uint8_t* k, bool share) {
  if (trivial_draw(table, count, n, k)) return;
  alignas(64) uint16_t primary[2][kDrawChunk];  // u1 and u2, flipped, of 64 elements the 32 even ones first
  Flagged flagged;
  flagged.words = 0;
  Keys keys;
  make_keys(keys, key, stream, 0, kFlipped);
  const DrawBlocks draw = kDrawBlocks[table.layout == Layout::bytes][table.upper.levels][table.lower.levels];
  draw(table, keys, i0, count, n, k, primary, flagged, share ? shared_rounds(table, keys, key, stream, i0, count) : nullptr);
  for (int word = 0; word < flagged.words; ++word)
    for (uint64_t flags = flagged.of[word]; flags != 0; flags &= flags - 1) {
      const int at = flagged.at[word], bit = __builtin_ctzll(flags), i = at + 2 * (bit & 31) + (bit >> 5);
      if (i < count) k[i] = exact_draw(table, key, stream_refine, i0 + i, Primary{primary[0][at + bit] ^ 0x8000u, primary[1][at + bit] ^ 0x8000u}, n[i], k[i]);
    }
}

#undef FB_INLINE
