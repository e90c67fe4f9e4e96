// How the fields of the CPU's kernels are made of arrays (array.h), and a key of its words.
#pragma once

#include "bindings/array.h"
#include "cpu/ops.h"

namespace fastblackout {
namespace bindings {

static_assert(static_cast<int>(cpu::Dtype::f16) == static_cast<int>(Dtype::f16), "both enumerate the dtypes of fastblackout/arrays.py");

inline void set_key(SampleKey& key, uint64_t seed, uint64_t first_sample, uint64_t call) {
  key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), static_cast<uint32_t>(first_sample), static_cast<uint32_t>(call)};
}

inline bool fill(const Array& array, cpu::View& view) { return fill_view(array, view); }

inline bool fill(const Array& array, cpu::Draws& draws) { return fill_draws(array, draws); }

inline bool fill(const Array& array, cpu::Matrices& m) {
  const int64_t *const sizes = array.sizes, *const strides = array.strides;
  m = cpu::Matrices{array.data, static_cast<cpu::Dtype>(array.dtype), sizes[0], sizes[1], sizes[2], strides[0], strides[1]};
  return true;
}

}  // namespace bindings
}  // namespace fastblackout
