// Fills an op of the CUDA kernels from what Python gives for a device's memory: a tuple (device, stream, samples, elements, flag,
// name of the op for errors), then the fields of the op's list in fastblackout/ops.h. Tensors come as (address, dtype code,
// shape, strides in elements) or None, and p and q of a probability one after the other.
#pragma once

#include <stdexcept>
#include <string>

#include "bindings/argument_reader.h"
#include "bindings/device.h"

namespace fastblackout {
namespace bindings {

// A view of the dimensions `first` to dims - 1 of a tensor, of which `first` is the sample.
inline cuda::View view_of(const py::tuple& array, size_t dims, size_t first = 0) {
  int64_t shape[kMostDims], strides[kMostDims];
  if (dims - first > kMostDims) throw std::invalid_argument(kTooManyDims);
  const py::tuple sizes = array[2], steps = array[3];
  for (size_t d = first; d < dims; ++d) {
    shape[d - first] = sizes[d].cast<int64_t>();
    strides[d - first] = steps[d].cast<int64_t>();
  }
  cuda::View view;
  char* const data = reinterpret_cast<char*>(array[0].cast<uintptr_t>());
  if (!strided_view(data, array[1].cast<int>(), static_cast<int>(dims - first), shape, strides, view))
    throw std::invalid_argument(kTooManyDims);
  return view;
}

class DeviceReader : public ArgumentReader<DeviceReader> {
 public:
  DeviceReader(const py::args& given, cuda::Common& op) : ArgumentReader(given), head_(next<py::tuple>()), op_(op) {
    op.samples = head_[2].cast<int64_t>();
    op.elements = head_[3].cast<int64_t>();
    op.flag = reinterpret_cast<int*>(head_[4].cast<uintptr_t>());
  }

  template <class Op>
  void launch(int (*kernel)(const Op&, void*), const Op& op) const {
    void* const stream = reinterpret_cast<void*>(head_[1].cast<uintptr_t>());
    launch_on(head_[5].cast<std::string>(), head_[0].cast<int>(), stream, kernel, op);
  }

  using ArgumentReader::take;
  void take(cuda::Pair& prob) { (*this)(prob.p, prob.q); }

  void take(cuda::Key& key) { take(key.data); }

  template <class T>
  void take(cuda::PerSample<T>& number) {
    take(number.data);
  }

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
