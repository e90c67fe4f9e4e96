// categorical_bridge: draws x_s = i with weight before[x_0, i] * after[i, x_t], where x_0 is given or drawn first from logits
// or probabilities. Rows of weights are made for eight elements at a time; nothing as large as the predictions is stored.
#if !defined(FB_ISA)

#include "fastblackout/categorical.h"

#include <limits>

#include "cpu/support/categorical.h"
#include "cpu/support/chunks.h"

#define FB_FILE "cpu/categorical_bridge.cpp"
namespace fastblackout::cpu {
namespace {

enum Fault { kWeights, kBefore, kAfter, kPath };  // wrong entries of an argument; kPath: no way from x_0 to x_t

struct Bridging : CategoricalBridge {
  mutable std::atomic<int64_t> first_bad[4];     // the first element that has each fault
  mutable std::atomic<bool> bad_x_t, bad_x_0;    // whether some element's is no state: another was taken for it
};

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

constexpr const char* kName = "categorical_bridge";

FB_CHUNK(bridge_block, Bridging)

std::string place_of(const CategoricalBridge& op, int64_t at) {
  return "sample " + std::to_string(at / op.elements) + ", element " + std::to_string(at % op.elements);
}

[[noreturn]] void refuse(const char* argument, const char* rule, double value, const std::string& place) {
  char text[320];
  std::snprintf(text, sizeof(text), "%s: %s: %s, got %.17g at %s", kName, argument, rule, value, place.c_str());
  throw std::invalid_argument(text);
}

[[noreturn]] void refuse_weights(const CategoricalBridge& op, int64_t at) {
  const int64_t states = op.before.states, sample = at / op.elements, i = at % op.elements;
  std::vector<double> row(static_cast<size_t>(states));
  for (int64_t j = 0; j < states; ++j) scalar::load(op.weights, sample, i * states + j, 1, &row[j]);
  if (!op.is_logits) refuse_row(kName, row.data(), states, tolerance_of(op.weights.dtype), place_of(op, at).c_str());
  double shown = row[0];
  for (double value : row)
    if (!is_logit(static_cast<float>(value))) shown = value;
  refuse("logits", "must be below infinity, and one of each element finite in float32", shown, place_of(op, at));
}

[[noreturn]] void refuse_entry(const CategoricalBridge& op, const char* argument, int64_t at, int64_t x_0, int64_t x_t) {
  const bool is_before = argument[0] == 'b';
  for (int64_t j = 0; j < op.before.states; ++j) {
    const double w = is_before ? op.before.row<double>(op.index, at / op.elements, x_0)[j] : op.after.row<double>(op.index, at / op.elements, j)[x_t];
    if (!is_weight(w)) refuse(argument, "must be in [0, 1]", w, place_of(op, at));
  }
  throw std::invalid_argument(std::string(kName) + ": " + argument + ": must not change during the call, got one that did at " +
                              place_of(op, at));
}

// The x_0 of an element, given or drawn as the kernel draws it, for error messages.
int64_t source_of(const CategoricalBridge& op, int64_t at) {
  const int64_t states = op.before.states, sample = at / op.elements, i = at % op.elements;
  if (op.x_0) return state_at(op.x_0, sample, i, states);
  std::vector<double> row(static_cast<size_t>(states));
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < states; ++j) {
    scalar::load(op.weights, sample, i * states + j, 1, &row[j]);
    if (op.is_logits && static_cast<float>(row[j]) > largest) largest = static_cast<float>(row[j]);
  }
  const DrawKey key = key_of(op, sample);
  const auto weight = [&](int64_t j) { return op.is_logits ? logit_weight(static_cast<float>(row[j]), largest) : row[j]; };
  return draw_category(weight, states, 0, key, static_cast<uint32_t>(i), CATEGORICAL_X0, CATEGORICAL_X0_REFINE).state;
}

int64_t target_of(const CategoricalBridge& op, int64_t at) {
  return state_at(op.x_t, at / op.elements, at % op.elements, op.before.states);
}

void draw_states(const CategoricalBridge& op) {
  const int64_t states = op.before.states;
  check_index(kName, op.before, op.index, op.samples);
  check_index(kName, op.after, op.index, op.samples);
  Bridging bridging{op, {{INT64_MAX}, {INT64_MAX}, {INT64_MAX}, {INT64_MAX}}, {false}, {false}};
  for_chunks<Bridging>(bridging, bridge_block, kBlock, states);
  if (bridging.bad_x_t) check_values(op, kName, "x_t", op.x_t, Rule::count, static_cast<double>(states - 1));
  if (bridging.bad_x_0) check_values(op, kName, "x_0", op.x_0, Rule::count, static_cast<double>(states - 1));
  const auto& first = bridging.first_bad;
  if (first[kWeights] != INT64_MAX) refuse_weights(op, first[kWeights]);
  if (first[kAfter] != INT64_MAX) refuse_entry(op, "after", first[kAfter], 0, target_of(op, first[kAfter]));
  if (op.unseeded != nullptr && !op.x_0) return;  // the rest is wrong for some x_0 alone, which are drawn by the seed
  if (first[kBefore] != INT64_MAX) refuse_entry(op, "before", first[kBefore], source_of(op, first[kBefore]), 0);
  if (first[kPath] == INT64_MAX) return;
  const int64_t at = first[kPath];
  throw std::invalid_argument(std::string(kName) + ": x_0: must have a path to x_t, got x_0 = " + std::to_string(source_of(op, at)) +
                              ", x_t = " + std::to_string(target_of(op, at)) + " at " + place_of(op, at));
}

}  // namespace

void categorical_bridge(const CategoricalBridge& op) { draw_checked(op, draw_states); }

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/categorical.inc"

static inline void note(const Bridging& op, Fault fault, int64_t sample, int64_t i) {
  note_first(op.first_bad[fault], sample * op.elements + i);
}

static inline bool all_weights(const double* w, int64_t count) {
  int wrong = 0;
  for (int64_t j = 0; j < count; ++j) wrong |= !is_weight(w[j]);
  return wrong == 0;
}

// sum_rows for eight rows of products a[j] b[j], whose factors are checked elsewhere
static void sum_products(const double* const a[8], const double* const b[8], int64_t states, double* cum, Eight& e) {
  Sums sums;
  for (int64_t j = 0; j < states; ++j)
    for (int part = 0; part < 8 / kLanes; ++part)
      sums.add<false>(part, column(a + part * kLanes, j) * column(b + part * kLanes, j), cum + 8 * j);
  sums.finish(e);
}

// Makes the weights of one element from its logits; false where one of them is NaN or +inf, or none is finite.
static bool weights_of_logits(const float* logits, int64_t states, double* weights) {
  const float lowest = bit_cast<float>(0xff800000u), infinity = bit_cast<float>(0x7f800000u);
  const int32_t least = in_order(bit_cast<int32_t>(lowest));
  int32_t most = least, right = 1;
  for (int64_t j = 0; j < states; ++j) {
    const int32_t is = logits[j] < infinity, order = in_order(bit_cast<int32_t>(logits[j]));
    const int32_t kept = is != 0 ? order : least;
    right &= is;
    most = kept > most ? kept : most;
  }
  const float largest = bit_cast<float>(in_order(most));
  for (int64_t j = 0; j < states; ++j) weights[j] = logit_weight(logits[j], largest);
  return right != 0 && largest > lowest;
}

// Sets s.from to the x_0 of each element, drawn from its logits or probabilities.
static void predict(const Bridging& op, const DrawKey& key, int64_t sample, int64_t i0, int count, RowScratch& s) {
  const int64_t states = op.before.states;
  double *cum = s.doubles(17 * states), *weights = cum + 8 * states;
  float* logits = reinterpret_cast<float*>(cum + 16 * states);
  stream_words(key, CATEGORICAL_X0, static_cast<uint32_t>(i0), count, s.words);
  for (int at = 0; at < count; at += 8) {
    const int part = count - at < 8 ? count - at : 8;
    const double* row[8];
    uint32_t i[8];
    int64_t lane[8], state[8];
    bool right[8];
    for (int e = 0; e < 8; ++e) {
      row[e] = weights + (e < part ? e : 0) * states;
      i[e] = static_cast<uint32_t>(i0 + at + e);
      lane[e] = e;
      right[e] = true;
      if (e >= part) continue;
      const int64_t from = (i0 + at + e) * states;
      if (op.is_logits) {
        load(op.weights, sample, from, static_cast<int>(states), logits);
        right[e] = weights_of_logits(logits, states, weights + e * states);
      } else {
        load(op.weights, sample, from, static_cast<int>(states), weights + e * states);
      }
    }
    Eight rows;
    if (op.is_logits) sum_rows<double, false>(row, states, cum, rows);
    else sum_rows(row, states, cum, rows);
    search_lanes<8>(cum, states, rows, key, CATEGORICAL_X0_REFINE, i, s.words + at, lane, part, state);
    for (int e = 0; e < part; ++e) {
      const bool law = op.is_logits ? right[e] : rows.wrong[e] == 0 && sums_to_one(rows.total[e], tolerance_of(op.weights.dtype));
      if (!law) note(op, kWeights, sample, i0 + at + e);
      if (state[e] == states)
        while (--state[e] > 0 && !(row[e][state[e]] > 0.0)) {
        }
      s.from[at + e] = static_cast<uint16_t>(state[e]);
    }
  }
}

// Draws the elements s.order[begin, end), which are sorted by x_t; their columns of `after` lie at column[(x_t % 8) * S].
static void draw_paths(const Bridging& op, const DrawKey& key, int64_t sample, int64_t i0, const double* column, double* cum,
                       RowScratch& s, int begin, int end) {
  const int64_t states = op.before.states;
  for (int at = begin; at < end; at += 8) {
    const int part = end - at < 8 ? end - at : 8;
    const double *a[8], *b[8];
    uint32_t i[8], v[8];
    int64_t lane[8], state[8];
    for (int e = 0; e < 8; ++e) {
      const int element = s.order[at + (e < part ? e : 0)];
      a[e] = op.before.row<double>(op.index, sample, s.from[element]);
      b[e] = column + (s.row[element] & 7) * states;
      i[e] = static_cast<uint32_t>(i0 + element);
      v[e] = s.words[element];
      lane[e] = e;
    }
    Eight rows;
    sum_products(a, b, states, cum, rows);
    search_lanes<8>(cum, states, rows, key, CATEGORICAL_BRIDGE_REFINE, i, v, lane, part, state);
    for (int e = 0; e < part; ++e) {
      if (!is_drawable(rows.total[e])) note(op, kPath, sample, i[e]);
      if (state[e] == states)
        while (--state[e] > 0 && !(a[e][state[e]] * b[e][state[e]] > 0.0)) {
        }
      s.result[s.order[at + e]] = static_cast<uint16_t>(state[e]);
    }
  }
}

static void bridge_block(const Bridging& op, int64_t sample, int64_t i0, int count) {
  RowScratch& s = row_scratch();
  const DrawKey key = key_of(op, sample);
  const int64_t states = op.before.states;
  if (!op.x_0) predict(op, key, sample, i0, count, s);
  else if (!load_states(op.x_0, sample, i0, count, states, s.from)) op.bad_x_0 = true;
  if (!load_states(op.x_t, sample, i0, count, states, s.row)) op.bad_x_t = true;
  stream_words(key, CATEGORICAL_BRIDGE, static_cast<uint32_t>(i0), count, s.words);
  s.start.assign(static_cast<size_t>(states), 0);  // which rows of `before` have been looked at
  for (int e = 0; e < count; ++e) {
    if (s.start[s.from[e]]++ != 0) continue;
    if (!all_weights(op.before.row<double>(op.index, sample, s.from[e]), states)) note(op, kBefore, sample, i0 + e);
  }
  sort_rows(s, states, count);
  double *cum = s.doubles(16 * states), *column = cum + 8 * states;
  for (int64_t c0 = 0; c0 < states; c0 += 8) {
    const int64_t c1 = c0 + 8 < states ? c0 + 8 : states;
    const int begin = static_cast<int>(s.start[c0]), end = static_cast<int>(s.start[c1]);
    if (begin == end) continue;
    for (int64_t j = 0; j < states; ++j)
      for (int64_t c = c0; c < c1; ++c) column[(c - c0) * states + j] = op.after.row<double>(op.index, sample, j)[c];
    for (int64_t c = c0; c < c1; ++c)
      if (s.start[c] < s.start[c + 1] && !all_weights(column + (c - c0) * states, states))
        note(op, kAfter, sample, i0 + s.order[s.start[c]]);
    draw_paths(op, key, sample, i0, column, cum, s, begin, end);
  }
  store_states(op.x_s, sample, i0, count, s.result);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
