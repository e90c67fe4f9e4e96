// Copies chunks of a View to plain buffers and back.
#if !defined(FB_ISA)

#include "cpu/support/view.h"

#include <type_traits>

#define FB_FILE "cpu/support/view.cpp"
#include "cpu/per_isa/for_each_isa.inc"

#else

namespace fastblackout::cpu::FB_ISA {

struct AsIs {
  template <class To, class From>
  static To load(From x) {
    return static_cast<To>(x);
  }
  template <class To, class From>
  static To store(From x) {
    return static_cast<To>(x);
  }
};
struct Half {
  template <class To>
  static To load(uint16_t x) {
    return static_cast<To>(half_to_float(x));
  }
  template <class To, class From>
  static uint16_t store(From x) {
    return float_to_half(static_cast<float>(x));
  }
};
struct Bfloat {
  template <class To>
  static To load(uint16_t x) {
    return static_cast<To>(bfloat_to_float(x));
  }
  template <class To, class From>
  static uint16_t store(From x) {
    return float_to_bfloat(static_cast<float>(x));
  }
};

// Walks elements [i0, i0 + count) of one sample; Load copies array to buffer, otherwise buffer to array.
template <bool Load, class How, class Element, class Buffer>
static void walk(const View& view, int64_t sample, int64_t i0, int count, Buffer* buffer) {
  Element* base = reinterpret_cast<Element*>(view.data) + sample * view.sample_stride;
  const int dims = view.dims;
  const int64_t inner = view.sizes[dims - 1], step = view.strides[dims - 1];
  for (int done = 0; done < count;) {
    const int64_t i = i0 + done, at = i % inner;
    Element* from = base + at * step;
    int64_t rest = i / inner;
    for (int d = dims - 2; d >= 0; rest /= view.sizes[d--]) from += rest % view.sizes[d] * view.strides[d];
    const int run = static_cast<int>(inner - at < count - done ? inner - at : count - done);
    Buffer* to = buffer + done;
    if (step == 1) {
      for (int k = 0; k < run; ++k) {
        if constexpr (Load) to[k] = How::template load<Buffer>(from[k]);
        else from[k] = How::template store<Element>(to[k]);
      }
    } else if (Load && step == 0) {  // of what was broadcast
      const Buffer one = How::template load<Buffer>(*from);
      for (int k = 0; k < run; ++k) to[k] = one;
    } else {
      for (int k = 0; k < run; ++k) {
        if constexpr (Load) to[k] = How::template load<Buffer>(from[k * step]);
        else from[k * step] = How::template store<Element>(to[k]);
        __asm__ volatile("");  // not worth vectorising: it doubles the compile time of this file
      }
    }
    done += run;
  }
}

// Chooses `walk` by the dtype. A uint8 buffer meets only counts, an int64 one counts and whole floats, the others all dtypes.
template <bool Load, class Buffer>
static void walk_any(const View& view, int64_t sample, int64_t i0, int count, Buffer* buffer) {
  constexpr bool floats = !std::is_integral<Buffer>::value, whole = sizeof(Buffer) > 1;
  switch (view.dtype) {
    case Dtype::u8: return walk<Load, AsIs, uint8_t>(view, sample, i0, count, buffer);
    case Dtype::i16: return walk<Load, AsIs, int16_t>(view, sample, i0, count, buffer);
    case Dtype::i32: return walk<Load, AsIs, int32_t>(view, sample, i0, count, buffer);
    case Dtype::i64: return walk<Load, AsIs, int64_t>(view, sample, i0, count, buffer);
    default: break;
  }
  if constexpr (whole) {
    if (view.dtype == Dtype::f32) return walk<Load, AsIs, float>(view, sample, i0, count, buffer);
    if (view.dtype == Dtype::f64) return walk<Load, AsIs, double>(view, sample, i0, count, buffer);
  }
  if constexpr (floats) {
    if (view.dtype == Dtype::bf16) return walk<Load, Bfloat, uint16_t>(view, sample, i0, count, buffer);
    return walk<Load, Half, uint16_t>(view, sample, i0, count, buffer);
  }
}

#define FB_LOAD(Buffer)                                                                  \
  void load(const View& view, int64_t sample, int64_t i0, int count, Buffer* buffer) {   \
    walk_any<true>(view, sample, i0, count, buffer);                                     \
  }
FB_LOAD(uint8_t)
FB_LOAD(int64_t)
FB_LOAD(float)
FB_LOAD(double)
#undef FB_LOAD

#define FB_STORE(Buffer)                                                                        \
  void store(const View& view, int64_t sample, int64_t i0, int count, const Buffer* buffer) {   \
    walk_any<false>(view, sample, i0, count, const_cast<Buffer*>(buffer));                      \
  }
FB_STORE(uint8_t)
FB_STORE(int64_t)
FB_STORE(float)
FB_STORE(double)
#undef FB_STORE

}  // namespace fastblackout::cpu::FB_ISA

#endif
