// categorical_rows: a state from each row of weights that need not sum to 1, or of logits
#if !defined(FB_ISA)

#include "fastblackout/categorical_rows.h"

#include <cstdio>

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/categorical_rows.cpp"
namespace fastblackout::cpu {
namespace {

constexpr int kRows = 256;        // rows that are drawn with one call for their random words
constexpr int64_t kTogether = 256;  // states whose sum is kept: the search makes the weights of so many anew

struct DrawingRows : CategoricalRows {
  mutable std::atomic<int64_t> first_bad;  // first row with a wrong entry, or with nothing to draw
};

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

FB_CHUNK(rows_chunk, DrawingRows)

void draw_rows(const CategoricalRows& op) {
  const DrawingRows drawing{op, {INT64_MAX}};
  for_chunks(drawing, rows_chunk, kRows, op.states);
  const int64_t bad = drawing.first_bad;
  if (bad == INT64_MAX) return;
  const int64_t sample = bad / op.elements, i = bad % op.elements;
  double shown = 0.0;
  for (int64_t j = 0; j < op.states; ++j) {
    double value;
    scalar::load(op.weights, sample, i * op.states + j, 1, &value);
    const bool wrong = op.is_logits ? !is_logit(static_cast<float>(value)) : !(value >= 0.0 && value - value == 0.0);
    if (j == 0 || wrong) shown = value;
    if (wrong) break;
  }
  char text[320];
  std::snprintf(text, sizeof(text), "categorical_rows: %s, got %.17g at sample %lld, element %lld",
                op.is_logits ? "logits: must be below infinity, and one of each row finite in float32"
                             : "weights: must be finite and at least 0, and one of each row above 0",
                shown, static_cast<long long>(sample), static_cast<long long>(i));
  throw std::invalid_argument(text);
}

}  // namespace

void categorical_rows(const CategoricalRows& op) { draw_checked(op, draw_rows); }

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

// The rows of an element: where they lie, or copied to `buffer`.
template <class T>
static const T* row_of(const CategoricalRows& op, int64_t sample, int64_t i, std::vector<T>& buffer) {
  const T* there = in_place<T>(op.weights, sample, i * op.states);
  if (there != nullptr) return there;
  buffer.resize(static_cast<size_t>(op.states));
  load(op.weights, sample, i * op.states, static_cast<int>(op.states), buffer.data());
  return buffer.data();
}

struct LogitRow {
  const float* x;
  float largest;

  // False where an entry is NaN or +inf, or none is finite
  bool start(int64_t states) {
    const float lowest = bit_cast<float>(0xff800000u), infinity = bit_cast<float>(0x7f800000u);
    int32_t most = in_order(bit_cast<int32_t>(lowest)), wrong = 0;
    for (int64_t j = 0; j < states; ++j) {
      const int32_t order = in_order(bit_cast<int32_t>(x[j]));
      wrong |= !(x[j] < infinity);
      most = order > most ? order : most;
    }
    largest = bit_cast<float>(in_order(most));
    return wrong == 0 && largest > lowest;
  }
  double operator()(int64_t j) const { return logit_weight(x[j], largest); }
};

struct WeightRow {
  const double* x;
  double largest;

  // False where an entry is negative, NaN or infinite, or none is above 0
  bool start(int64_t states) {
    int64_t most = 0, wrong = 0;
    for (int64_t j = 0; j < states; ++j) {
      const int64_t bits = bit_cast<int64_t>(x[j] + 0.0);  // -0.0 has the bits of 0
      wrong |= (bits < 0) | (bits >= 0x7ff0000000000000);
      most = bits > most ? bits : most;
    }
    largest = bit_cast<double>(most);
    return wrong == 0 && most > 0;
  }
  double operator()(int64_t j) const { return x[j] / largest; }
};

// The integers of the states from j0 on, at most kTogether of them; returns their sum.
template <class Row>
static int64_t integers_of(const Row& row, int64_t j0, int count, double scale, int64_t* to) {
  int64_t sum = 0;
  for (int k = 0; k < count; ++k) to[k] = row_integer(row(j0 + k), scale);
  for (int k = 0; k < count; ++k) sum += to[k];
  return sum;
}

template <class Row>
static int64_t draw_state(const Row& row, int64_t states, uint32_t high, uint32_t low, std::vector<int64_t>& sums) {
  alignas(64) int64_t integers[kTogether];
  const double scale = bit_cast<double>(static_cast<int64_t>(1023 + row_bits(states)) << 52);
  const auto size_at = [states](int64_t j0) { return static_cast<int>(states - j0 < kTogether ? states - j0 : kTogether); };
  sums.clear();
  int64_t total = 0;
  for (int64_t j0 = 0; j0 < states; j0 += kTogether) {
    sums.push_back(integers_of(row, j0, size_at(j0), scale, integers));
    total += sums.back();
  }
  int64_t left = row_target(high, low, total), j0 = 0;  // what of the target lies behind the states before j0
  for (; j0 + kTogether < states && left >= sums[static_cast<size_t>(j0 / kTogether)]; j0 += kTogether)
    left -= sums[static_cast<size_t>(j0 / kTogether)];
  const int count = size_at(j0);
  if (states > kTogether) integers_of(row, j0, count, scale, integers);
  int k = 0;
  for (; k + 1 < count && left >= integers[k]; ++k) left -= integers[k];
  return j0 + k;
}

static void rows_chunk(const DrawingRows& op, int64_t sample, int64_t i0, int count) {
  static thread_local std::vector<float> logits;
  static thread_local std::vector<double> weights;
  static thread_local std::vector<int64_t> sums;
  alignas(64) uint32_t high[kRows + 64], low[kRows + 64];
  int64_t state[kRows];
  const DrawKey key = key_of(op, sample);
  stream_words(key, CATEGORICAL_ROWS, static_cast<uint32_t>(i0), count, high);
  stream_words(key, CATEGORICAL_ROWS_REFINE, static_cast<uint32_t>(i0), count, low);
  for (int e = 0; e < count; ++e) {
    bool drawable;
    if (op.is_logits) {
      LogitRow row{row_of(op, sample, i0 + e, logits), 0.0f};
      drawable = row.start(op.states);
      state[e] = drawable ? draw_state(row, op.states, high[e], low[e], sums) : 0;
    } else {
      WeightRow row{row_of(op, sample, i0 + e, weights), 0.0};
      drawable = row.start(op.states);
      state[e] = drawable ? draw_state(row, op.states, high[e], low[e], sums) : 0;
    }
    if (!drawable) note_first(op.first_bad, sample * op.elements + i0 + e);
  }
  store(op.out, sample, i0, count, state);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
