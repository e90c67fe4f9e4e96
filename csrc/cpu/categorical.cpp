// categorical: a new state drawn from row `state` of a sample's matrix, by its probabilities or by a table made of them.
#if !defined(FB_ISA)

#include "fastblackout/categorical.h"

#include <algorithm>

#include "cpu/support/categorical.h"
#include "cpu/support/chunks.h"

#define FB_FILE "cpu/categorical.cpp"
namespace fastblackout::cpu {
namespace {

struct Drawing : Categorical {
  mutable std::atomic<int64_t> first_bad;  // first element whose row is wrong
  mutable std::atomic<bool> bad_state;     // whether the state of some element is no row: it was drawn from another one
  const uint8_t* bad_row = nullptr;        // which rows are wrong, of a table that was made for this call alone
};

struct Building : CategoricalTable {
  mutable std::atomic<int64_t> first_bad;  // first wrong row
  uint8_t* bad_row = nullptr;              // (R,): where wrong rows are marked, since perhaps no element uses them
};

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

void check_index(const char* name, const Matrices& matrices, const int64_t* index, int64_t samples) {
  if (index == nullptr) return;
  for (int64_t sample = 0; sample < samples; ++sample) {
    if (index[sample] >= 0 && index[sample] < matrices.matrices) continue;
    char text[160];
    std::snprintf(text, sizeof(text), "%s: index: must be in 0..%lld, got %lld at sample %lld", name,
                  static_cast<long long>(matrices.matrices - 1), static_cast<long long>(index[sample]),
                  static_cast<long long>(sample));
    throw std::invalid_argument(text);
  }
}

void refuse_row(const char* name, const double* row, int64_t states, double tolerance, const char* place) {
  double total = 0.0, least = row[0];
  for (int64_t j = 0; j < states; ++j) {
    total = total + row[j];
    least = row[j] >= least ? least : row[j];
  }
  char text[320];
  std::snprintf(text, sizeof(text),
                "%s: probs: rows must be at least 0 and sum to 1 within %g, got a row that sums to %.17g with least entry "
                "%.17g at %s",
                name, tolerance, total, least, place);
  throw std::invalid_argument(text);
}

namespace {

FB_CHUNK(draw_block, Drawing)
FB_CHUNK(table_chunk, Drawing)
FB_CHUNK(build_rows, Building)

[[noreturn]] void refuse(const char* name, const Matrices& probs, const int64_t* index, int64_t sample, int64_t r, const char* place) {
  std::vector<double> row(static_cast<size_t>(probs.states));
  for (int64_t j = 0; j < probs.states; ++j)
    row[j] = probs.dtype == Dtype::f64 ? probs.row<double>(index, sample, r)[j] : static_cast<double>(probs.row<float>(index, sample, r)[j]);
  refuse_row(name, row.data(), probs.states, tolerance_of(probs.dtype), place);
}

// Whether one matrix serves so many elements that a table of its thresholds, made once for all blocks, is faster. Same bits.
bool worth_a_table(const Categorical& op) {
  const int64_t entries = op.probs.rows * op.probs.states, blocks = op.samples * ((op.elements + kBlock - 1) / kBlock);
  return op.probs.matrices == 1 && blocks >= 3 && entries <= (1 << 22) && op.samples * op.elements >= entries / 16;
}

void draw_through_table(const Drawing& op) {
  const int64_t rows = op.probs.rows, states = op.probs.states;
  std::vector<int64_t> thresholds(static_cast<size_t>(rows * states));
  std::vector<uint16_t> guide(static_cast<size_t>(rows * kGuide));
  std::vector<uint8_t> bad(static_cast<size_t>(rows));
  CategoricalTable table;
  static_cast<Common&>(table) = op;
  table.samples = 1;
  table.elements = rows;
  table.probs = op.probs;
  table.thresholds = thresholds.data();
  table.guide = guide.data();
  const Building building{table, {INT64_MAX}, bad.data()};
  for_chunks(building, build_rows, 8, states / 2 + 1);
  Drawing drawing{op, {INT64_MAX}, {false}, bad.data()};
  drawing.thresholds = Matrices{reinterpret_cast<const char*>(thresholds.data()), Dtype::i64, 1, rows, states, 0, states};
  drawing.guide = Matrices{reinterpret_cast<const char*>(guide.data()), Dtype::u8, 1, rows, kGuide, 0, kGuide};
  for_chunks(drawing, table_chunk);
  op.first_bad = drawing.first_bad.load();
  op.bad_state = drawing.bad_state.load();
}

void draw_states(const Categorical& op) {
  const Matrices& given = op.probs.data != nullptr ? op.probs : op.thresholds;
  check_index("categorical", given, op.index, op.samples);
  const Drawing drawing{op, {INT64_MAX}, {false}};
  if (op.probs.data == nullptr) for_chunks(drawing, table_chunk);
  else if (worth_a_table(op)) draw_through_table(drawing);
  else for_chunks(drawing, draw_block, kBlock, given.states / 8 + 1);
  if (drawing.bad_state) check_values(op, "categorical", "state", op.state, Rule::count, static_cast<double>(given.rows - 1));
  const int64_t bad = drawing.first_bad;
  if (bad == INT64_MAX) return;
  const int64_t sample = bad / op.elements, i = bad % op.elements;
  const int64_t state = state_at(op.state, sample, i, op.probs.rows);
  char place[96];
  std::snprintf(place, sizeof(place), "sample %lld, element %lld, state %lld", static_cast<long long>(sample),
                static_cast<long long>(i), static_cast<long long>(state));
  refuse("categorical", op.probs, op.index, sample, state, place);
}

}  // namespace

void categorical(const Categorical& op) { draw_checked(op, draw_states); }

void categorical_from_table(const Categorical& op) { categorical(op); }

void build_categorical_table(const CategoricalTable& op) {
  const Building building{op, {INT64_MAX}};
  for_chunks(building, build_rows, 8, op.probs.states / 2 + 1);
  const int64_t bad = building.first_bad;
  if (bad == INT64_MAX) return;
  char place[96];
  std::snprintf(place, sizeof(place), "matrix %lld, row %lld", static_cast<long long>(bad / op.elements),
                static_cast<long long>(bad % op.elements));
  refuse("CategoricalTable", op.probs, nullptr, bad / op.elements, bad % op.elements, place);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/categorical.inc"

constexpr int kAtOnce = 16;

// Draws the elements s.order[begin, end), which are sorted by row; lane_of names the lane that holds the sums of a row.
template <class T>
static void draw_group(const Drawing& op, const DrawKey& key, int64_t i0, const T* const row[8], const int64_t* lane_of,
                       const Eight& rows, const double* cum, RowScratch& s, int begin, int end) {
  uint32_t i[kAtOnce], v[kAtOnce];
  int64_t lane[kAtOnce], state[kAtOnce];
  const int64_t states = op.probs.states;
  for (int at = begin; at < end; at += kAtOnce) {
    const int count = end - at < kAtOnce ? end - at : kAtOnce;
    for (int e = 0; e < count; ++e) {
      const int element = s.order[at + e];
      i[e] = static_cast<uint32_t>(i0 + element);
      v[e] = s.words[element];
      lane[e] = lane_of[s.row[element]];
    }
    search_lanes<kAtOnce>(cum, states, rows, key, CATEGORICAL_REFINE, i, v, lane, count, state);
    for (int e = 0; e < count; ++e) {
      if (state[e] == states)
        while (--state[e] > 0 && !(row[lane[e]][state[e]] > T(0))) {
        }
      s.result[s.order[at + e]] = static_cast<uint16_t>(state[e]);
    }
  }
}

template <class T>
static void draw_rows(const Drawing& op, const DrawKey& key, int64_t sample, int64_t i0, int count, RowScratch& s) {
  double* cum = s.doubles(8 * op.probs.states + op.probs.rows);
  int64_t* lane_of = reinterpret_cast<int64_t*>(cum + 8 * op.probs.states);
  for (int64_t r = 0; r < op.probs.rows;) {
    const T* row[8] = {};
    int used = 0;
    const int begin = static_cast<int>(s.start[r]);
    if (begin == count) return;
    int64_t which[8];
    for (; r < op.probs.rows && used < 8; ++r) {
      if (s.start[r + 1] == s.start[r]) continue;
      row[used] = op.probs.row<T>(op.index, sample, r);
      which[used] = r;
      lane_of[r] = used++;
    }
    for (int lane = used; lane < 8; ++lane) row[lane] = row[0];
    Eight rows;
    sum_rows(row, op.probs.states, cum, rows, 8 * op.probs.row_stride);  // most rows occur: the next eight are fetched
    for (int lane = 0; lane < used; ++lane)
      if (rows.wrong[lane] != 0 || !sums_to_one(rows.total[lane], tolerance_of(op.probs.dtype)))
        note_first(op.first_bad, sample * op.elements + i0 + s.order[s.start[which[lane]]]);
    draw_group(op, key, i0, row, lane_of, rows, cum, s, begin, static_cast<int>(s.start[r]));
  }
}

static void draw_block(const Drawing& op, int64_t sample, int64_t i0, int count) {
  RowScratch& s = row_scratch();
  const DrawKey key = key_of(op, sample);
  if (!load_states(op.state, sample, i0, count, op.probs.rows, s.row)) op.bad_state = true;
  stream_words(key, CATEGORICAL, static_cast<uint32_t>(i0), count, s.words);
  sort_rows(s, op.probs.rows, count);
  if (op.probs.dtype == Dtype::f64) draw_rows<double>(op, key, sample, i0, count, s);
  else draw_rows<float>(op, key, sample, i0, count, s);
  store_states(op.out, sample, i0, count, s.result);
}

// Draws by a table, whose guide says where a search starts and ends. All entries of guides are fetched first, and then all
// thresholds, so that the accesses of many elements overlap.
static void table_chunk(const Drawing& op, int64_t sample, int64_t i0, int count) {
  int64_t state[kChunk];
  alignas(64) uint32_t v[kChunk + 64];
  uint32_t low[kChunk], high[kChunk];
  const DrawKey key = key_of(op, sample);
  const int64_t states = op.thresholds.states;
  const uint32_t last = static_cast<uint32_t>(states - 1);
  const uint16_t* guide = op.guide.row<uint16_t>(op.index, sample, 0);
  const int64_t* table = op.thresholds.row<int64_t>(op.index, sample, 0);
  load(op.state, sample, i0, count, state);
  if (!keep_below(op.thresholds.rows, state, count)) op.bad_state = true;
  stream_words(key, CATEGORICAL, static_cast<uint32_t>(i0), count, v);
  if (op.bad_row != nullptr)
    for (int e = 0; e < count; ++e)
      if (op.bad_row[state[e]] != 0) note_first(op.first_bad, sample * op.elements + i0 + e);
  for (int e = 0; e < count; ++e) __builtin_prefetch(guide + state[e] * op.guide.row_stride + (v[e] >> 24));
  for (int e = 0; e < count; ++e) {
    const uint16_t* at = guide + state[e] * op.guide.row_stride + (v[e] >> 24);
    low[e] = *at;
    high[e] = v[e] >> 24 == kGuide - 1 ? last + 1 : at[1];
    __builtin_prefetch(table + state[e] * op.thresholds.row_stride + low[e]);
  }
  for (int e = 0; e < count; ++e) high[e] = high[e] <= last ? high[e] : last + 1;  // a search stays below high
  for (int e = 0; e < count; ++e) {
    const int64_t* row = table + state[e] * op.thresholds.row_stride;
    const int64_t u = static_cast<int64_t>(v[e]) << 16;
    int64_t found = low[e], end = high[e];
    while (found < end) {
      const int64_t middle = found + (end - found) / 2;
      if (row[middle] <= u) found = middle + 1;
      else end = middle;
    }
    if (found < states && row[found] >> 16 == static_cast<int64_t>(v[e])) {
      const int64_t exact = static_cast<int64_t>(category_bits(key, static_cast<uint32_t>(i0 + e), v[e], CATEGORICAL_REFINE));
      while (found < last && row[found] <= exact) ++found;
    }
    state[e] = found;
  }
  store(op.out, sample, i0, count, state);
}

template <class T>
static void build_eight(const Building& op, int64_t matrix, int64_t r0, int count, RowScratch& s) {
  const int64_t states = op.probs.states;
  double* cum = s.doubles(8 * states);
  const T* row[8];
  for (int lane = 0; lane < 8; ++lane) row[lane] = op.probs.row<T>(nullptr, matrix, r0 + (lane < count ? lane : 0));
  Eight rows;
  sum_rows(row, states, cum, rows);
  for (int lane = 0; lane < count; ++lane) {
    const int64_t at = matrix * op.elements + r0 + lane;
    int64_t* to = op.thresholds + at * states;
    if (rows.wrong[lane] != 0 || !sums_to_one(rows.total[lane], tolerance_of(op.probs.dtype))) {
      note_first(op.first_bad, at);
      if (op.bad_row != nullptr) op.bad_row[at] = 1;
      std::fill(to, to + states, int64_t{1} << 48);
      continue;
    }
    int64_t last = states - 1;
    while (last > 0 && !(row[lane][last] > T(0))) --last;
    for (int64_t j = 0; j < last; ++j) {
      const double scaled = cum[8 * j + lane] * rows.factor[lane];
      to[j] = static_cast<int64_t>(scaled < kTwo48 ? scaled : kTwo48);
    }
    for (int64_t j = last; j < states; ++j) to[j] = int64_t{1} << 48;
    uint16_t below[kGuide + 1] = {};  // how many thresholds lie in (2^40 (g - 1), 2^40 g]
    for (int64_t j = 0; j < last; ++j) ++below[(to[j] + ((int64_t{1} << 40) - 1)) >> 40];
    uint16_t sum = 0;
    for (int g = 0; g < kGuide; ++g) op.guide[at * kGuide + g] = sum = static_cast<uint16_t>(sum + below[g]);
  }
}

static void build_rows(const Building& op, int64_t matrix, int64_t r0, int count) {
  RowScratch& s = row_scratch();
  if (op.probs.dtype == Dtype::f64) build_eight<double>(op, matrix, r0, count, s);
  else build_eight<float>(op, matrix, r0, count, s);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
