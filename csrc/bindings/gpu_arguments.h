// Arguments of the CUDA kernels from Python: tensors come as (address, dtype code, shape, strides in elements) or None.
#pragma once

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "bindings/gil.h"
#include "cuda/ops.h"

namespace fastblackout {
namespace bindings {

namespace py = pybind11;

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Of the memory of a tensor that is dense, or null for None.
template <class T>
T* address_of(const py::object& tensor) {
  return tensor.is_none() ? nullptr : pointer<T>(py::reinterpret_borrow<py::tuple>(tensor)[0].cast<uintptr_t>());
}

inline cuda::View view_of(const py::object& array) {
  cuda::View view;
  if (array.is_none()) return view;
  static constexpr int64_t kBytes[] = {1, 2, 4, 8, 4, 8, 2, 2};
  const py::tuple parts = py::reinterpret_borrow<py::tuple>(array);
  const uintptr_t address = parts[0].cast<uintptr_t>();
  view.data = pointer<char>(address);
  view.dtype = parts[1].cast<int>();
  const py::tuple shape = parts[2], strides = parts[3];
  if (shape.size() == 0) return view;
  view.sample_stride = strides[0].cast<int64_t>();
  view.dims = 0;
  int64_t elements = 1;
  for (size_t d = 1; d < shape.size(); ++d) {
    const int64_t size = shape[d].cast<int64_t>(), stride = strides[d].cast<int64_t>();
    elements *= size;
    if (size == 1) continue;
    if (view.dims > 0 && view.strides[view.dims - 1] == stride * size) {
      view.sizes[view.dims - 1] *= static_cast<uint32_t>(size);
      view.strides[view.dims - 1] = stride;
      continue;
    }
    if (view.dims == cuda::kMaxDims) throw std::invalid_argument("arrays may have at most 8 dimensions that do not merge");
    view.sizes[view.dims] = static_cast<uint32_t>(size);
    view.strides[view.dims++] = stride;
  }
  if (view.dims == 0) {
    view.dims = 1;
    view.sizes[0] = 1;
    view.strides[0] = 1;
  }
  const int64_t bytes = kBytes[view.dtype];
  view.aligned = view.dims == 1 && view.strides[0] == 1 && address % 16 == 0 &&
                 (shape[0].cast<int64_t>() == 1 || view.sample_stride * bytes % 16 == 0);
  view.vector = view.aligned && elements % 16 == 0;
  return view;
}

// Where an op runs and on how much: (device, stream, samples, elements, flag, name). The device in use before, which torch takes for its current one, is in use again when the Head goes.
struct Head {
  void* stream;

  Head(cuda::Common& op, const py::tuple& head) : device(head[0].cast<int>()) {
    check(head[5].cast<std::string>().c_str(), cuda::use_device(device, &before));
    stream = pointer<void>(head[1].cast<uintptr_t>());
    op.samples = head[2].cast<int64_t>();
    op.elements = head[3].cast<int64_t>();
    op.flag = pointer<int>(head[4].cast<uintptr_t>());
  }

  Head(const Head&) = delete;
  ~Head() {
    int now;
    if (before != device) cuda::use_device(before, &now);
  }

  static void check(const char* name, int error) {
    if (error != 0) throw std::runtime_error(std::string(name) + ": CUDA: " + cuda::error_text(error));
  }

 private:
  int device, before = 0;
};

// A launch; the GIL is released since the CPU twin takes its time.
template <class Op>
void call(const char* name, int (*kernel)(const Op&, void*), const Op& op, void* stream) {
  int error = 0;
  run_without_gil([&] { error = kernel(op, stream); });
  Head::check(name, error);
}

inline cuda::Pair pair_of(const py::object& p, const py::object& q) { return cuda::Pair{address_of<double>(p), address_of<double>(q)}; }

}  // namespace bindings
}  // namespace fastblackout
