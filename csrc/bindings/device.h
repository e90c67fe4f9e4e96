// What both readers for a device share (device_reader.h, tensor_reader.h): views of its memory, and how a kernel is launched there.
#pragma once

#include <stdexcept>
#include <string>

#include "bindings/gil.h"
#include "cuda/ops.h"

namespace fastblackout {
namespace bindings {

constexpr size_t kMostDims = 64;  // of a torch tensor
constexpr const char* kTooManyDims = "arrays may have at most 8 dimensions that do not merge";

// Sets `view` to a strided array whose first dimension is that of the samples. dtype: its code in cuda::Dtype. False where too many
// dimensions do not merge.
inline bool strided_view(char* data, int dtype, int dims, const int64_t* shape, const int64_t* strides, cuda::View& view) {
  static constexpr int64_t kBytes[] = {1, 2, 4, 8, 4, 8, 2, 2};
  view.data = data;
  view.dtype = dtype;
  if (dims == 0) return true;
  view.sample_stride = strides[0];
  view.dims = 0;
  int64_t elements = 1;
  for (int d = 1; d < dims; ++d) {
    elements *= shape[d];
    if (shape[d] == 1) continue;
    if (view.dims > 0 && view.strides[view.dims - 1] == strides[d] * shape[d]) {
      view.sizes[view.dims - 1] *= static_cast<uint32_t>(shape[d]);
      view.strides[view.dims - 1] = strides[d];
      continue;
    }
    if (view.dims == cuda::kMaxDims) return false;
    view.sizes[view.dims] = static_cast<uint32_t>(shape[d]);
    view.strides[view.dims++] = strides[d];
  }
  if (view.dims == 0) {
    view.dims = 1;
    view.sizes[0] = 1;
    view.strides[0] = 1;
  }
  view.aligned = view.dims == 1 && view.strides[0] == 1 && reinterpret_cast<uintptr_t>(data) % 16 == 0 &&
                 (shape[0] == 1 || view.sample_stride * kBytes[dtype] % 16 == 0);
  view.vector = view.aligned && elements % 16 == 0;
  return true;
}

// Of how many chunks of this size a sample is.
inline int64_t chunks_of(const cuda::Common& op, int64_t size) { return (op.elements + size - 1) / size; }

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
    int now;
    if (before_ != device_) cuda::use_device(before_, &now);
  }

 private:
  int device_, before_ = 0;
};

// Launches a kernel of the op that errors call `name`. The GIL is released, since on the SIMT shim a launch takes as long as the
// kernel runs.
template <class Op>
void launch_on(const std::string& name, int device, void* stream, int (*kernel)(const Op&, void*), const Op& op) {
  const OnDevice here(name, device);
  int error = 0;
  run_without_gil([&] { error = kernel(op, stream); });
  check(name, error);
}

}  // namespace bindings
}  // namespace fastblackout
