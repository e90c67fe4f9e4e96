// Body, once per instruction set: the thresholds of all rows for one probability, and the search windows over them.
// GCC vector types: eight rows advance together, every lane in the order draw.h of the shared headers writes down.

typedef double f64x8 __attribute__((vector_size(64)));
typedef int64_t i64x8 __attribute__((vector_size(64)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));

// Rows n = unit * lane, lane 0..15, for j = 0, 1, ... until every row's C(j) is at or above 65535 << 32. Returns how many.
// Halves: 1 when only lanes 0..7 have rows.
template <int Halves>
static int build_rows(double odds, double step, int unit, int top, int64_t (*c)[16], uint16_t (*h)[16]) {
  const f64x8 ramp = {0, 1, 2, 3, 4, 5, 6, 7};
  f64x8 n[Halves], pm[Halves], cdf[Halves];
  double start = 1.0;
  double starts[16];
  for (int lane = 0; lane < 16; ++lane, start = start * step) starts[lane] = start;
  for (int half = 0; half < Halves; ++half) {
    std::memcpy(&pm[half], starts + 8 * half, sizeof(pm[half]));
    n[half] = (ramp + 8.0 * half) * static_cast<double>(unit);
    cdf[half] = pm[half];
  }
  const i64x8 cap = {65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535};
  const f64x8 one48 = {kTwo48, kTwo48, kTwo48, kTwo48, kTwo48, kTwo48, kTwo48, kTwo48};
  int j = 0;
  while (j < unit * top) {
    const f64x8 odds8 = odds / (ramp + static_cast<double>(j + 1));
    if (Halves == 1) std::memset(h[j], 0xff, sizeof(h[0]) * 8);
    for (int r = 0; r < 8; ++r, ++j) {
      const double w = odds8[r], at = static_cast<double>(j);
#pragma GCC unroll 2
      for (int half = 0; half < Halves; ++half) {
        const f64x8 scaled = cdf[half] * kTwo48;
        const f64x8 capped = scaled < one48 ? scaled : one48;
        const i64x8 whole = __builtin_convertvector(capped, i64x8);
        std::memcpy(&c[j][half * 8], &whole, sizeof(whole));
        const i64x8 high = whole >> 32;
        const i64x8 clipped = (n[half] > at) & (high < cap) ? high : cap;
        const u16x8 narrow = __builtin_convertvector(clipped, u16x8);
        std::memcpy(&h[j][half * 8], &narrow, sizeof(narrow));
        pm[half] = pm[half] * ((n[half] - at) * w);
        cdf[half] = cdf[half] + pm[half];
      }
    }
    uint64_t words[4];
    std::memcpy(words, h[j - 1], sizeof(words));
    if ((words[0] & words[1] & words[2] & words[3]) == ~static_cast<uint64_t>(0)) break;
  }
  return j;
}

// to[lane] = from[offset[lane]], 16 lanes.
static inline void gather16(const uint16_t* from, const int* offset, uint16_t* to) {
#if FB_ISA_LEVEL == 2
  const __m512i at = _mm512_loadu_si512(offset);
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_i32gather_epi32(at, from, 2)));
#else
  for (int lane = 0; lane < 16; ++lane) to[lane] = from[offset[lane]];
#endif
}

// The smallest window around the mean that misses at most 2 in 1,000 uniforms, and its thresholds in level order.
static void build_window(WindowSearch& search, double p, double q, int unit, int top, const uint16_t (*h)[16]) {
  const int most = unit * top;
  alignas(64) int first[16], n[16], offset[16], previous[16];
  alignas(64) uint16_t under[16], over[16];
  for (int lane = 0; lane < 16; ++lane) n[lane] = lane <= top ? unit * lane : 0;
  int levels = 1;  // a window of less than two standard deviations to each side misses too much: no need to look
  while (levels < kMaxLevels && static_cast<double>(1 << (2 * levels)) < 16.0 * most * p * q) ++levels;
  for (;; ++levels) {
    const int width = (1 << levels) - 1, half = width >= most ? most : 1 << (levels - 1);
    for (int lane = 0; lane < 16; ++lane) {
      const int below = static_cast<int>(n[lane] * p + 0.5) - half;
      first[lane] = below > 0 ? below : 0;
      offset[lane] = first[lane] * 16 + lane;
      previous[lane] = first[lane] > 0 ? offset[lane] - 16 : lane;
    }
    gather16(&h[width][0], offset, over);
    gather16(&h[0][0], previous, under);
    int below = -1, above = 65535;
    for (int lane = 0; lane < 16; ++lane) {
      const int u = first[lane] > 0 ? under[lane] : -1, o = first[lane] + width < n[lane] ? over[lane] - 1 : 65535;
      below = u > below ? u : below;
      above = o < above ? o : above;
    }
    if (levels < kMaxLevels && (below + 1) + (65535 - above) > 131) continue;
    search.levels = levels;
    search.lowest = static_cast<uint16_t>(below + 1);
    search.span = static_cast<uint16_t>(above - below - 1);
    break;
  }
  for (int lane = 0; lane < 16; ++lane) search.first[lane] = static_cast<uint16_t>(first[lane]);
  const uint16_t* before = kPathCounts.of[levels];
  for (int level = 0; level < levels; ++level) {
    const int half = 1 << (levels - 1 - level), all_left = (1 << levels) - (1 << level);
    for (int path = 0; path < 1 << level; ++path)  // steps left after the path add nothing to what lies before its node
      gather16(&h[before[path | all_left] + half - 1][0], offset, search.level + (16 << level) + 16 * path);
  }
}

void build_table(DrawTable& table, double p, double q, int max_count) {
  if (table.p == p && table.q == q && table.max_count == max_count) return;
  table.p = p;
  table.q = q;
  table.max_count = max_count;
  table.prob = shared_prob(p, q);
  if (table.prob.trivial) return;
  const int top_upper = max_count >> 4, top_lower = max_count < 15 ? max_count : 15;
  table.odds = table.prob.p / table.prob.q;
  table.step_upper = power16(table.prob.q);
  table.rows_upper = 0;
  table.upper.levels = 0;
  if (top_upper > 0) {
    table.rows_upper = (top_upper < 8 ? build_rows<1> : build_rows<2>)(table.odds, table.step_upper, 16, top_upper,
                                                                       table.c_upper, table.h_upper);
    std::memset(table.h_upper[table.rows_upper], 0xff, sizeof(table.h_upper[0]) * 64);
    build_window(table.upper, table.prob.p, table.prob.q, 16, top_upper, table.h_upper);
  }
  table.rows_lower = (top_lower < 8 ? build_rows<1> : build_rows<2>)(table.odds, table.prob.q, 1, top_lower, table.c_lower,
                                                                     table.h_lower);
  std::memset(table.h_lower[table.rows_lower], 0xff, sizeof(table.h_lower[0]) * 16);
  build_window(table.lower, table.prob.p, table.prob.q, 1, top_lower, table.h_lower);
}
