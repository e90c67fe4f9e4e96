// An array wherever it comes from: NumPy, a tensor of torch, an address that Python gives, a buffer of XLA's. And how the fields of
// the kernels that describe arrays are set by one: what is alike on the CPU and on a device is here, the rest in host.h and
// device.h, as overloads of fill(array, field). They are false where more dimensions remain than a view has room for.
#pragma once

#include <stdint.h>

#include <stdexcept>
#include <string>
#include <type_traits>

#include "fastblackout/merge.h"

namespace fastblackout {
namespace bindings {

enum class Dtype : int { other = -1, u8, i16, i32, i64, f32, f64, bf16, f16, u16 };  // the codes of fastblackout/arrays.py

template <class T>
constexpr Dtype floating = sizeof(T) == 4 ? Dtype::f32 : Dtype::f64;
template <class T>
constexpr Dtype whole = sizeof(T) == 8 ? Dtype::i64 : sizeof(T) == 4 ? Dtype::i32 : Dtype::u16;
template <class T>
constexpr Dtype dtype_of = std::is_floating_point<T>::value ? floating<T> : whole<T>;

struct Array {
  char* data = nullptr;
  Dtype dtype = Dtype::other;
  int dims = 0;
  const int64_t *sizes = nullptr, *strides = nullptr;  // strides count elements
};

// The numbers of an array, neither copied nor converted: a wrong dtype is a fault of the package's own caller.
template <class T>
T* memory_of(const Array& array) {
  if (array.dtype != dtype_of<std::remove_cv_t<T>>) throw std::invalid_argument("a per-sample array has the wrong dtype");
  return reinterpret_cast<T*>(array.data);
}

// The memory of a dense array, which comes like a strided one.
template <class T>
bool fill(const Array& array, T*& memory) {
  memory = memory_of<T>(array);
  return true;
}

// Numbers of the samples; of stride 0 where all samples share one.
template <template <class> class PerSample, class T>
bool fill(const Array& array, PerSample<T>& number) {
  number.data = memory_of<const T>(array);
  number.stride = array.strides[0];
  return true;
}

// A view of an array whose first dimension is the samples.
template <class View>
bool fill_view(const Array& array, View& view) {
  view.data = array.data;
  view.dtype = static_cast<decltype(view.dtype)>(array.dtype);
  if (array.dims > 0) view.sample_stride = array.strides[0];
  Merge<View> merge(view);
  for (int d = 1; d < array.dims; ++d)
    if (!merge.append(array.sizes[d], array.strides[d])) return false;
  return true;
}

// Draws of a network, one after another along the first dimension.
template <class Draws>
bool fill_draws(const Array& array, Draws& draws) {
  draws.draws = array.sizes[0];
  draws.draw_stride = array.strides[0];
  return fill_view({array.data, array.dtype, array.dims - 1, array.sizes + 1, array.strides + 1}, draws);
}

// A field of an op whose samples have so many elements.
template <class Field>
bool fill(const Array& array, int64_t, Field& field) {
  return fill(array, field);
}

template <class View>
std::string too_many_dimensions() {
  return "arrays may have at most " + std::to_string(Merge<View>::kMost) + " dimensions that do not merge";
}

}  // namespace bindings
}  // namespace fastblackout
