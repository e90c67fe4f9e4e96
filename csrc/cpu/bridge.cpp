// bridge: x_s = x_t + Binomial(N, p) - Binomial(x_t, sigma) and the next model input, in one pass. N is the number of births
// that a network output predicts, rounded to an integer; the last term, attrition, is left out where it is not asked for.
#if !defined(FB_ISA)

#include "cpu/support/chunks.h"
#include "fastblackout/portfloat.h"

#define FB_FILE "cpu/bridge.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(bridge_chunk, Bridge)

void bridge(const Bridge& op) {
  check_each("bridge_step", "step", op.birth.p, op.samples, Rule::probability);
  check_each("bridge_step", "step", op.birth.q, op.samples, Rule::probability);
  if (op.attrition.p) {
    check_each("bridge_step", "attrition", op.attrition.p, op.samples, Rule::probability);
    check_each("bridge_step", "attrition", op.attrition.q, op.samples, Rule::probability);
  }
  check_reverse(op, "bridge_step");
  draw_seed(op);
  for_chunks(rows_as_one(op, short_table_row(op)), bridge_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/steps.inc"

// N = y rounded, at most room(k) of element k, a whole number up to kMostRoom. This is done in float32, where subtracting the whole
// part is exact, so that float64 gives the same result. Returns whether every N is right: the 16 bits of refinement
// (stochastic_round) matter only where the first 32 are equal.
constexpr int32_t kMostRoom = 1 << 24;

template <class Room, class Births>
static inline bool round_births(const Bridge& op, const DrawKey& key, int64_t i0, int count, const float* y, const Room& room, Births* n) {
  if (!op.stochastic) {
    for (int k = 0; k < count; ++k) {
      const float most = static_cast<float>(room(k)), capped = y[k] < most ? y[k] : most;
      const int whole = static_cast<int>(capped);
      n[k] = static_cast<Births>(whole + (capped - static_cast<float>(whole) >= 0.5f));
    }
    return true;
  }
  alignas(64) uint32_t words[kChunk];
  stream_words(key, ROUNDING, static_cast<uint32_t>(i0), count, words);
  uint32_t ties = 0;
  for (int k = 0; k < count; ++k) {
    const float most = static_cast<float>(room(k)), capped = y[k] < most ? y[k] : most;
    const int whole = static_cast<int>(capped);
    const uint32_t high = static_cast<uint32_t>((capped - static_cast<float>(whole)) * 4294967296.0f);  // a power of two: exact
    ties |= words[k] == high;
    n[k] = static_cast<Births>(whole + (words[k] < high));
  }
  return ties == 0;
}

// The same for any counts x, element by element.
template <class Count, class Births>
static void round_exactly(const Bridge& op, const DrawKey& key, int64_t i0, int count, const float* y, const Count* x, Births* n) {
  alignas(64) uint32_t words[kChunk];
  if (op.stochastic) stream_words(key, ROUNDING, static_cast<uint32_t>(i0), count, words);
  for (int k = 0; k < count; ++k) {
    const int64_t room = op.max_count - x[k];
    uint32_t i = static_cast<uint32_t>(i0 + k);
    const SampleKey own = key.of_element(i);
    n[k] = static_cast<Births>(op.stochastic ? stochastic_round(y[k], room, own, i, words[k], ROUNDING_REFINE) : nearest_round(y[k], room));
  }
}

// A chunk of an op whose counts are all up to 255: they are held as bytes.
static void narrow_chunk(const Bridge& op, const DrawKey& key, int64_t sample, int64_t i0, int count, const float* y) {
  alignas(64) uint8_t x_buffer[kChunk], n[kChunk], k[kChunk], fall[kChunk];
  const uint8_t* x = load_chunk(op.x_t, sample, i0, count, x_buffer);
  const int max_count = static_cast<int>(op.max_count);
  if (!round_births(op, key, i0, count, y, [=](int e) { return max_count - x[e]; }, n)) round_exactly(op, key, i0, count, y, x, n);
  std::memset(n + count, 0, static_cast<size_t>(-count & 63));
  const uint32_t i = static_cast<uint32_t>(i0);
  DrawTable& table = thread_table(0);
  build_table(table, op.birth.p[sample], op.birth.q[sample], max_count);
  draw_chunk(table, key, BRIDGE_DRAW, BRIDGE_REFINE, i, count, n, k, shares_rounds(op));
  for (int e = 0; e < count; ++e) k[e] = static_cast<uint8_t>(k[e] + x[e]);
  if (op.attrition.p) {
    DrawTable& second = thread_table(1);
    build_table(second, op.attrition.p[sample], op.attrition.q[sample], max_count);
    draw_chunk(second, key, ATTRITION_DRAW, ATTRITION_REFINE, i, count, x, fall, shares_rounds(op));
    for (int e = 0; e < count; ++e) k[e] = static_cast<uint8_t>(k[e] - fall[e]);
  }
  store_input(op.input, sample, i0, count, k);
  if (op.x_s) store(op.x_s, sample, i0, count, k);
}

// A chunk of an op that may have larger counts.
static void wide_chunk(const Bridge& op, const DrawKey& key, int64_t sample, int64_t i0, int count, const float* y) {
  alignas(64) int64_t x[kChunk], births[kChunk], deaths[kChunk];
  alignas(64) int32_t room[kChunk];
  const uint32_t i = static_cast<uint32_t>(i0);
  load(op.x_t, sample, i0, count, x);
  for (int e = 0; e < count; ++e) room[e] = static_cast<int32_t>(op.max_count - x[e] < kMostRoom ? op.max_count - x[e] : kMostRoom);
  const bool right = round_births(op, key, i0, count, y, [&](int e) { return room[e]; }, births);
  int64_t all = 0;
  for (int e = 0; e < count; ++e) all |= births[e];
  if (!right || all >= kMostRoom) round_exactly(op, key, i0, count, y, x, births);
  row_draws(thread_table(0), key, {BRIDGE_DRAW, BRIDGE_REFINE, BRIDGE_ELEMENT}, i, count, op.birth.p[sample], op.birth.q[sample],
            shares_rounds(op), births);
  if (op.attrition.p) {
    std::memcpy(deaths, x, sizeof(int64_t) * static_cast<size_t>(count));
    row_draws(thread_table(1), key, {ATTRITION_DRAW, ATTRITION_REFINE, ATTRITION_ELEMENT}, i, count, op.attrition.p[sample],
              op.attrition.q[sample], shares_rounds(op), deaths);
    for (int e = 0; e < count; ++e) x[e] -= deaths[e];
  }
  for (int e = 0; e < count; ++e) x[e] += births[e];
  store_input(op.input, sample, i0, count, x);
  if (op.x_s) store(op.x_s, sample, i0, count, x);
}

static void bridge_chunk(const Bridge& op, int64_t sample, int64_t i0, int count) {
  const DrawKey key = key_of(op, sample);
  alignas(64) float y[kChunk];
  expected_births(op, sample, i0, count, y);
  (op.max_count <= kMaxSharedCount ? narrow_chunk : wide_chunk)(op, key, sample, i0, count, y);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
