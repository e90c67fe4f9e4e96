// redraw: the state at a time, or between two states, of a process that at rate 1 draws its state anew from one law
#if !defined(FB_ISA)

#include "fastblackout/redraw.h"

#include <cstdio>

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/redraw.cpp"
namespace fastblackout::cpu {
namespace {

struct Redrawing : Redraw {
  mutable std::atomic<bool> bad_state;            // whether some element's x_0 or x_t is no state
  mutable std::atomic<int64_t> first_impossible;  // first element whose x_0 has no way to its x_t
};

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

FB_CHUNK(redraw_chunk, Redrawing)

int64_t value_at(const View& view, int64_t sample, int64_t i) {
  int64_t value;
  scalar::load(view, sample, i, 1, &value);
  return value;
}

void draw_states(const Redraw& op) {
  const Redrawing drawing{op, {false}, {INT64_MAX}};
  for_chunks(drawing, redraw_chunk);
  if (drawing.bad_state) {
    check_values(op, "redraw", "x_0", op.x_0, Rule::count, static_cast<double>(op.states - 1));
    if (op.x_t) check_values(op, "redraw", "x_t", op.x_t, Rule::count, static_cast<double>(op.states - 1));
  }
  const int64_t at = drawing.first_impossible;
  if (at == INT64_MAX) return;
  const int64_t sample = at / op.elements, i = at % op.elements;
  char text[192];
  std::snprintf(text, sizeof(text),
                "redraw: x_t: must be reachable from x_0 at these times, got x_t = %lld and x_0 = %lld at sample %lld, element %lld",
                static_cast<long long>(value_at(op.x_t, sample, i)), static_cast<long long>(value_at(op.x_0, sample, i)),
                static_cast<long long>(sample), static_cast<long long>(i));
  throw std::invalid_argument(text);
}

}  // namespace

void redraw(const Redraw& op) { draw_checked(op, draw_states); }

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

static inline bool all_below(int64_t end, const int64_t* states, int count) {
  int64_t wrong = 0;
  for (int e = 0; e < count; ++e) wrong |= (states[e] < 0) | (states[e] >= end);
  return wrong == 0;
}

// The part of a threshold that the first 32 bits are compared with; an unsigned shift is quicker with vectors.
static FB_HD int64_t head(int64_t threshold) { return static_cast<int64_t>(static_cast<uint64_t>(threshold) >> 16); }

// A word, at the place in a stream that stream_words gives it
static inline uint32_t word_at(const DrawKey& key, uint32_t stream, uint32_t i) { return key.words(i >> 2, stream).w[i & 3u]; }

// States of the uniform law: floor(U n / 2^64) of a 64-bit uniform U, whose lower half is made only where it may matter.
static void uniform_states(const DrawKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0, int count, int64_t states,
                           int64_t* out) {
  alignas(64) uint32_t high[kChunk + 64], low[kChunk + 64];
  const uint32_t n = static_cast<uint32_t>(states);
  uint64_t unsure = 0;
  stream_words(key, stream, i0, count, high);
  for (int e = 0; e < count; ++e) {
    const uint64_t product = static_cast<uint64_t>(high[e]) * n;
    out[e] = static_cast<int64_t>(product >> 32);
    unsure |= (product & 0xffffffffu) + (n - 1);
  }
  if (unsure >> 32 == 0) return;
  stream_words(key, stream_refine, i0, count, low);
  for (int e = 0; e < count; ++e) {
    const uint64_t carry = static_cast<uint64_t>(low[e]) * n >> 32;
    out[e] = static_cast<int64_t>((static_cast<uint64_t>(high[e]) * n + carry) >> 32);
  }
}

// States of another law, #{j : C(j) <= V}, V the first 48 bits of U. All elements take the steps of their searches together, so
// that their loads overlap. The last threshold is above every V.
static void law_states(const Redrawing& op, const DrawKey& key, uint32_t stream, uint32_t stream_refine, uint32_t i0, int count,
                       int64_t* out) {
  alignas(64) uint32_t high[kChunk + 64], low[kChunk + 64];
  alignas(64) int64_t v[kChunk];
  stream_words(key, stream, i0, count, high);
  stream_words(key, stream_refine, i0, count, low);
  for (int e = 0; e < count; ++e) v[e] = static_cast<int64_t>(high[e]) << 16 | low[e] >> 16;
  for (int e = 0; e < count; ++e) out[e] = 0;
  const int64_t* const table = op.thresholds;
  const int64_t states = op.states;
  int64_t step = 1;
  while (step * 2 < states) step *= 2;
  for (; step > 0; step /= 2)
    for (int e = 0; e < count; ++e) {
      const int64_t next = out[e] + step;
      const bool below = (next < states) & (table[(next < states ? next : states) - 1] <= v[e]);
      out[e] = below ? next : out[e];
    }
}

// Times of a chunk: one for all of its elements, or an array.
struct Times {
  alignas(64) double each[kChunk];
  bool same;

  Times(const View& view, int64_t sample, int64_t i0, int count) : same(is_one(view)) { load(view, sample, i0, same ? 1 : count, each); }
  double operator[](int e) const { return each[same ? 0 : e]; }
};

static void forward_limits(const Redrawing& op, int64_t sample, int64_t i0, int count, int64_t* keep) {
  const Times t(op.before, sample, i0, count);
  if (t.same) {
    const int64_t all = forward_threshold(t[0]);
    for (int e = 0; e < count; ++e) keep[e] = all;
  } else {
    for (int e = 0; e < count; ++e) keep[e] = forward_threshold(t.each[e]);
  }
}

// The thresholds of a bridge, -1 where no way leads from x_0 to x_t.
static void bridge_limits(const Redrawing& op, int64_t sample, int64_t i0, int count, const int64_t* from, const int64_t* to,
                          int64_t* keep, int64_t* other) {
  const Times s(op.before, sample, i0, count), gap(op.after, sample, i0, count);
  const int64_t mask = op.mask;  // not read again after each store
  const double of_all = mask < 0 ? static_cast<double>(op.states) : 1.0, infinity = bit_cast<double>(0x7ff0000000000000ull);
  if (s.same && gap.same && !op.inverse) {
    const Chances before = chances(s[0]), after = chances(gap[0]);
    const Thresholds equal = bridge_thresholds(before, after, of_all, true), differ = bridge_thresholds(before, after, of_all, false);
    for (int e = 0; e < count; ++e) {
      const bool drawn = (mask < 0) | (to[e] == mask), same = from[e] == to[e];
      const int64_t keep_drawn = same ? equal.keep : differ.keep, other_drawn = same ? equal.other : differ.other;
      const int64_t undrawn = same ? kAlways : -1;
      keep[e] = drawn ? keep_drawn : undrawn;
      other[e] = drawn ? other_drawn : undrawn;
    }
    return;
  }
  alignas(64) double inverse[kChunk];
  if (op.inverse) load(op.inverse, sample, i0, count, inverse);
  for (int e = 0; e < count; ++e) {
    const bool drawn = op.inverse ? inverse[e] < infinity : mask < 0 || to[e] == mask, same = from[e] == to[e];
    const double used = op.inverse && drawn ? inverse[e] : of_all;
    const Thresholds law = bridge_thresholds(chances(s[e]), chances(gap[e]), used, same);
    keep[e] = drawn ? law.keep : same ? kAlways : -1;
    other[e] = drawn ? law.other : same ? kAlways : -1;
  }
}

static void redraw_chunk(const Redrawing& op, int64_t sample, int64_t i0, int count) {
  alignas(64) int64_t from[kChunk], fresh[kChunk], keep[kChunk];
  alignas(64) uint32_t v[kChunk + 64];
  const DrawKey key = key_of(op, sample);
  const uint32_t first = static_cast<uint32_t>(i0), refine = op.x_t ? REDRAW_BRIDGE_REFINE : REDRAW_REFINE;
  const uint32_t state = op.x_t ? REDRAW_BRIDGE_STATE : REDRAW_STATE;
  const uint32_t state_refine = op.x_t ? REDRAW_BRIDGE_STATE_REFINE : REDRAW_STATE_REFINE;
  load(op.x_0, sample, i0, count, from);
  if (!all_below(op.states, from, count)) op.bad_state = true;
  stream_words(key, op.x_t ? REDRAW_BRIDGE : REDRAW, first, count, v);
  if (op.thresholds != nullptr) law_states(op, key, state, state_refine, first, count, fresh);
  else if (op.mask < 0) uniform_states(key, state, state_refine, first, count, op.states, fresh);
  else
    for (int e = 0; e < count; ++e) fresh[e] = op.mask;
  int64_t ties = 0;  // elements whose first 32 bits do not decide
  if (!op.x_t) {
    forward_limits(op, sample, i0, count, keep);
    for (int e = 0; e < count; ++e) ties |= static_cast<int64_t>(v[e]) == head(keep[e]);
    for (int e = 0; e < count && ties != 0; ++e) {
      if (static_cast<int64_t>(v[e]) != head(keep[e])) continue;
      const bool kept = static_cast<int64_t>(word_at(key, refine, first + static_cast<uint32_t>(e)) >> 16) < (keep[e] & 0xffff);
      keep[e] = kept ? kAlways : 0;
    }
    for (int e = 0; e < count; ++e) fresh[e] = static_cast<int64_t>(v[e]) < head(keep[e]) ? from[e] : fresh[e];
  } else {
    alignas(64) int64_t to[kChunk], other[kChunk];
    load(op.x_t, sample, i0, count, to);
    if (!all_below(op.states, to, count)) op.bad_state = true;
    bridge_limits(op, sample, i0, count, from, to, keep, other);
    int64_t least = 0;
    for (int e = 0; e < count; ++e) least |= keep[e];
    for (int e = 0; e < count && least < 0; ++e)
      if (keep[e] < 0) note_first(op.first_impossible, sample * op.elements + i0 + e);
    for (int e = 0; e < count; ++e) ties |= (static_cast<int64_t>(v[e]) == head(keep[e])) | (static_cast<int64_t>(v[e]) == head(other[e]));
    for (int e = 0; e < count && ties != 0; ++e) {
      const int64_t bits = static_cast<int64_t>(v[e]) << 16 | word_at(key, refine, first + static_cast<uint32_t>(e)) >> 16;
      other[e] = bits < other[e] ? kAlways : 0;
      keep[e] = bits < keep[e] ? kAlways : 0;
    }
    for (int e = 0; e < count; ++e) {
      const int64_t moved = static_cast<int64_t>(v[e]) < head(other[e]) ? to[e] : fresh[e];
      fresh[e] = static_cast<int64_t>(v[e]) < head(keep[e]) ? from[e] : moved;
    }
  }
  store(op.out, sample, i0, count, fresh);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
