// Body, once per instruction set: what thin and the reverse steps share.

#include "cpu/exponentials.h"

// uint8 counts in C order are used where they are; whole vectors of 64 only, since kernels read that far.
static inline uint8_t* counts_in_place(const View& view, int64_t sample, int64_t i0, int count) {
  return count % 64 == 0 ? in_place<uint8_t>(view, sample, i0) : nullptr;
}

// A chunk of counts, in `buffer` unless it can be used in place; zero up to the next multiple of 64.
static inline const uint8_t* load_chunk(const View& view, int64_t sample, int64_t i0, int count, uint8_t* buffer) {
  const uint8_t* direct = counts_in_place(view, sample, i0, count);
  if (direct != nullptr) return direct;
  load(view, sample, i0, count, buffer);
  std::memset(buffer + count, 0, static_cast<size_t>(-count & 63));
  return buffer;
}

template <class Count>
static inline void store_input(const Input& input, int64_t sample, int64_t i0, int count, const Count* x) {
  if (!input.out) return;
  const float center = input.center[sample], scale = input.scale[sample];
  alignas(64) float buffer[kDrawChunk];
  float* direct = in_place<float>(input.out, sample, i0);
  float* to = direct != nullptr ? direct : buffer;
  for (int k = 0; k < count; ++k) to[k] = (static_cast<float>(x[k]) - center) * scale;
  if (direct == nullptr) store(input.out, sample, i0, count, buffer);
}

static inline SampleKey key_of(const Common& op, int64_t sample) {
  SampleKey key = op.key;
  key.sample += static_cast<uint32_t>(sample);
  return key;
}

struct KeepBirths {
  const float *x, *e;
  float gain, *to;
};
FB_INLINE void take(const KeepBirths& then, int k, FloatVector poly) {
  store_wide(then.gain * softplus_of(load_as<FloatVector>(then.x + k), load_as<FloatVector>(then.e + k), poly), then.to + k);
}

// Expected births y = gain * softplus(logit), or as given, of one chunk, in float32; y has room for kChunk.
static inline void expected_births(const Reverse& op, int64_t sample, int64_t i0, int count, float* y) {
  if (op.births) return load(op.given, sample, i0, count, y);
  alignas(64) float buffer[kChunk];
  const float* x = as_vectors(floats_of(op.given, sample, i0, count, buffer), count, buffer);
  Exponentials of;
  const FlushSubnormals flush;
  of.fill(whole_vectors(count), x);
  polynomials<Log1pSeries>(of.e, whole_vectors(count), KeepBirths{x, of.e, op.gain[sample], y});
}
