// How the fields of the CUDA kernels are made of arrays (array.h) in a device's memory, and a key of its words, and how a kernel is
// launched there.
#pragma once

#include "bindings/array.h"
#include "bindings/gil.h"
#include "cuda/ops.h"

namespace fastblackout {
namespace bindings {

static_assert(cuda::kF16 == static_cast<int>(Dtype::f16), "both enumerate the dtypes of fastblackout/arrays.py");

inline bool fill(const Array& array, cuda::View& view) {
  static constexpr int64_t kBytes[] = {1, 2, 4, 8, 4, 8, 2, 2};
  if (!fill_view(array, view)) return false;
  view.aligned = array.dims > 0 && view.dims == 1 && view.strides[0] == 1 && reinterpret_cast<uintptr_t>(array.data) % 16 == 0 &&
                 (array.sizes[0] == 1 || view.sample_stride * kBytes[view.dtype] % 16 == 0);
  view.vector = view.aligned && view.sizes[0] % 16 == 0;
  return true;
}

// The kernels take all draws alike, aligned or not.
inline bool fill(const Array& array, cuda::Draws& draws) { return fill_draws(array, draws); }

inline bool fill(const Array& array, cuda::Weights& weights) {
  const int classes = array.dims - 1;
  weights.class_stride = array.strides[classes];
  return fill({array.data, array.dtype, classes, array.sizes, array.strides}, static_cast<cuda::View&>(weights));
}

inline bool fill(const Array& array, cuda::Matrices& m) {
  const int64_t *const sizes = array.sizes, *const strides = array.strides;
  m = cuda::Matrices{array.data, array.dtype == Dtype::f32, sizes[0], sizes[1], sizes[2], strides[0], strides[1], strides[2]};
  return true;
}

inline bool fill(const Array& array, int64_t elements, cuda::Probabilities& prob) {
  if (!fill(array, prob)) return false;
  if (array.dims > 1) return true;
  prob.sizes[0] = static_cast<uint32_t>(elements);
  prob.strides[0] = 0;
  prob.aligned = prob.vector = false;
  return true;
}

inline void set_key(cuda::Key& key, uint64_t seed, uint64_t first_sample, uint64_t call) {
  key = {nullptr, {static_cast<int64_t>(seed), static_cast<int64_t>(first_sample), static_cast<int64_t>(call)}};
}

inline bool fill(const Array& array, cuda::Key& key) { return fill(array, key.data); }

inline bool fill(const Array& array, cuda::RowsOut& rows) {
  rows.data = memory_of<double>(array);
  for (int d = 0; d < 3; ++d) rows.strides[d] = array.strides[d];
  return true;
}

// Throws for a cudaError_t of a launch for the op that errors call `name`.
inline void check(const std::string& name, int error) {
  if (error != 0) throw std::runtime_error(name + ": CUDA: " + cuda::error_text(error));
}

// Makes the device of an op the one in use. The one in use before, which torch takes for its current one, is in use again when
// this object is destroyed.
class OnDevice {
 public:
  OnDevice(const std::string& name, int device) : device_(device) { check(name, cuda::use_device(device, &before_)); }
  OnDevice(const OnDevice&) = delete;
  ~OnDevice() {
    int current;
    if (before_ != device_) cuda::use_device(before_, &current);
  }

 private:
  int device_, before_ = 0;
};

// Launches a kernel of the op that errors call `name` on the device in use.
template <class Op>
void launch_here(const std::string& name, void* stream, int (*kernel)(const Op&, void*), const Op& op) {
  try {
    check(name, kernel(op, stream));
  } catch (const cuda::Refused& refused) {
    throw std::runtime_error(name + ": CUDA: " + refused.what());
  }
}

// The same on a device. The GIL is released, since on the SIMT shim a launch takes as long as the kernel runs.
template <class Op>
void launch_on(const std::string& name, int device, void* stream, int (*kernel)(const Op&, void*), const Op& op) {
  const OnDevice here(name, device);
  run_without_gil([&] { launch_here(name, stream, kernel, op); });
}

}  // namespace bindings
}  // namespace fastblackout
