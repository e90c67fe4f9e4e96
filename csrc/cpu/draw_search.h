// Body for AVX-512, after philox_avx512.h: the searches of 64 elements under way, 32 a vector of 16-bit lanes, thresholds looked
// up by vpermw and vpermi2w, or by bytes with vpermi2b, from level-ordered tables.

FB_INLINE __m512i table32(const WindowSearch& s, int at) {
  return _mm512_load_si512(reinterpret_cast<const __m512i*>(s.level + at));
}

// Two vectors at a time: a table is loaded once for both, and their chains of dependent steps overlap.
struct Pair {
  __m512i v[2];
};

// Entries of the 64 words at `at`, by the low six bits of each index.
FB_INLINE Pair lookup64(const WindowSearch& s, int at, const Pair& index) {
  const __m512i low = table32(s, at), high = table32(s, at + 32);
  return Pair{{_mm512_permutex2var_epi16(low, index.v[0], high), _mm512_permutex2var_epi16(low, index.v[1], high)}};
}

// A search of two vectors under way. row: in the lowest four bits, above them anything. index: row << steps made | how many of
// the thresholds so far that halve what is left lie below u, as the bits of the steps. seen: 0 where u met a threshold it equals.
// counts: bytes, whose highest bits are those of the upper rows.
struct Search {
  Pair u, row, index, seen;
  __m512i counts;
};

FB_INLINE Search start_search(const Pair& u, const Pair& row, __m512i counts) { return Search{u, row, row, row, counts}; }

// Entries of the 128 words at `at`, by the low six bits of each index and whether its lane is in `second`: where a lane is not to be
// looked up, its index stays, for the other look-up.
FB_INLINE Pair lookup128(const WindowSearch& s, int at, const Pair& index, const __mmask32* second) {
  const __m512i a = table32(s, at), b = table32(s, at + 32), c = table32(s, at + 64), d = table32(s, at + 96);
  Pair found;
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    found.v[h] = _mm512_mask2_permutex2var_epi16(a, index.v[h], ~second[h], b);
    found.v[h] = _mm512_mask2_permutex2var_epi16(c, found.v[h], second[h], d);
  }
  return found;
}

// Of the parts of 64 entries a level has, the one that the row's bits from 3 down to 6 - Level choose: a tree of blends walked
// depth first, so that few of its vectors live at a time.
template <int Level, int Bit, int I>
FB_INLINE Pair chosen_part(const WindowSearch& s, const Search& search) {
  const __m512i bit = _mm512_set1_epi16(1 << Bit);
  const __mmask32 set[2] = {_mm512_test_epi16_mask(search.row.v[0], bit), _mm512_test_epi16_mask(search.row.v[1], bit)};
  if constexpr (Bit == 6 - Level) {
    return lookup128(s, (16 << Level) + 128 * I, search.index, set);
  } else {
    const Pair low = chosen_part<Level, Bit - 1, 2 * I>(s, search), high = chosen_part<Level, Bit - 1, 2 * I + 1>(s, search);
    return Pair{{_mm512_mask_blend_epi16(set[0], low.v[0], high.v[0]), _mm512_mask_blend_epi16(set[1], low.v[1], high.v[1])}};
  }
}

constexpr __mmask64 kUpperBytes = 0xaaaaaaaaaaaaaaaau;  // of words

// The lower bytes of 64 words, the even ones of which are the first of the pair.
FB_INLINE __m512i lower_bytes(const Pair& words) {
  const __m512i up = _mm512_set4_epi32(0x0e0e0c0c, 0x0a0a0808, 0x06060404, 0x02020000);
  return _mm512_mask_shuffle_epi8(words.v[0], kUpperBytes, words.v[1], up);
}

// chosen_part from level 3 on by bytes, 64 elements at once: half as many look-ups.
template <int Level>
FB_INLINE Pair chosen_bytes(const WindowSearch& s, const Search& search) {
  const __m512i index = lower_bytes(search.index);
  const uint8_t* at = reinterpret_cast<const uint8_t*>(s.level + (16 << Level));
  __m512i half[2];  // of the thresholds: their lower bytes, their upper ones
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h, at += 16 << Level) {
    if constexpr (Level == 3) {
      half[h] = lookup_bytes(at, index);
    } else {
      const __mmask64 second = _mm512_movepi8_mask(index);
      half[h] = lookup_bytes(at + 128, lookup_bytes(at, index, ~second), second);
      if constexpr (Level == 5) {
        const __m512i later = lookup_bytes(at + 384, lookup_bytes(at + 256, index, ~second), second);
        half[h] = _mm512_mask_blend_epi8(_mm512_movepi8_mask(search.counts), half[h], later);
      }
    }
  }
  const __m512i down = _mm512_set4_epi32(0x0f0f0d0d, 0x0b0b0909, 0x07070505, 0x03030101);
  return Pair{{lower_bytes(Pair{{half[0], half[1]}}), _mm512_mask_shuffle_epi8(half[1], ~kUpperBytes, half[0], down)}};
}

// The threshold of level `Level` for each element, from its path so far.
template <int Level, bool Vbmi>
FB_INLINE Pair level_threshold(const WindowSearch& s, const Search& search) {
  if constexpr (Level <= 1) {
    const __m512i t = Level == 0 ? _mm512_broadcast_i64x4(*reinterpret_cast<const __m256i*>(s.level + 16)) : table32(s, 32);
    return Pair{{_mm512_permutexvar_epi16(search.index.v[0], t), _mm512_permutexvar_epi16(search.index.v[1], t)}};
  } else if constexpr (Level == 2) {
    return lookup64(s, 64, search.index);
  } else if constexpr (Vbmi) {
    return chosen_bytes<Level>(s, search);
  } else {
    return chosen_part<Level, 3, 0>(s, search);
  }
}

// index << 1 | sign of d, in each lane
template <bool Vbmi>
FB_INLINE __m512i append_sign(__m512i index, __m512i d) {
  if constexpr (Vbmi) {
#if defined(FB_EMULATED_AVX512)
    return emulated_shld1(index, d);
#else
    __m512i result;
    __asm__("vpshldw $1, %2, %1, %0" : "=v"(result) : "v"(index), "v"(d));  // VBMI2, which the other code does without
    return result;
#endif
  } else {
    return _mm512_sub_epi16(_mm512_add_epi16(index, index), _mm512_srai_epi16(d, 15));
  }
}

// Words and thresholds have their highest bit flipped: a difference of signed numbers keeps its sign where it saturates.
template <int Level, bool Vbmi>
FB_INLINE void step(const WindowSearch& s, Search& search) {
  const Pair t = level_threshold<Level, Vbmi>(s, search);
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const __m512i d = _mm512_subs_epi16(t.v[h], search.u.v[h]);
    search.seen.v[h] = Level == 0 ? d : _mm512_min_epu16(search.seen.v[h], d);
    search.index.v[h] = append_sign<Vbmi>(search.index.v[h], d);
  }
}

// The searches of upper and lower rows level by level, in turns.
template <int Level, int Upper, int Lower, bool Vbmi>
FB_INLINE void descend(const DrawTable& table, Search& upper, Search& lower) {
  if constexpr (Level < Upper) step<Level, Vbmi>(table.upper, upper);
  if constexpr (Level < Lower) step<Level, Vbmi>(table.lower, lower);
  if constexpr (Level + 1 < Upper || Level + 1 < Lower) descend<Level + 1, Upper, Lower, Vbmi>(table, upper, lower);
}

// Through the first kHead levels of the upper rows and all of the lower ones, in turns with the last levels of `last`, the upper rows
// of the block before, and with the rounds of the next words.
constexpr int kHead = 3;
template <int Level, int Upper, int Lower, bool Vbmi>
FB_INLINE void descend(const DrawTable& table, Search& last, Search& upper, Search& lower, const Keys& keys, Rounds* rounds) {
  constexpr int kMost = Lower > kHead ? Lower : kHead, kLevels = Upper - kHead > kMost ? Upper - kHead : kMost;
  if constexpr (Level + kHead < Upper) step<Level + kHead, Vbmi>(table.upper, last);
  if constexpr (Level < kHead) step<Level, Vbmi>(table.upper, upper);
  if constexpr (Level < Lower) step<Level, Vbmi>(table.lower, lower);
  run_both<3 + 6 * Level / kLevels, 3 + 6 * (Level + 1) / kLevels>(keys, rounds);
  if constexpr (Level + 1 < kLevels) descend<Level + 1, Upper, Lower, Vbmi>(table, last, upper, lower, keys, rounds);
}

// Thresholds below the windows of upper rows, by bytes.
template <bool Vbmi>
FB_INLINE __m512i window_starts(const WindowSearch& s, const Search& search) {
  if constexpr (Vbmi) {
    // by bytes the even rows are the lower halves of theirs, and the odd ones the upper halves
    const __m512i first = _mm512_load_si512(s.first_bytes);
#if defined(FB_EMULATED_AVX512)
    return _mm512_permutexvar_epi8(search.row.v[0], first);
#else
    __m512i result;
    __asm__("vpermb %2, %1, %0" : "=v"(result) : "v"(search.row.v[0]), "vm"(first));
    return result;
#endif
  } else {
    const __m512i first = _mm512_load_si512(s.first);
    return lower_bytes(Pair{{_mm512_permutexvar_epi16(search.row.v[0], first), _mm512_permutexvar_epi16(search.row.v[1], first)}});
  }
}

// Number of thresholds of the window below u, by bytes.
template <int Levels>
FB_INLINE __m512i path_of(const Search& search) {
  if constexpr (Levels == 0) return _mm512_setzero_si512();
  // after one step the path is the sign of the only difference
  if constexpr (Levels == 1) return lower_bytes(Pair{{_mm512_srli_epi16(search.seen.v[0], 15), _mm512_srli_epi16(search.seen.v[1], 15)}});
  return _mm512_and_si512(lower_bytes(search.index), _mm512_set1_epi16(((1 << Levels) - 1) * 0x0101));
}

// `good` loses the lanes whose u the window may miss. Anchored: every row's window starts at its first threshold.
template <bool Anchored>
FB_INLINE void keep_within(const WindowSearch& s, const Pair& u, __mmask32* good) {
  const __m512i lowest = _mm512_set1_epi16(static_cast<int16_t>(s.lowest)), span = _mm512_set1_epi16(static_cast<int16_t>(s.span));
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    if constexpr (Anchored) good[h] = _mm512_mask_cmple_epi16_mask(good[h], u.v[h], span);
    else good[h] = _mm512_mask_cmple_epu16_mask(good[h], _mm512_sub_epi16(u.v[h], lowest), span);
  }
}
