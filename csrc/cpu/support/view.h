// Strided arrays as the kernels see them: a batch of samples whose elements are read and written in C order, a chunk at a
// time, whatever the strides and the dtype. The function bodies are compiled once per instruction set.
#pragma once

#include "cpu/support/isa.h"
#include "fastblackout/half.h"
#include "fastblackout/merge.h"

namespace fastblackout::cpu {

enum class Dtype : int { u8, i16, i32, i64, f32, f64, bf16, f16 };

constexpr int bytes_of(Dtype dtype) {
  return dtype == Dtype::u8 ? 1 : dtype == Dtype::i64 || dtype == Dtype::f64 ? 8 : dtype == Dtype::i32 || dtype == Dtype::f32 ? 4 : 2;
}

constexpr int kMaxDims = 16;

struct View {
  char* data = nullptr;                        // null: not asked for
  Dtype dtype = Dtype::u8;
  int64_t sample_stride = 0;                   // strides count elements
  int dims = 1;                                // of the dimensions after the sample, merged where they can be; at least one
  int64_t sizes[kMaxDims] = {1}, strides[kMaxDims] = {1};

  explicit operator bool() const { return data != nullptr; }
};

// Where a sample's elements from i0 on lie, to be used without a copy; null unless the array holds T, in C order.
template <class T>
FB_HD T* in_place(const View& view, int64_t sample, int64_t i0) {
  constexpr Dtype kDtype = sizeof(T) == 1 ? Dtype::u8 : sizeof(T) == 4 ? Dtype::f32 : Dtype::f64;
  const bool plain = view.dtype == kDtype && view.dims == 1 && view.strides[0] == 1;
  return plain ? reinterpret_cast<T*>(view.data) + sample * view.sample_stride + i0 : nullptr;
}

// Whether a sample has one value for all its elements, as a number that is given for an array has.
FB_HD bool is_one(const View& view) { return view.dims == 1 && view.strides[0] == 0; }

// Per instruction set: load converts elements [i0, i0 + count) of a sample into a buffer, and store converts them back.
// uint8_t buffers are for arrays of counts, int64_t ones for counts and for floats that hold whole numbers.
#define FB_LOAD(Buffer) void load(const View& view, int64_t sample, int64_t i0, int count, Buffer* buffer);
#define FB_STORE(Buffer) void store(const View& view, int64_t sample, int64_t i0, int count, const Buffer* buffer);
#define FB_DECLARE_VIEWS(ISA)                                          \
  namespace ISA {                                                      \
  FB_LOAD(uint8_t) FB_LOAD(int64_t) FB_LOAD(float) FB_LOAD(double)     \
  FB_STORE(uint8_t) FB_STORE(int64_t) FB_STORE(float) FB_STORE(double) \
  }
FB_DECLARE_VIEWS(scalar)
#if FB_X86
FB_DECLARE_VIEWS(avx2)
FB_DECLARE_VIEWS(avx512)
#endif
#undef FB_DECLARE_VIEWS
#undef FB_LOAD
#undef FB_STORE

}  // namespace fastblackout::cpu
