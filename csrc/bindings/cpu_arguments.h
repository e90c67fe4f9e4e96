// Arguments of the CPU kernels from Python. Arrays come as (address, dtype code, shape, strides in elements) or None,
// per-sample parameters as NumPy arrays, of stride 0 where all samples share one number, results as contiguous ones;
// fastblackout/ops has checked dtypes, shapes and devices, and owns the memory.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "bindings/gil.h"
#include "cpu/ops.h"

namespace py = pybind11;
namespace fb = fastblackout;
namespace cpu = fastblackout::cpu;

extern cpu::Isa chosen_isa;                   // at import
void define_states(py::module_& m);           // the ops on states, and power_series

// The numbers of an array. No copy, no conversion: a wrong dtype is a fault of the caller in the package.
template <class T>
T* values(const py::array& array) {
  const char kind = std::is_floating_point<T>::value ? 'f' : std::is_signed<T>::value ? 'i' : 'u';
  if (array.itemsize() != sizeof(T) || array.dtype().kind() != kind) throw std::invalid_argument("a per-sample array has the wrong dtype");
  return static_cast<T*>(const_cast<void*>(array.data()));
}

template <class T>
cpu::PerSample<T> per_sample(const py::array& array) {
  return cpu::PerSample<T>{values<T>(array), array.strides(0) / array.itemsize()};
}

// The memory of a dense array, given like a strided one or as NumPy.
template <class T>
T* address_of(const py::object& array) {
  if (py::isinstance<py::array>(array)) return values<T>(py::reinterpret_borrow<py::array>(array));
  return reinterpret_cast<T*>(py::reinterpret_borrow<py::tuple>(array)[0].cast<uintptr_t>());
}

inline cpu::View view_of(const py::object& array) {
  cpu::View view;
  if (array.is_none()) return view;
  const py::tuple parts = py::reinterpret_borrow<py::tuple>(array);
  view.data = reinterpret_cast<char*>(parts[0].cast<uintptr_t>());
  view.dtype = static_cast<cpu::Dtype>(parts[1].cast<int>());
  const py::tuple shape = parts[2], strides = parts[3];
  if (shape.size() == 0) return view;
  view.sample_stride = strides[0].cast<int64_t>();
  cpu::Merge merge(view);
  for (size_t d = 1; d < shape.size(); ++d) merge.append(shape[d].cast<int64_t>(), strides[d].cast<int64_t>());
  return view;
}

inline void fill_common(cpu::Common& op, const py::tuple& size, const py::tuple& key, int threads, int isa) {
  op.samples = size[0].cast<int64_t>();
  op.elements = size[1].cast<int64_t>();
  const uint64_t seed = key[0].cast<uint64_t>();
  op.key = fb::SampleKey{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), key[1].cast<uint32_t>(), key[2].cast<uint32_t>()};
  op.threads = threads;
  op.isa = isa < 0 ? chosen_isa : static_cast<cpu::Isa>(isa);
  if (op.isa > cpu::widest_isa()) throw std::invalid_argument("this processor has no such instruction set");
}

inline cpu::Prob prob_of(const py::object& pair) {
  if (pair.is_none()) return cpu::Prob{};
  const py::tuple parts = py::reinterpret_borrow<py::tuple>(pair);
  return cpu::Prob{per_sample<double>(parts[0]), per_sample<double>(parts[1])};
}

template <class Op>
void call(void (*kernel)(const Op&), const Op& op) {
  fb::run_without_gil([&] { kernel(op); });
}
