// Fills an op of the CUDA kernels from what Python gives for a device's memory: a tuple (device, stream, samples, elements, flag,
// name of the op for errors), then the fields of the op's list in fastblackout/ops.h. Tensors come as (address, dtype code,
// shape, strides in elements) or None, and p and q of a probability one after the other.
#pragma once

#include <stdexcept>
#include <string>

#include "bindings/argument_reader.h"
#include "bindings/gil.h"
#include "cuda/ops.h"

namespace fastblackout {
namespace bindings {

// A view of the dimensions `first` to dims - 1 of a tensor, of which `first` is the sample.
inline cuda::View view_of(const py::tuple& array, size_t dims, size_t first = 0) {
  static constexpr int64_t kBytes[] = {1, 2, 4, 8, 4, 8, 2, 2};
  cuda::View view;
  const uintptr_t address = array[0].cast<uintptr_t>();
  view.data = reinterpret_cast<char*>(address);
  view.dtype = array[1].cast<int>();
  const py::tuple shape = array[2], strides = array[3];
  if (dims == first) return view;
  view.sample_stride = strides[first].cast<int64_t>();
  view.dims = 0;
  int64_t elements = 1;
  for (size_t d = first + 1; d < dims; ++d) {
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
                 (shape[first].cast<int64_t>() == 1 || view.sample_stride * bytes % 16 == 0);
  view.vector = view.aligned && elements % 16 == 0;
  return view;
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

  static void check(const std::string& name, int error) {
    if (error != 0) throw std::runtime_error(name + ": CUDA: " + cuda::error_text(error));
  }

 private:
  int device_, before_ = 0;
};

class DeviceReader : public ArgumentReader<DeviceReader> {
 public:
  DeviceReader(const py::args& given, cuda::Common& op) : ArgumentReader(given), head_(next<py::tuple>()), op_(op) {
    op.samples = head_[2].cast<int64_t>();
    op.elements = head_[3].cast<int64_t>();
    op.flag = reinterpret_cast<int*>(head_[4].cast<uintptr_t>());
  }

  // Launches the kernel. The GIL is released, since on the SIMT shim a launch takes as long as the kernel runs.
  template <class Op>
  void launch(int (*kernel)(const Op&, void*), const Op& op) const {
    const std::string name = head_[5].cast<std::string>();
    const OnDevice here(name, head_[0].cast<int>());
    void* const stream = reinterpret_cast<void*>(head_[1].cast<uintptr_t>());
    int error = 0;
    run_without_gil([&] { error = kernel(op, stream); });
    OnDevice::check(name, error);
  }

  using ArgumentReader::take;
  void take(cuda::Pair& prob) { (*this)(prob.p, prob.q); }

  template <class T>
  void take(T*& memory) {
    const auto array = next();
    if (!array.is_none()) memory = reinterpret_cast<T*>(py::reinterpret_borrow<py::tuple>(array)[0].template cast<uintptr_t>());
  }

  void take(cuda::View& view) {
    const auto given = next();
    if (given.is_none()) return;
    const auto array = py::reinterpret_borrow<py::tuple>(given);
    view = view_of(array, dims_of(array));
  }

  void take(cuda::Weights& weights) {
    const auto given = next();
    if (given.is_none()) return;
    const auto array = py::reinterpret_borrow<py::tuple>(given);
    const size_t classes = dims_of(array) - 1;
    static_cast<cuda::View&>(weights) = view_of(array, classes);
    weights.class_stride = py::reinterpret_borrow<py::tuple>(array[3])[classes].cast<int64_t>();
  }

  // Where the array has more values than elements, its last dimension is that of the states.
  void take(cuda::States& head) {
    const auto given = next();
    if (given.is_none()) return;
    const auto array = py::reinterpret_borrow<py::tuple>(given);
    const py::tuple shape = array[2], strides = array[3];
    const size_t dims = dims_of(array);
    int64_t size = 1;
    for (size_t d = 1; d < dims; ++d) size *= shape[d].cast<int64_t>();
    const size_t last = dims - 1;
    if (size == op_.elements) {
      static_cast<cuda::View&>(head) = view_of(array, dims);
      return;
    }
    static_cast<cuda::View&>(head) = view_of(array, last);
    head.states = shape[last].cast<int64_t>();
    head.state_stride = strides[last].cast<int64_t>();
  }

  void take(cuda::Draws& draws) {
    const auto array = next<py::tuple>();
    static_cast<cuda::View&>(draws) = view_of(array, dims_of(array), 1);
    draws.draws = py::reinterpret_borrow<py::tuple>(array[2])[0].cast<int64_t>();
    draws.draw_stride = py::reinterpret_borrow<py::tuple>(array[3])[0].cast<int64_t>();
    draws.aligned = draws.vector = false;  // of the first draw: the kernels take all alike
  }

  void take(cuda::LogProbPair& prob) {
    for (cuda::View* side : {&prob.p, &prob.q}) {
      const auto array = next<py::tuple>();
      *side = view_of(array, dims_of(array));
      if (dims_of(array) > 1) continue;
      side->sizes[0] = static_cast<uint32_t>(op_.elements);  // the elements of a sample share one number
      side->strides[0] = 0;
      side->aligned = side->vector = false;
    }
  }

  void take(cuda::Matrices& m) {
    const auto array = next<py::tuple>();
    const py::tuple shape = array[2], strides = array[3];
    m.data = reinterpret_cast<char*>(array[0].cast<uintptr_t>());
    m.single = array[1].cast<int>() == cuda::kF32;
    m.matrices = shape[0].cast<int64_t>();
    m.rows = shape[1].cast<int64_t>();
    m.columns = shape[2].cast<int64_t>();
    m.matrix_stride = strides[0].cast<int64_t>();
    m.row_stride = strides[1].cast<int64_t>();
    m.column_stride = strides[2].cast<int64_t>();
  }

  void take(cuda::RowsOut& rows) {
    const auto array = next<py::tuple>();
    const py::tuple strides = array[3];
    rows.data = reinterpret_cast<double*>(array[0].cast<uintptr_t>());
    for (size_t d = 0; d < 3; ++d) rows.strides[d] = strides[d].cast<int64_t>();
  }

 private:
  const py::tuple head_;
  const cuda::Common& op_;

  static size_t dims_of(const py::tuple& array) { return py::reinterpret_borrow<py::tuple>(array[2]).size(); }
};

}  // namespace bindings
}  // namespace fastblackout
