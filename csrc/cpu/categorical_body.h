// Body, once per instruction set: eight rows of weights at a time. Their sums run side by side, each in its own order, so
// the bits are those of draw_category (fastblackout/categorical.h); searches run over the sums themselves, since
// floor(cum factor) <= V is the same as cum factor < V + 1.

constexpr int kLanes = FB_ISA_LEVEL == 2 ? 8 : FB_ISA_LEVEL == 1 ? 4 : 2;  // doubles of a register
typedef double Wide __attribute__((vector_size(8 * (FB_ISA_LEVEL == 2 ? 8 : FB_ISA_LEVEL == 1 ? 4 : 2))));
typedef int64_t WideMask __attribute__((vector_size(8 * (FB_ISA_LEVEL == 2 ? 8 : FB_ISA_LEVEL == 1 ? 4 : 2))));

struct Eight {
  alignas(64) double total[8], factor[8];
  alignas(64) int64_t wrong[8];               // whether a weight is none (is_weight)
};

// Memory of a thread, kept between calls.
struct RowScratch {
  std::vector<double> memory;
  std::vector<uint32_t> start;                // of a row's elements, in the order sorted by row
  alignas(64) uint32_t words[kBlock + 64];
  uint16_t row[kBlock], from[kBlock], result[kBlock], order[kBlock];
  // 64-byte aligned, room for `count` doubles
  double* doubles(int64_t count) {
    if (static_cast<int64_t>(memory.size()) < count + 8) memory.resize(static_cast<size_t>(count + 8));
    return reinterpret_cast<double*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) & ~uintptr_t{63});
  }
};

static RowScratch& row_scratch() {
  static thread_local std::unique_ptr<RowScratch> kept;
  if (!kept) kept.reset(new RowScratch);
  return *kept;
}

// Entry j of kLanes rows
template <class T>
static FB_HD Wide column(const T* const* row, int64_t j) {
#define FB_ENTRY(lane) static_cast<double>(row[lane][j])
#if FB_ISA_LEVEL == 2
  return Wide{FB_ENTRY(0), FB_ENTRY(1), FB_ENTRY(2), FB_ENTRY(3), FB_ENTRY(4), FB_ENTRY(5), FB_ENTRY(6), FB_ENTRY(7)};
#elif FB_ISA_LEVEL == 1
  return Wide{FB_ENTRY(0), FB_ENTRY(1), FB_ENTRY(2), FB_ENTRY(3)};
#else
  return Wide{FB_ENTRY(0), FB_ENTRY(1)};
#endif
#undef FB_ENTRY
}

// Running sums of eight rows, and whether an entry was no weight.
struct Sums {
  Wide total[8 / kLanes] = {};
  WideMask wrong[8 / kLanes] = {};

  template <bool Check>
  FB_HD void add(int part, Wide w, double* cum) {
    if (Check) wrong[part] |= ~((w >= 0.0) & (w <= kLargestWeight));
    total[part] = total[part] + w;
    std::memcpy(cum + part * kLanes, &total[part], sizeof(Wide));
  }
  void finish(Eight& e) const {
    std::memcpy(e.total, total, sizeof(e.total));
    std::memcpy(e.wrong, wrong, sizeof(e.wrong));
    for (int lane = 0; lane < 8; ++lane) e.factor[lane] = is_drawable(e.total[lane]) ? threshold_factor(e.total[lane]) : 0.0;
  }
};

// cum[8 j + lane] of eight rows of weights; what lies `ahead` of each is fetched meanwhile. Check: whether they are weights.
template <class T, bool Check = true>
static void sum_rows(const T* const row[8], int64_t states, double* cum, Eight& e, int64_t ahead = 0) {
  Sums sums;
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t j0 = 0; j0 < states; j0 += kLine) {
    if (ahead != 0)
      for (int lane = 0; lane < 8; ++lane) __builtin_prefetch(row[lane] + ahead + j0);
    const int64_t end = j0 + kLine < states ? j0 + kLine : states;
    for (int64_t j = j0; j < end; ++j)
      for (int part = 0; part < 8 / kLanes; ++part)
        sums.add<Check>(part, column(row + part * kLanes, j), cum + 8 * j);
  }
  sums.finish(e);
}

// state[e] = #{j : C(j) <= V} of `count` <= AtOnce elements searched side by side, element e in lane[e]; `states` where V is at or above every
// threshold below 2^48: then the last state of positive weight is the one, which the caller knows how to find.
template <int AtOnce>
static inline void search_lanes(const double* cum, int64_t states, const Eight& rows, const SampleKey& key, uint32_t stream_refine,
                                const uint32_t* i, const uint32_t* v, const int64_t* lane, int count, int64_t* state) {
  alignas(64) double factor[AtOnce], above[AtOnce];
  alignas(64) int64_t at[AtOnce], tie[AtOnce];
  for (int e = 0; e < AtOnce; ++e) {
    const int from = e < count ? e : 0;
    factor[e] = rows.factor[lane[from]];
    above[e] = static_cast<double>(static_cast<int64_t>(v[from])) * 65536.0 + 1.0;  // V + 1 for the low bits 0
    at[e] = lane[from] - 8;                                                          // cum[at + 8 * found]
  }
  int64_t step = 1;
  while (step * 2 <= states) step *= 2;
  const int64_t end = 8 * states;
  for (step *= 8; step >= 8; step /= 2)
    for (int e = 0; e < AtOnce; ++e) {
      const int64_t next = at[e] + step;
      const int64_t inside = next < end ? next : at[e] & 7;
      const bool below = (next < end) & (cum[inside] * factor[e] < above[e]);
      at[e] = below ? next : at[e];
    }
  int64_t ties = 0;
  for (int e = 0; e < AtOnce; ++e) {
    const int64_t next = at[e] + 8 < end ? at[e] + 8 : at[e] & 7;
    tie[e] = (at[e] + 8 < end) & (cum[next] * factor[e] < above[e] + 65535.0);
    ties |= tie[e];
  }
  for (int e = 0; e < count; ++e) state[e] = (at[e] + 8) >> 3;
  if (ties == 0) return;
  for (int e = 0; e < count; ++e) {
    if (tie[e] == 0) continue;
    const uint64_t u = category_bits(key, i[e], v[e], stream_refine);
    while (state[e] < states && scaled_threshold(cum[8 * state[e] + lane[e]], factor[e]) <= u) ++state[e];
  }
}

// The elements of a block sorted by s.row, all below `rows`: order, and where each row starts; stable.
static inline void sort_rows(RowScratch& s, int64_t rows, int count) {
  s.start.assign(static_cast<size_t>(rows + 1), 0);
  for (int e = 0; e < count; ++e) ++s.start[s.row[e] + 1u];
  for (int64_t r = 0; r < rows; ++r) s.start[r + 1] += s.start[r];
  for (int e = 0; e < count; ++e) s.order[s.start[s.row[e]]++] = static_cast<uint16_t>(e);
  for (int64_t r = rows; r > 0; --r) s.start[r] = s.start[r - 1];
  s.start[0] = 0;
}

// States brought below `end`. Whether they all were.
static inline bool keep_below(int64_t end, int64_t* states, int count) {
  int64_t changed = 0;
  for (int e = 0; e < count; ++e) {
    const int64_t state = index_below(end, states[e]);
    changed |= state ^ states[e];
    states[e] = state;
  }
  return changed == 0;
}

static inline bool load_states(const View& view, int64_t sample, int64_t i0, int count, int64_t end, uint16_t* to) {
  int64_t buffer[kChunk];
  bool right = true;
  for (int at = 0; at < count; at += kChunk) {
    const int part = count - at < kChunk ? count - at : kChunk;
    load(view, sample, i0 + at, part, buffer);
    right &= keep_below(end, buffer, part);
    for (int e = 0; e < part; ++e) to[at + e] = static_cast<uint16_t>(buffer[e]);
  }
  return right;
}

static inline void store_states(const View& view, int64_t sample, int64_t i0, int count, const uint16_t* from) {
  int64_t buffer[kChunk];
  for (int at = 0; at < count; at += kChunk) {
    const int part = count - at < kChunk ? count - at : kChunk;
    for (int e = 0; e < part; ++e) buffer[e] = from[at + e];
    store(view, sample, i0 + at, part, buffer);
  }
}

static inline SampleKey key_of(const Common& op, int64_t sample) {
  SampleKey key = op.key;
  key.sample += static_cast<uint32_t>(sample);
  return key;
}
