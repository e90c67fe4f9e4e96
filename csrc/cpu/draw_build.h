// Body, once per instruction set: the thresholds of all rows for one probability, and the search windows over them.
// GCC vector types: eight rows advance together, every lane in the order draw.h of the shared headers writes down.

constexpr int kWide = FB_ISA_LEVEL == 2 ? 8 : FB_ISA_LEVEL == 1 ? 4 : 2, kParts = 16 / kWide;
typedef double Doubles __attribute__((vector_size(8 * kWide)));
typedef double Eight __attribute__((vector_size(64)));

// Thresholds j and j + 1 of 16 rows, as 2^16 cdf: its floor is C >> 32.
typedef Doubles TwoThresholds[2][kParts];

static inline bool saturated(const uint16_t* h) {  // eight rows
  uint64_t words[2];
  std::memcpy(words, h, sizeof(words));
  return (words[0] & words[1]) == ~static_cast<uint64_t>(0);
}

// h[0], h[1] <- min(C >> 32, 65535) of lanes 8 From .. 8 To - 1, and 65535 for the others. Whether lanes 8 From .. 8 From + 7 of h[1]
// are saturated.
#if FB_ISA_LEVEL == 2

// In the lower 32 bits of each lane.
static inline __m512 floor_of(Doubles x) {
  const __m512d two52 = _mm512_set1_pd(4503599627370496.0);
  return reinterpret_cast<__m512>(_mm512_add_round_pd(reinterpret_cast<__m512d>(x), two52, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
}

template <int From, int To>
static inline bool store_high(const TwoThresholds& c, uint16_t (*h)[16]) {
  __m512i dwords[2], order;  // of each 128-bit part two lanes, or one
  if constexpr (To - From == 2) {
    dwords[0] = reinterpret_cast<__m512i>(_mm512_shuffle_ps(floor_of(c[0][0]), floor_of(c[0][1]), 0x88));
    dwords[1] = reinterpret_cast<__m512i>(_mm512_shuffle_ps(floor_of(c[1][0]), floor_of(c[1][1]), 0x88));
    order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  } else {
    dwords[0] = reinterpret_cast<__m512i>(_mm512_shuffle_ps(floor_of(c[0][From]), floor_of(c[1][From]), 0x88));
    dwords[1] = _mm512_set1_epi32(65535);
    order = From == 0 ? _mm512_setr_epi32(0, 4, 8, 12, 2, 2, 2, 2, 1, 5, 9, 13, 2, 2, 2, 2)
                      : _mm512_setr_epi32(2, 2, 2, 2, 0, 4, 8, 12, 2, 2, 2, 2, 1, 5, 9, 13);
  }
  _mm512_storeu_si512(h, _mm512_permutexvar_epi32(order, _mm512_packus_epi32(dwords[0], dwords[1])));  // which saturates
  return _mm512_cmp_pd_mask(reinterpret_cast<__m512d>(c[1][From]), _mm512_set1_pd(65535.0), _CMP_GE_OQ) == 0xff;
}

#else

// Eight lanes.
static inline void store_high8(const Doubles* c, uint16_t* h) {
#if FB_ISA_LEVEL == 1
  const __m128i low = _mm256_cvttpd_epi32(reinterpret_cast<__m256d>(c[0])), high = _mm256_cvttpd_epi32(reinterpret_cast<__m256d>(c[1]));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(h), _mm_packus_epi32(low, high));  // which saturates
#else
  for (int lane = 0; lane < 8; ++lane) {
    const double x = c[lane / kWide][lane % kWide];
    h[lane] = static_cast<uint16_t>(static_cast<int>(x < 65535.0 ? x : 65535.0));
  }
#endif
}

template <int From, int To>
static inline bool store_high(const TwoThresholds& c, uint16_t (*h)[16]) {
  for (int j = 0; j < 2; ++j)
    for (int half = 0; half < 2; ++half) {
      if (half >= From && half < To) store_high8(c[j] + half * kParts / 2, h[j] + 8 * half);
      else std::memset(h[j] + 8 * half, 0xff, 8 * sizeof(h[j][0]));
    }
  return saturated(h[1] + 8 * From);
}

#endif

struct Rows {
  Doubles left[kParts], pm[kParts], cdf[kParts];  // left: n - j; pm and cdf 2^16 times as large, which changes no other bit of them
};

// Lanes 8 From .. 8 To - 1 from j on, until the first eight of them are at or above 65535 << 32, and so all later ones, or
// there are no more thresholds. h of the other lanes becomes 65535. Returns the j reached.
template <int Unit, int From, int To>
static int grow_rows(Rows& rows, int j, double odds, int top, double (*c)[16], uint16_t (*h)[16]) {
  constexpr int first = From * kParts / 2, last = To * kParts / 2;
  const Eight counted = {0, 1, 2, 3, 4, 5, 6, 7};
  Eight next = odds / (counted + static_cast<double>(j + 1));
  for (bool done = false; !done && j < Unit * top; j += 8) {
    alignas(64) double w[8];
    std::memcpy(w, &next, sizeof(w));
    __asm__("" : "+m"(w));  // broadcast from memory, not by permutations, whose unit is the busy one
    next = odds / (counted + static_cast<double>(j + 9));  // early: a division takes long, and what waits for it fills the queue
    TwoThresholds two;
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
#pragma GCC unroll 8
      for (int part = first; part < last; ++part) {
        std::memcpy(&c[j + r][part * kWide], &rows.cdf[part], sizeof(Doubles));
        two[r % 2][part] = rows.cdf[part];
        rows.pm[part] = rows.pm[part] * (rows.left[part] * w[r]);
        rows.cdf[part] = rows.cdf[part] + rows.pm[part];
        rows.left[part] = rows.left[part] - 1.0;
      }
      if (r % 2 == 1) done = store_high<From, To>(two, h + j + r - 1);
    }
  }
  return j;
}

// Rows n = Unit * lane, lane 0..15, for j = 0, 1, ... until C(j) is at or above 65535 << 32 in all of them. Past a row's end
// pm is 0 and cdf stays what it was, 1 but for rounding: 65535 too. stored: how many j lanes 0..7 and 8..15 have.
template <int Unit>
static void build_rows(double odds, const double* starts, int top, double (*c)[16], uint16_t (*h)[16], int* stored) {
  alignas(64) static constexpr double lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  Rows rows;
  for (int part = 0; part < kParts; ++part) {
    std::memcpy(&rows.pm[part], starts + kWide * part, sizeof(Doubles));
    std::memcpy(&rows.left[part], lanes + kWide * part, sizeof(Doubles));
    rows.pm[part] = rows.pm[part] * 65536.0;
    rows.left[part] = rows.left[part] * static_cast<double>(Unit);
    rows.cdf[part] = rows.pm[part];
  }
  if (top < 8) {
    stored[0] = stored[1] = grow_rows<Unit, 0, 1>(rows, 0, odds, top, c, h);
    return;
  }
  stored[0] = grow_rows<Unit, 0, 2>(rows, 0, odds, top, c, h);
  stored[1] = saturated(h[stored[0] - 1] + 8) ? stored[0] : grow_rows<Unit, 1, 2>(rows, stored[0], odds, top, c, h);
}

#if FB_ISA_LEVEL == 2
#include "cpu/draw_windows.h"
#else

// Where the cells of the bucket of u begin in a guide: 256 buckets by the upper byte, but in a fine guide 16 for each of the first
// and the last of them, where thresholds crowd.
template <bool Fine>
static inline uint32_t cells_of(uint32_t u) {
  return Fine && static_cast<uint16_t>(u + 256) < 512 ? kCells + (u & 0x1f0) : u >> 4 & 0xff0;
}

constexpr uint32_t kNoThreshold = 0x7f7f7f;
typedef uint32_t EightCells __attribute__((vector_size(32)));

// Of the cells from `from` on, downwards: those without a threshold get as many before them as the next one that has some.
static inline void fill_cells(uint32_t* cells, int from, int to, EightCells* next) {
  for (int at = from; at >= to; at -= 16)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      EightCells found;
      std::memcpy(&found, cells + at + 8 * half, sizeof(found));
      const EightCells none = reinterpret_cast<EightCells>(found == kNoThreshold);
      found = (found & ~none) | (next[half] & none);
      next[half] = (found & 0xff000000u) | kNoThreshold;
      std::memcpy(cells + at + 8 * half, &found, sizeof(found));
    }
}

// Guide of the thresholds h of 16 rows: cells[cells_of(u) + row] is about the thresholds in the bucket of u. Its bytes from the
// lowest: the lower bytes of up to three of them, 255 for none, their highest bits flipped; one more than how many lie in earlier
// buckets. A crowded one, of more than three or with a lower byte of 255, has 0 there, and in its lowest byte how many lie in
// earlier ones. Thresholds of 65535 and above decide nothing: a uniform of 65535 takes the exact way.
template <bool Fine>
static void build_guide(uint32_t* cells, const uint16_t (*h)[16], const int* stored) {
  for (int i = 0; i < (Fine ? kFineCells : kCells); ++i) cells[i] = kNoThreshold;
  struct {
    uint16_t cell, before;
  } crowded[16 * 240 + 1];
  int count = 0, zeros = 0;  // a row has as many thresholds of 0 as the one before, or more
  alignas(32) uint32_t ends[16];
  for (int row = 0; row < 16; ++row) {
    const int end = stored[row >> 3];
    while (zeros < end && h[zeros][row] == 0) ++zeros;
    uint32_t value = 1 << 24 | kNoThreshold, in_bucket = 0, last = ~0u;
    int j = 0;
    if (zeros > 3) {  // a crowded cell, whatever follows
      j = zeros;
      in_bucket = static_cast<uint32_t>(zeros - 1);
      last = cells_of<Fine>(0) + static_cast<uint32_t>(row);
      cells[last] = value;
      crowded[count].cell = static_cast<uint16_t>(last);
      crowded[count++].before = 0;
    }
    for (; j < end && h[j][row] != 65535; ++j) {
      const uint32_t t = h[j][row], cell = cells_of<Fine>(t) + static_cast<uint32_t>(row), low = t & 255;
      in_bucket = cell == last ? in_bucket + 1 : 0;
      value = cell == last ? value : static_cast<uint32_t>(j + 1) << 24 | kNoThreshold;
      value ^= in_bucket < 3 ? (low ^ 255) << 8 * in_bucket : 0;
      last = cell;
      cells[cell] = value;
      crowded[count].cell = static_cast<uint16_t>(cell);
      crowded[count].before = static_cast<uint16_t>(static_cast<uint32_t>(j) - in_bucket);
      count += (in_bucket == 3) | (low == 255);
    }
    ends[row] = static_cast<uint32_t>(j + 1) << 24 | kNoThreshold;
  }
  EightCells next[2];
  std::memcpy(next, ends, sizeof(next));
  if (Fine) fill_cells(cells, kFineCells - 16, kFineCells - 256, next);
  fill_cells(cells, Fine ? kCells - 32 : kCells - 16, Fine ? 16 : 0, next);
  if (Fine) fill_cells(cells, kFineCells - 272, kCells, next);
  for (int i = 0; i < count; ++i) cells[crowded[i].cell] = (kNoThreshold & ~0xffu) | crowded[i].before;
}

#endif

void build_table(DrawTable& table, double p, double q, int max_count) {
  const Layout layout = FB_ISA_LEVEL < 2 ? Layout::guides : has_vbmi ? Layout::bytes : Layout::words;
  if (table.p == p && table.q == q && table.max_count == max_count && table.layout == layout) return;
  table.layout = layout;
  table.p = p;
  table.q = q;
  table.max_count = max_count;
  table.prob = shared_prob(probability_or_zero(p), probability_or_zero(q));  // they may have changed since their check
  if (table.prob.trivial) return;
  const int top_upper = max_count >> 4, top_lower = max_count < 15 ? max_count : 15;
  table.odds = table.prob.p / table.prob.q;
  table.step_upper = power16(table.prob.q);
  table.rows_upper[0] = table.rows_upper[1] = 0;
  alignas(64) double starts_upper[16], starts_lower[16];  // row_start, as two chains of products at once
  starts_upper[0] = starts_lower[0] = 1.0;
  for (int lane = 1; lane < 16; ++lane) {
    starts_upper[lane] = starts_upper[lane - 1] * table.step_upper;
    starts_lower[lane] = starts_lower[lane - 1] * table.prob.q;
  }
#if FB_ISA_LEVEL == 2
  table.upper.levels = 0;
  table.upper.span = 0xffff ^ 0x8000;  // without upper rows nothing is missed
#endif
  if (top_upper > 0) {
    build_rows<16>(table.odds, starts_upper, top_upper, table.cdf_upper, table.h_upper, table.rows_upper);
#if FB_ISA_LEVEL == 2
    (has_vbmi ? build_window<true> : build_window<false>)(table.upper, table.prob.p, table.prob.q, top_upper, table.h_upper, table.rows_upper[1]);
#else
    build_guide<true>(table.guide_upper, table.h_upper, table.rows_upper);
#endif
  }
  build_rows<1>(table.odds, starts_lower, top_lower, table.cdf_lower, table.h_lower, table.rows_lower);
#if FB_ISA_LEVEL == 2
  fill_rows(table.h_lower + table.rows_lower[1], 16);
  (has_vbmi ? build_anchored<true> : build_anchored<false>)(table.lower, table.upper.levels > kUnsearched, top_lower, table.h_lower);
#else
  build_guide<false>(table.guide_lower, table.h_lower, table.rows_lower);
#endif
}
