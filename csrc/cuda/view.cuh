// Loads and stores of Views: four neighbouring elements at a time where they are contiguous and aligned, one by one
// otherwise. Dtypes are told apart at run time, by branches that all threads take the same way and that cost little beside the
// dozens of instructions of an element. Narrow values, of which 16 bytes hold more than four, go through shared memory
// (tile.cuh).
#pragma once

#include "cuda/launch.h"
#include "cuda/ops.h"
#include "fastblackout/philox.h"

namespace fastblackout::cuda {
namespace {

struct alignas(16) Float4 {
  float v[4];
};
struct alignas(16) Word4 {
  uint32_t v[4];
};
struct alignas(8) Word2 {
  uint32_t v[2];
};
struct alignas(16) Double2 {
  double v[2];
};

FB_DEVICE float bfloat_value(uint32_t bits) { return bit_cast<float>(bits << 16); }

FB_DEVICE uint16_t bfloat_bits(float x) {  // nearest, ties to even; NaN stays NaN
  const uint32_t bits = bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : rounded);
}

template <class T>
FB_DEVICE T* at(const View& view, int64_t offset) {
  return reinterpret_cast<T*>(view.data) + offset;
}

// The 16 bytes from element `offset` on, which lies a multiple of 16 bytes from the start of its sample. bytes: of an element.
FB_DEVICE Word4* word_at(const View& view, int64_t offset, uint32_t bytes) {
  return reinterpret_cast<Word4*>(view.data + offset * bytes);
}

// Where element i of a sample lies, in elements from the array's start.
FB_DEVICE int64_t offset_of(const View& view, int64_t sample, uint32_t i) {
  int64_t offset = sample * view.sample_stride;
#pragma unroll 1
  for (int d = view.dims - 1; d > 0; --d) {
    const uint32_t rest = i / view.sizes[d];
    offset += static_cast<int64_t>(i - rest * view.sizes[d]) * view.strides[d];
    i = rest;
  }
  return offset + static_cast<int64_t>(i) * view.strides[0];
}

// An element of any dtype as float64, which holds counts up to 2^53 and every float.
FB_DEVICE double value_at(const View& view, int64_t offset) {
  switch (view.dtype) {
    case kU8: return *at<const uint8_t>(view, offset);
    case kI16: return *at<const int16_t>(view, offset);
    case kI32: return *at<const int32_t>(view, offset);
    case kI64: return static_cast<double>(*at<const int64_t>(view, offset));
    case kF32: return *at<const float>(view, offset);
    case kF64: return *at<const double>(view, offset);
    case kBf16: return bfloat_value(*at<const uint16_t>(view, offset));
    default: return half_value(*at<const uint16_t>(view, offset));
  }
}

// Loads an element of an integer dtype; returns false for others. It does not become a float64, which takes GPUs long.
FB_DEVICE bool load_whole(const View& view, int64_t offset, int64_t& n) {
  switch (view.dtype) {
    case kU8: n = *at<const uint8_t>(view, offset); return true;
    case kI16: n = *at<const int16_t>(view, offset); return true;
    case kI32: n = *at<const int32_t>(view, offset); return true;
    case kI64: n = *at<const int64_t>(view, offset); return true;
    default: return false;
  }
}

FB_DEVICE double load_one(const View& view, int64_t sample, uint32_t i) { return value_at(view, offset_of(view, sample, i)); }

FB_DEVICE void put_value(const View& view, int64_t offset, double x) {
  switch (view.dtype) {
    case kU8: *at<uint8_t>(view, offset) = static_cast<uint8_t>(x); break;
    case kI16: *at<int16_t>(view, offset) = static_cast<int16_t>(x); break;
    case kI32: *at<int32_t>(view, offset) = static_cast<int32_t>(x); break;
    case kI64: *at<int64_t>(view, offset) = static_cast<int64_t>(x); break;
    case kF32: *at<float>(view, offset) = static_cast<float>(x); break;
    case kF64: *at<double>(view, offset) = x; break;
    case kBf16: *at<uint16_t>(view, offset) = bfloat_bits(static_cast<float>(x)); break;
    default: *at<uint16_t>(view, offset) = half_bits(static_cast<float>(x));
  }
}

FB_DEVICE void store_one(const View& view, int64_t sample, uint32_t i, double x) {
  put_value(view, offset_of(view, sample, i), x);
}

// Stores a whole number up to 2^53, which an integer dtype holds.
FB_DEVICE void store_whole(const View& view, int64_t sample, uint32_t i, int64_t n) {
  const int64_t offset = offset_of(view, sample, i);
  switch (view.dtype) {
    case kU8: *at<uint8_t>(view, offset) = static_cast<uint8_t>(n); break;
    case kI16: *at<int16_t>(view, offset) = static_cast<int16_t>(n); break;
    case kI32: *at<int32_t>(view, offset) = static_cast<int32_t>(n); break;
    case kI64: *at<int64_t>(view, offset) = n; break;
    default: put_value(view, offset, static_cast<double>(n));
  }
}

// The general case of load4 and store4, kept apart from them. 64-bit values take two accesses.
FB_COLD Float4 gather_floats(const View& view, int64_t sample, uint32_t i, int count) {
  Float4 x = {{0.0f, 0.0f, 0.0f, 0.0f}};
  if (view.aligned && count == 4 && (view.dtype == kF64 || view.dtype == kI64)) {
    // loaded as doubles: nvcc 13.0 takes loads of words that become 64-bit values apart again from sm_100 on
    const Double2* from = reinterpret_cast<const Double2*>(word_at(view, sample * view.sample_stride + i, 8));
    const Double2 halves[2] = {from[0], from[1]};
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const double value = halves[c / 2].v[c % 2];
      x.v[c] = static_cast<float>(view.dtype == kF64 ? value : static_cast<double>(bit_cast<int64_t>(value)));
    }
    return x;
  }
#pragma unroll 1
  for (int c = 0; c < 4; ++c) {
    const float next = c < count ? static_cast<float>(load_one(view, sample, i + static_cast<uint32_t>(c))) : 0.0f;
    x = Float4{{x.v[1], x.v[2], x.v[3], next}};
  }
  return x;
}

FB_COLD void scatter_floats(const View& view, int64_t sample, uint32_t i, int count, Float4 x) {
  if (view.aligned && count == 4 && view.dtype == kF64) {
    Double2* to = reinterpret_cast<Double2*>(word_at(view, sample * view.sample_stride + i, 8));
    to[0] = Double2{{static_cast<double>(x.v[0]), static_cast<double>(x.v[1])}};
    to[1] = Double2{{static_cast<double>(x.v[2]), static_cast<double>(x.v[3])}};
    return;
  }
#pragma unroll 1
  for (int c = 0; c < count; ++c) {
    store_one(view, sample, i + static_cast<uint32_t>(c), static_cast<double>(x.v[0]));
    x = Float4{{x.v[1], x.v[2], x.v[3], 0.0f}};
  }
}

// Four values from element i on, a multiple of 4; those from `count` on are 0.
FB_DEVICE Float4 load4(const View& view, int64_t sample, uint32_t i, int count) {
  if (count <= 0) return Float4{{0.0f, 0.0f, 0.0f, 0.0f}};
  const int64_t from = sample * view.sample_stride + i;
  if (view.aligned && count == 4 && (view.dtype == kF32 || view.dtype == kI32)) {
    const Word4 x = *word_at(view, from, 4);
    Float4 y;
#pragma unroll
    for (int c = 0; c < 4; ++c)
      y.v[c] = view.dtype == kF32 ? bit_cast<float>(x.v[c]) : static_cast<float>(static_cast<int32_t>(x.v[c]));
    return y;
  }
  return gather_floats(view, sample, i, count);
}

FB_DEVICE void store4(const View& view, int64_t sample, uint32_t i, int count, const Float4& x) {
  if (view.aligned && count == 4 && view.dtype == kF32) {
    *reinterpret_cast<Float4*>(word_at(view, sample * view.sample_stride + i, 4)) = x;
  } else if (count > 0) {
    scatter_floats(view, sample, i, count, x);
  }
}

// A count clamped to 0..max_count; sets `wrong` where that changed it.
template <class Int>
FB_DEVICE uint32_t clamp_count(Int x, Int max_count, bool& wrong) {
  const Int clamped = x < 0 ? 0 : (x > max_count ? max_count : x);
  wrong = wrong || clamped != x;
  return static_cast<uint32_t>(clamped);
}

FB_DEVICE double clamp_count(double x, double max_count, bool& wrong) {
  if (bit_cast<uint64_t>(x) <= bit_cast<uint64_t>(max_count)) return x;  // usual, and decided without a float64 operation
  const double clamped = x >= 0.0 ? (x <= max_count ? x : max_count) : 0.0;
  wrong = wrong || clamped != x;
  return clamped;
}

// The key of a sample, from the key of the op in device memory: seed, first sample and call.
FB_DEVICE SampleKey key_of(const int64_t* key, int64_t sample) {
  const uint64_t seed = static_cast<uint64_t>(key[0]);
  return SampleKey{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                   static_cast<uint32_t>(key[1]) + static_cast<uint32_t>(sample), static_cast<uint32_t>(key[2])};
}

}  // namespace
}  // namespace fastblackout::cuda
