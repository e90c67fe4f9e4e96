// thin: x_t ~ Binomial(x_0, p), births = x_0 - x_t and model_input = (x_t - center) * scale, whichever are asked for, in
// one pass.
#if !defined(FB_ISA)

#include "cpu/support/chunks.h"
#include "fastblackout/portfloat.h"

#define FB_FILE "cpu/thin.cpp"

namespace fastblackout::cpu {
namespace {

// thin of short samples made one, which still has numbers for each of them.
struct OwnThin : Thin {
  Prob own;
  PerSample<float> center, scale;
};

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

constexpr int64_t kShortOwnRow = 5;  // samples of fewer elements cost less without a table each

FB_CHUNK(thin_chunk, Thin)
FB_CHUNK(own_chunk, OwnThin)

// `row` is 0 where samples are not to be made one.
OwnThin with_own(const Thin& op) {
  static constexpr double half = 0.5;
  static constexpr float one = 1.0f;
  Thin other = op;
  other.alive.p = other.alive.q = PerSample<double>{&half, 0};
  other.input.center = other.input.scale = PerSample<float>{&one, 0};
  return OwnThin{rows_as_one(other, kShortOwnRow), op.alive, op.input.center, op.input.scale};
}

}  // namespace

void thin(const Thin& op) {
  check_each("thin", "alive", op.alive.p, op.samples, Rule::probability);
  check_each("thin", "alive", op.alive.q, op.samples, Rule::probability);
  check_values(op, "thin", "x_0", op.x_0, Rule::count, static_cast<double>(op.max_count));
  draw_seed(op);
  if (op.alive.p.stride != 0 || op.alive.q.stride != 0) {
    const OwnThin own = with_own(op);
    if (own.row != 0) return for_chunks(own, own_chunk);
  }
  for_chunks(rows_as_one(op, short_table_row(op)), thin_chunk, op.max_count <= kMaxSharedCount ? kDrawChunk : kChunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/steps.inc"

// Stores the counts that are asked for, x_t last: it may lie where x_0 does.
template <class Count>
static inline void store_counts(const Thin& op, int64_t sample, int64_t i0, int count, const Count* n, Count* k, bool stored) {
  if (op.births) {
    alignas(64) Count births[sizeof(Count) == 1 ? kDrawChunk : kChunk];
    for (int e = 0; e < count; ++e) births[e] = static_cast<Count>(n[e] - k[e]);
    store(op.births, sample, i0, count, births);
  }
  if (op.x_t && !stored) store(op.x_t, sample, i0, count, k);
}

template <class Count>
static inline void finish(const Thin& op, int64_t sample, int64_t i0, int count, const Count* n, Count* k, bool stored) {
  store_input(op.input, sample, i0, count, k);
  store_counts(op, sample, i0, count, n, k, stored);
}

// A chunk of counts that are bytes.
static void narrow_chunk(const Thin& op, const DrawKey& key, int64_t sample, int64_t i0, int count, const uint8_t* n) {
  alignas(64) uint8_t k_buffer[kDrawChunk];
  DrawTable& table = thread_table(0);
  build_table(table, op.alive.p[sample], op.alive.q[sample], static_cast<int>(op.max_count < kMaxSharedCount ? op.max_count : kMaxSharedCount));
  uint8_t* direct = !op.x_t || op.x_t.data == op.x_0.data ? nullptr : counts_in_place(op.x_t, sample, i0, count);
  uint8_t* k = direct != nullptr ? direct : k_buffer;
  draw_chunk(table, key, THIN_DRAW, THIN_REFINE, static_cast<uint32_t>(i0), count, n, k, shares_rounds(op));
  finish(op, sample, i0, count, n, k, direct != nullptr);
}

static void thin_chunk(const Thin& op, int64_t sample, int64_t i0, int count) {
  const DrawKey key = key_of(op, sample);
  alignas(64) uint8_t narrow[kDrawChunk];
  if (op.max_count <= kMaxSharedCount) return narrow_chunk(op, key, sample, i0, count, load_chunk(op.x_0, sample, i0, count, narrow));
  alignas(64) int64_t n[kChunk], k[kChunk];
  load(op.x_0, sample, i0, count, n);
  if (!narrowed(n, count, narrow)) return narrow_chunk(op, key, sample, i0, count, narrow);
  std::memcpy(k, n, sizeof(int64_t) * static_cast<size_t>(count));
  row_draws(thread_table(0), key, {THIN_DRAW, THIN_REFINE, THIN_ELEMENT}, static_cast<uint32_t>(i0), count, op.alive.p[sample],
            op.alive.q[sample], shares_rounds(op), k);
  finish(op, sample, i0, count, n, k, false);
}

static void own_chunk(const OwnThin& op, int64_t sample, int64_t i0, int count) {
  alignas(64) int64_t n[kChunk], k[kChunk];
  load(op.x_0, sample, i0, count, n);
  std::memcpy(k, n, sizeof(int64_t) * static_cast<size_t>(count));
  const DrawKey key = key_of(op, sample);
  Listed list;
  own_draws(op.own, key, {THIN_DRAW, THIN_REFINE, THIN_ELEMENT}, static_cast<uint32_t>(i0), count, list, k);
  if (op.input.out) {
    alignas(64) float input[kChunk];
    for (int e = 0; e < count; ++e) {
      const int64_t own = list.sample[e] - key.sample;
      input[e] = (static_cast<float>(k[e]) - op.center[own]) * op.scale[own];
    }
    store(op.input.out, sample, i0, count, input);
  }
  store_counts(op, sample, i0, count, n, k, false);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
