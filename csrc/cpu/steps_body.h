// Body, once per instruction set: what thin and the reverse steps share.

#include "cpu/exponentials.h"

static inline uint8_t* in_place(const View& view, int64_t sample, int64_t i0, int count) {
  // uint8 counts lying in C order are used where they are; whole vectors of 64 only, since kernels read that far
  const bool plain = view.dtype == Dtype::u8 && view.dims == 1 && view.strides[0] == 1 && count % 64 == 0;
  return plain ? reinterpret_cast<uint8_t*>(view.data) + sample * view.sample_stride + i0 : nullptr;
}

// A chunk of counts, in `buffer` unless it can be used in place; zero up to the next multiple of 64.
static inline const uint8_t* load_chunk(const View& view, int64_t sample, int64_t i0, int count, uint8_t* buffer) {
  const uint8_t* direct = in_place(view, sample, i0, count);
  if (direct != nullptr) return direct;
  load(view, sample, i0, count, buffer);
  std::memset(buffer + count, 0, static_cast<size_t>(-count & 63));
  return buffer;
}

template <class Count>
static inline void store_input(const Input& input, int64_t sample, int64_t i0, int count, const Count* x) {
  if (!input.out) return;
  const float center = input.center[sample], scale = input.scale[sample];
  const bool plain = input.out.dtype == Dtype::f32 && input.out.dims == 1 && input.out.strides[0] == 1;
  alignas(64) float buffer[kDrawChunk];
  float* to = plain ? reinterpret_cast<float*>(input.out.data) + sample * input.out.sample_stride + i0 : buffer;
  for (int k = 0; k < count; ++k) to[k] = (static_cast<float>(x[k]) - center) * scale;
  if (!plain) store(input.out, sample, i0, count, buffer);
}

static inline SampleKey key_of(const Common& op, int64_t sample) {
  SampleKey key = op.key;
  key.sample += static_cast<uint32_t>(sample);
  return key;
}

// Expected births y = gain * softplus(logit), or as given, of one chunk, in float32.
static inline void expected_births(const Reverse& op, int64_t sample, int64_t i0, int count, float* y) {
  if (op.births) return load(op.births, sample, i0, count, y);
  alignas(64) float x[kChunk];
  Exponentials of;
  load(op.logits, sample, i0, count, x);
  of.fill(count, x);
  const float gain = op.gain[sample];
  for (int k = 0; k < count; ++k) y[k] = gain * softplus_of(x[k], of.e[k], of.g[k]);
}
