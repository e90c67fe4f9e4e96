// Body for AVX-512, of draw_build.h: the search windows over the thresholds of one probability, and their tables by level.

constexpr int kAnchored = 4;  // levels up to which windows start at the first threshold: rows with later means need more anyway
constexpr int kUnsearched = 1;  // levels of upper rows up to which lower rows, of smaller counts, may have none

// How many of 65,536 uniforms a window may miss: what another level costs all elements, the more the larger it is, against
// what the exact search costs a few.
constexpr int may_miss(int levels) { return levels == 0 ? 40 : 80 + 28 * levels; }

// Where a row's thresholds of a window of five or six levels go, level by level: those of levels 0..4 side by side in `tails`,
// level 4's in 0..15, level 3's in 16..23 and so on; those of level 5 in `fifth`. By bytes, the lower ones: level 5's in 0..31 of
// `bytes`, level 4's in 32..47, level 3's in 48..55 and so on.
struct Picks {
  uint16_t tails[kMaxLevels + 1][32], fifth[32];
  uint8_t bytes[kMaxLevels + 1][64];
  constexpr Picks() : tails{}, fifth{}, bytes{} {
    for (int levels = kAnchored + 1; levels <= kMaxLevels; ++levels)
      for (int level = 0; level < levels; ++level)
        for (int path = 0; path < 1 << level; ++path) {
          const int pick = ((2 * path + 1) << (levels - 1 - level)) - 1;
          if (level < 5) tails[levels][32 - (2 << level) + path] = static_cast<uint16_t>(pick);
          else fifth[path] = static_cast<uint16_t>(pick);
          bytes[levels][64 - (2 << level) + path] = static_cast<uint8_t>(2 * pick);
        }
  }
};
alignas(64) constexpr Picks kPicks;

// Of the 128 bytes at `at` the one that the low seven bits of each byte of `index` name; with a mask the other lanes keep their
// index.
FB_INLINE __m512i lookup_bytes(const void* at, __m512i index) {
  const __m512i low = _mm512_loadu_si512(at), high = _mm512_loadu_si512(static_cast<const uint8_t*>(at) + 64);
#if defined(FB_EMULATED_AVX512)
  return _mm512_permutex2var_epi8(low, index, high);
#else
  __asm__("vpermi2b %2, %1, %0" : "+v"(index) : "v"(low), "vm"(high));  // VBMI, which the other code does without
  return index;
#endif
}

FB_INLINE __m512i lookup_bytes(const void* at, __m512i index, __mmask64 lanes) {
  const __m512i low = _mm512_loadu_si512(at), high = _mm512_loadu_si512(static_cast<const uint8_t*>(at) + 64);
#if defined(FB_EMULATED_AVX512)
  return _mm512_mask2_permutex2var_epi8(low, index, lanes, high);
#else
  __asm__("vpermi2b %3, %2, %0%{%1%}" : "+v"(index) : "Yk"(lanes), "v"(low), "vm"(high));
  return index;
#endif
}

constexpr int kLaneRows = 240 + 8 + 64 + 32;

// Thresholds j .. j + 7 of eight lanes: 128-bit part i of `even` is lane 2 i's, of `odd` lane 2 i + 1's.
static inline void store_lanes(uint16_t (*lanes)[kLaneRows], int j, __m512i even, __m512i odd) {
  const __m512i out[2] = {even, odd};
#pragma GCC unroll 2
  for (int t = 0; t < 2; ++t) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(&lanes[t][j]), _mm512_castsi512_si128(out[t]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(&lanes[t + 2][j]), _mm512_extracti32x4_epi32(out[t], 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(&lanes[t + 4][j]), _mm512_extracti32x4_epi32(out[t], 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(&lanes[t + 6][j]), _mm512_extracti32x4_epi32(out[t], 3));
  }
}

// 32 entries of level 3 from entry `at` on, by words or by bytes: the lower ones of all entries first, then the upper ones.
template <bool Vbmi>
static inline void store_level_3(WindowSearch& search, int at, __m512i words) {
  uint16_t* level = search.level + (16 << 3);
  if constexpr (!Vbmi) {
    _mm512_store_si512(level + at, words);
  } else {
    uint8_t* to = reinterpret_cast<uint8_t*>(level) + at;
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi16_epi8(words));
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + (16 << 3)), _mm512_cvtepi16_epi8(_mm512_srli_epi16(words, 8)));
  }
}

// Entries of levels 0, 1 and 2 of one row: words 6, 4 and 5, and 0..3.
static inline void store_first_levels(WindowSearch& search, int row, __m128i words) {
  const int pair = _mm_extract_epi32(words, 2);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(search.level + (16 << 2) + 4 * row), words);
  std::memcpy(search.level + (16 << 1) + 2 * row, &pair, sizeof(pair));
  search.level[16 + row] = static_cast<uint16_t>(_mm_extract_epi16(words, 6));
}

// The entries of one row, whose window of thresholds starts at h.
template <int Levels>
static inline void lay_words(WindowSearch& search, int row, const uint16_t* h) {
  const __m512i picks = _mm512_load_si512(kPicks.tails[Levels]), flip = _mm512_set1_epi64(kFlipped);
  const __m512i low = _mm512_xor_si512(_mm512_loadu_si512(h), flip);
  __m512i tail;
  if constexpr (Levels == 6) {
    const __m512i high = _mm512_xor_si512(_mm512_loadu_si512(h + 32), flip);
    _mm512_store_si512(search.level + (16 << 5) + 32 * row, _mm512_permutex2var_epi16(low, _mm512_load_si512(kPicks.fifth), high));
    tail = _mm512_permutex2var_epi16(low, picks, high);
  } else {
    tail = _mm512_permutexvar_epi16(picks, low);
  }
  _mm256_store_si256(reinterpret_cast<__m256i*>(search.level + (16 << 4) + 16 * row), _mm512_castsi512_si256(tail));
  _mm_store_si128(reinterpret_cast<__m128i*>(search.level + (16 << 3) + 8 * row), _mm512_extracti32x4_epi32(tail, 2));
  store_first_levels(search, row, _mm512_extracti32x4_epi32(tail, 3));
}

template <int Levels>
static inline void lay_bytes(WindowSearch& search, int row, const uint16_t* h) {
  const __m512i picks = _mm512_load_si512(kPicks.bytes[Levels]);
  const __m512i bytes[2] = {lookup_bytes(h, picks), _mm512_xor_si512(lookup_bytes(h, _mm512_add_epi8(picks, _mm512_set1_epi16(0x0101))),
                                                                     _mm512_set1_epi64(kFlippedBytes))};
  __m128i last[2];
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    uint8_t* level[kMaxLevels];
    for (int l = 3; l < Levels; ++l) level[l] = reinterpret_cast<uint8_t*>(search.level + (16 << l)) + h * (16 << l);
    if constexpr (Levels == 6) _mm256_store_si256(reinterpret_cast<__m256i*>(level[5] + 32 * row), _mm512_castsi512_si256(bytes[h]));
    _mm_store_si128(reinterpret_cast<__m128i*>(level[4] + 16 * row), _mm512_extracti32x4_epi32(bytes[h], 2));
    last[h] = _mm512_extracti32x4_epi32(bytes[h], 3);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(level[3] + 8 * row), last[h]);
  }
  store_first_levels(search, row, _mm_unpackhi_epi8(last[0], last[1]));
}

// The level-ordered table of windows that start at first[lane]: rows by j become rows by lane, each lane's window a plain
// load, which one permutation brings into the order of its levels. Windows start later from lane to lane: those of lanes 0..7
// end, and of the others start, somewhere in between.
template <int Levels, bool Vbmi>
static void lay_windows(WindowSearch& search, int top, const int* first, const uint16_t (*h)[16]) {
  alignas(64) uint16_t lanes[16][kLaneRows];
  const int low_end = first[top < 7 ? top : 7] + (1 << Levels), high_start = top > 7 ? first[8] - 7 : kLaneRows;
  for (int j = 0; j < first[top] + (1 << Levels); j += 8) {
    // 8 rows of 16 lanes: 128-bit part 2 i + s of vector i / 2 holds lanes 8 s .. 8 s + 7 of row j + i
    const __m512i* from = reinterpret_cast<const __m512i*>(&h[j][0]);
    const __m512i r01 = _mm512_loadu_si512(from), r23 = _mm512_loadu_si512(from + 1);
    const __m512i r45 = _mm512_loadu_si512(from + 2), r67 = _mm512_loadu_si512(from + 3);
    const __m512i lo = _mm512_set_epi16(55, 39, 23, 7, 54, 38, 22, 6, 53, 37, 21, 5, 52, 36, 20, 4, 51, 35, 19, 3, 50, 34, 18,
                                        2, 49, 33, 17, 1, 48, 32, 16, 0);
    const __m512i hi = _mm512_add_epi16(lo, _mm512_set1_epi16(8));
    if (j < low_end) {
      const __m512i a = _mm512_permutex2var_epi16(r01, lo, r23), b = _mm512_permutex2var_epi16(r45, lo, r67);
      store_lanes(lanes, j, _mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    if (j >= high_start) {
      const __m512i a = _mm512_permutex2var_epi16(r01, hi, r23), b = _mm512_permutex2var_epi16(r45, hi, r67);
      store_lanes(lanes + 8, j, _mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
  }
  if constexpr (Vbmi) {
    for (int lane = 0; lane < 16; ++lane) lay_bytes<Levels>(search, lane, &lanes[lane][first[lane]]);
  } else {
    for (int lane = 0; lane < 16; ++lane) lay_words<Levels>(search, lane, &lanes[lane][first[lane]]);
  }
}

// Pairs of 16 rows' two entries each.
static inline __m512i interleave(const uint16_t* even, const uint16_t* odd) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(even)));
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(odd)));
  return _mm512_xor_si512(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)), _mm512_set1_epi64(kFlipped));
}

// The level-ordered table of the first 2^levels - 1 thresholds of every row.
template <bool Vbmi>
static void lay_first(WindowSearch& search, int levels, const uint16_t (*h)[16]) {
  const int step = 1 << levels;  // level l has the thresholds (2 path + 1) 2^(levels - 1 - l) - 1
  const __m256i root = _mm256_load_si256(reinterpret_cast<const __m256i*>(h[step / 2 - 1]));
  _mm256_store_si256(reinterpret_cast<__m256i*>(search.level + 16), _mm256_xor_si256(root, _mm256_set1_epi64x(kFlipped)));
  if (levels >= 2) _mm512_store_si512(search.level + 32, interleave(h[step / 4 - 1], h[3 * step / 4 - 1]));
  const __m512i low32 = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high32 = _mm512_add_epi32(low32, _mm512_set1_epi32(8));
  for (int level = 2; level < levels && level < 4; ++level) {
    __m512i fours[2][2];
    const int apart = step >> level, half = apart / 2 - 1;
    for (int four = 0; four < 1 << (level - 2); ++four) {
      const uint16_t(*from)[16] = h + half + 4 * apart * four;
      const __m512i a = interleave(from[0], from[apart]), b = interleave(from[2 * apart], from[3 * apart]);
      fours[four][0] = _mm512_permutex2var_epi32(a, low32, b);
      fours[four][1] = _mm512_permutex2var_epi32(a, high32, b);
    }
    if (level == 2) {
      for (int i = 0; i < 2; ++i) _mm512_store_si512(search.level + 64 + 32 * i, fours[0][i]);
      continue;
    }
    const __m512i low64 = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), high64 = _mm512_add_epi64(low64, _mm512_set1_epi64(4));
    for (int i = 0; i < 2; ++i) {
      store_level_3<Vbmi>(search, 64 * i, _mm512_permutex2var_epi64(fours[0][i], low64, fours[1][i]));
      store_level_3<Vbmi>(search, 64 * i + 32, _mm512_permutex2var_epi64(fours[0][i], high64, fours[1][i]));
    }
  }
}

// Rows after the last threshold stored: a window may reach beyond it.
static inline void fill_rows(uint16_t (*h)[16], int rows) { std::memset(h, 0xff, sizeof(*h) * static_cast<size_t>(rows)); }

// The smallest window of the first thresholds of rows 0..top that misses few uniforms, of at least `fewest` levels; false where
// kAnchored are too few.
template <bool Vbmi>
static bool build_anchored(WindowSearch& search, int fewest, int top, const uint16_t (*h)[16]) {
  const __m256i unused = _mm256_cmpgt_epi16(_mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                            _mm256_set1_epi16(static_cast<int16_t>(top)));
  for (int levels = fewest; levels <= kAnchored; ++levels) {
    // rows without a threshold at 2^levels - 1 hold 65535 there
    const __m256i t = _mm256_or_si256(_mm256_load_si256(reinterpret_cast<const __m256i*>(h[(1 << levels) - 1])), unused);
    const __m128i least = _mm_minpos_epu16(_mm_min_epu16(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1)));
    const int above = _mm_extract_epi16(least, 0);
    if (65536 - above > may_miss(levels)) continue;
    search.levels = levels;
    search.span = static_cast<uint16_t>((above - 1) ^ 0x8000);  // flipped as what it is compared with
    if (levels > 0) lay_first<Vbmi>(search, levels, h);
    return true;
  }
  return false;
}

// Where the windows of the upper rows, n = 16 a, start for a number of levels, and what they miss: uniforms up to `below`
// and from `above` on may need a threshold outside.
struct Windows {
  alignas(64) int first[16];
  int below, above;
};

static inline void place_windows(Windows& w, double p, int top, int levels, const uint16_t (*h)[16]) {
  const int width = (1 << levels) - 1, half = width >= 16 * top ? 16 * top : 1 << (levels - 1);
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), zero = _mm512_setzero_si512();
  const __m512i n = _mm512_maskz_slli_epi32(_mm512_cmple_epi32_mask(lane, _mm512_set1_epi32(top)), lane, 4);
  const __m512d scale = _mm512_set1_pd(p), rounding = _mm512_set1_pd(0.5);
  const __m512d low = _mm512_add_pd(_mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_castsi512_si256(n)), scale), rounding);
  const __m512d high = _mm512_add_pd(_mm512_mul_pd(_mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(n, 1)), scale), rounding);
  const __m512i mean = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvttpd_epi32(low)), _mm512_cvttpd_epi32(high), 1);
  const __m512i first = _mm512_max_epi32(_mm512_sub_epi32(mean, _mm512_set1_epi32(half)), zero);
  const __m512i offset = _mm512_add_epi32(_mm512_slli_epi32(first, 4), lane), low16 = _mm512_set1_epi32(65535);
  const __mmask16 cut = _mm512_cmpgt_epi32_mask(first, zero);
  const __mmask16 open = _mm512_cmplt_epi32_mask(_mm512_add_epi32(first, _mm512_set1_epi32(width)), n);
  const __m512i over = _mm512_and_si512(_mm512_mask_i32gather_epi32(low16, open, offset, &h[width][0], 2), low16);
  const __m512i before = _mm512_sub_epi32(offset, _mm512_set1_epi32(16));
  const __m512i under = _mm512_and_si512(_mm512_mask_i32gather_epi32(zero, cut, before, &h[0][0], 2), low16);
  _mm512_store_si512(w.first, first);
  w.below = cut == 0 ? -1 : _mm512_mask_reduce_max_epi32(cut, under);
  w.above = open == 0 ? 65535 : _mm512_mask_reduce_min_epi32(open, over) - 1;
}

// The smallest windows that miss few uniforms, from the first thresholds on or around the means.
template <bool Vbmi>
static void build_window(WindowSearch& search, double p, double q, int top, uint16_t (*h)[16], int stored) {
  fill_rows(h + stored, 16);
  if (build_anchored<Vbmi>(search, 0, top, h)) return;
  fill_rows(h + stored + 16, 48);
  Windows w;
  // A window of less than two and three quarters standard deviations to each side misses too much.
  search.levels = 1024.0 < 480.0 * top * p * q ? kMaxLevels : kAnchored + 1;
  for (;; ++search.levels) {
    place_windows(w, p, top, search.levels, h);
    if (search.levels == kMaxLevels || (w.below + 1) + (65535 - w.above) <= may_miss(search.levels)) break;
  }
  search.lowest = static_cast<uint16_t>((w.below + 1) ^ 0x8000);
  search.span = static_cast<uint16_t>((w.above < 65534 ? w.above : 65534) - w.below - 1);
  for (int lane = 0; lane < 32; ++lane) search.first[lane] = static_cast<uint16_t>(w.first[lane & 15]);
  for (int lane = 0; lane < 64; ++lane) search.first_bytes[lane] = static_cast<uint8_t>(w.first[lane & 15]);
  if (search.levels == 6) lay_windows<6, Vbmi>(search, top, w.first, h);
  else lay_windows<5, Vbmi>(search, top, w.first, h);
}
