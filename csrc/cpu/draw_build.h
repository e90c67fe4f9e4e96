// Body, once per instruction set: the thresholds of all rows for one probability, and the search windows over them.
// GCC vector types: eight rows advance together, every lane in the order draw.h of the shared headers writes down.

typedef double f64x8 __attribute__((vector_size(64)));

// h <- min(C >> 32, 65535) of lanes 8 From .. 8 To - 1, and 65535 for the others. cdf: 2^16 times as much, whose floor it is.
template <int From, int To>
static FB_HD void store_high(const f64x8* cdf, uint16_t* h) {
#if FB_ISA_LEVEL == 2
  const __m128i none = _mm_set1_epi64x(-1);
  const __m128i low = From == 0 ? _mm512_cvtusepi64_epi16(_mm512_cvttpd_epu64(cdf[0])) : none;
  const __m128i high = To == 2 ? _mm512_cvtusepi64_epi16(_mm512_cvttpd_epu64(cdf[1])) : none;
  _mm256_store_si256(reinterpret_cast<__m256i*>(h), _mm256_set_m128i(high, low));
#else
  for (int lane = 0; lane < 16; ++lane) {
    const double scaled = lane >= 8 * From && lane < 8 * To ? cdf[lane >> 3][lane & 7] : 65535.0;
    h[lane] = static_cast<uint16_t>(static_cast<int>(scaled < 65535.0 ? scaled : 65535.0));
  }
#endif
}

static inline bool saturated(const uint16_t* h) {  // eight rows
  uint64_t words[2];
  std::memcpy(words, h, sizeof(words));
  return (words[0] & words[1]) == ~static_cast<uint64_t>(0);
}

struct Rows {
  f64x8 left[2], pm[2], cdf[2];  // left: n - j; pm and cdf 2^16 times as large, which changes no other bit of them
};

// Lanes 8 From .. 8 To - 1 from j on, until the first eight of them are at or above 65535 << 32, and so all later ones, or
// there are no more thresholds. h of the other lanes becomes 65535. Returns the j reached.
template <int Unit, int From, int To>
static int grow_rows(Rows& rows, int j, double odds, int top, double (*c)[16], uint16_t (*h)[16]) {
  const f64x8 ramp = {0, 1, 2, 3, 4, 5, 6, 7};
  for (bool done = false; !done && j < Unit * top; done = saturated(h[j - 1] + 8 * From)) {
    alignas(64) double w[8];
    const f64x8 odds8 = odds / (ramp + static_cast<double>(j + 1));
    std::memcpy(w, &odds8, sizeof(w));
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      store_high<From, To>(rows.cdf, h[j + r]);
#pragma GCC unroll 2
      for (int half = From; half < To; ++half) {
        std::memcpy(&c[j + r][half * 8], &rows.cdf[half], sizeof(f64x8));
        rows.pm[half] = rows.pm[half] * (rows.left[half] * w[r]);
        rows.cdf[half] = rows.cdf[half] + rows.pm[half];
        rows.left[half] = rows.left[half] - 1.0;
      }
    }
    j += 8;
  }
  return j;
}

// Rows n = Unit * lane, lane 0..15, for j = 0, 1, ... until C(j) is at or above 65535 << 32 in all of them. Past a row's end
// pm is 0 and cdf stays what it was, 1 but for rounding: 65535 too. stored: how many j lanes 0..7 and 8..15 have.
template <int Unit>
static void build_rows(double odds, const double* starts, int top, double (*c)[16], uint16_t (*h)[16], int* stored) {
  const f64x8 ramp = {0, 1, 2, 3, 4, 5, 6, 7};
  Rows rows;
  for (int half = 0; half < 2; ++half) {
    std::memcpy(&rows.pm[half], starts + 8 * half, sizeof(f64x8));
    rows.pm[half] = rows.pm[half] * 65536.0;
    rows.left[half] = (ramp + 8.0 * half) * static_cast<double>(Unit);
    rows.cdf[half] = rows.pm[half];
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

// Guide of the thresholds h of 16 rows: cell[bucket][row], the bucket being u >> kGuideShift, holds from its low bits up a
// threshold (16 bits), how many lie in earlier buckets (8), how many in this one (8). With one in it, the threshold is that;
// without any, 65535.
static void build_guide(uint32_t (*cell)[16], const uint16_t (*h)[16], const int* stored) {
  constexpr int kBuckets = 65536 >> kGuideShift;
  std::memset(cell, 0, sizeof(cell[0]) * kBuckets);
  uint32_t unused[16];  // 65535 and above decide nothing: a uniform of 65535 takes the exact way
  for (int half = 0; half < 2; ++half)
    for (int j = 0; j < stored[half]; ++j)
      for (int row = 8 * half; row < 8 * half + 8; ++row) {
        const uint32_t t = h[j][row];
        uint32_t& at = t == 65535 ? unused[row] : cell[t >> kGuideShift][row];
        at = (at >> 24 != 0 ? at : static_cast<uint32_t>(j) << 16 | t) + (1u << 24);
      }
  typedef uint32_t u32x8 __attribute__((vector_size(32)));
  for (int half = 0; half < 2; ++half) {
    u32x8 before = {};
    for (int bucket = 0; bucket < kBuckets; ++bucket) {
      u32x8 found;
      std::memcpy(&found, &cell[bucket][8 * half], sizeof(found));
      const u32x8 count = found >> 24, none = reinterpret_cast<u32x8>(count == 0u);
      found = (found & ~none) | ((before << 16 | 0xffffu) & none);
      before = before + count;
      std::memcpy(&cell[bucket][8 * half], &found, sizeof(found));
    }
  }
}

#endif

void build_table(DrawTable& table, double p, double q, int max_count) {
  const Layout layout = FB_ISA_LEVEL < 2 ? Layout::guides : has_vbmi ? Layout::bytes : Layout::words;
  if (table.p == p && table.q == q && table.max_count == max_count && table.layout == layout) return;
  table.layout = layout;
  table.p = p;
  table.q = q;
  table.max_count = max_count;
  table.prob = shared_prob(p, q);
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
#endif
  if (top_upper > 0) {
    build_rows<16>(table.odds, starts_upper, top_upper, table.cdf_upper, table.h_upper, table.rows_upper);
#if FB_ISA_LEVEL == 2
    (has_vbmi ? build_window<true> : build_window<false>)(table.upper, table.prob.p, table.prob.q, top_upper, table.h_upper, table.rows_upper[1]);
#else
    build_guide(table.guide_upper, table.h_upper, table.rows_upper);
#endif
  }
  build_rows<1>(table.odds, starts_lower, top_lower, table.cdf_lower, table.h_lower, table.rows_lower);
#if FB_ISA_LEVEL == 2
  fill_rows(table.h_lower + table.rows_lower[1], 16);
  (has_vbmi ? build_anchored<true> : build_anchored<false>)(table.lower, top_lower, table.h_lower);
#else
  build_guide(table.guide_lower, table.h_lower, table.rows_lower);
#endif
}
