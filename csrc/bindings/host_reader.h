// Fills an op of the CPU's kernels from the arguments of a function of _cpu: size, threads and instruction set, then the fields
// of the op's list in fastblackout/ops.h. An array comes as NumPy's, as (address, dtype code, shape, strides in elements) or as
// None; a number for each sample as a NumPy array, of stride 0 where all samples share one; a probability as two of those or
// of None; the key as (seed, or a function that draws it, first sample, call). Python has checked dtypes, shapes and devices, and
// owns the memory.
#pragma once

#include <pybind11/numpy.h>

#include "bindings/argument_reader.h"
#include "bindings/python_seed.h"

namespace fastblackout {
namespace bindings {

// The numbers of an array, neither copied nor converted: a wrong dtype is a fault of the package's own caller.
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

inline cpu::Dtype dtype_of(const py::array& array) {
  const char kind = array.dtype().kind();
  switch (array.itemsize()) {
    case 1: return cpu::Dtype::u8;
    case 2: return kind == 'i' ? cpu::Dtype::i16 : kind == 'f' ? cpu::Dtype::f16 : cpu::Dtype::bf16;  // ml_dtypes has bf16
    case 4: return kind == 'i' ? cpu::Dtype::i32 : cpu::Dtype::f32;
    default: return kind == 'i' ? cpu::Dtype::i64 : cpu::Dtype::f64;
  }
}

// Sets data and dtype of `to` from an array, and leaves them for None; calls visit(size, stride in elements) for each dimension.
template <class To, class Visit>
void read_array(const py::object& given, To& to, const Visit& visit) {
  if (given.is_none()) return;
  if (py::isinstance<py::array>(given)) {
    const auto array = py::reinterpret_borrow<py::array>(given);
    to.data = static_cast<char*>(const_cast<void*>(array.data()));
    to.dtype = dtype_of(array);
    for (py::ssize_t d = 0; d < array.ndim(); ++d) visit(array.shape(d), array.strides(d) / array.itemsize());
    return;
  }
  const auto parts = py::reinterpret_borrow<py::tuple>(given);
  to.data = reinterpret_cast<char*>(parts[0].cast<uintptr_t>());
  to.dtype = static_cast<cpu::Dtype>(parts[1].cast<int>());
  const py::tuple shape = parts[2], strides = parts[3];
  for (size_t d = 0; d < shape.size(); ++d) visit(shape[d].cast<int64_t>(), strides[d].cast<int64_t>());
}

class HostReader : public ArgumentReader<HostReader> {
 public:
  // chosen: the instruction set to use where none is asked for
  HostReader(const py::args& given, cpu::Isa chosen, cpu::Common& op) : ArgumentReader(given), op_(op) {
    const auto size = next<py::tuple>();
    op.samples = size[0].cast<int64_t>();
    op.elements = size[1].cast<int64_t>();
    take(op.threads);
    int isa;
    take(isa);
    op.isa = isa < 0 ? chosen : static_cast<cpu::Isa>(isa);
    if (op.isa > cpu::widest_isa()) throw std::invalid_argument("this processor has no such instruction set");
  }

  using ArgumentReader::take;
  void take(int& number) { number = next().cast<int>(); }

  void take(SampleKey& key) {
    const auto words = next<py::tuple>();
    const bool drawn = py::isinstance<py::int_>(words[0]);
    if (!drawn) seed_.lend(words[0].ptr(), nullptr, op_);
    const uint64_t seed = drawn ? words[0].cast<uint64_t>() : 0;
    key = SampleKey{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), words[1].cast<uint32_t>(), words[2].cast<uint32_t>()};
  }

  template <class T>
  void take(cpu::PerSample<T>& number) {
    number = per_sample<T>(next<py::array>());
  }

  void take(cpu::Prob& prob) {
    const auto p = next(), q = next();
    if (!p.is_none()) prob = cpu::Prob{per_sample<double>(p), per_sample<double>(q)};
  }

  // The memory of a dense array, which comes like a strided one.
  template <class T>
  void take(T*& memory) {
    const auto array = next();
    if (py::isinstance<py::array>(array)) memory = values<T>(py::reinterpret_borrow<py::array>(array));
    else if (!array.is_none()) memory = reinterpret_cast<T*>(py::reinterpret_borrow<py::tuple>(array)[0].template cast<uintptr_t>());
  }

  void take(cpu::View& view) {
    cpu::Merge merge(view);
    bool is_sample = true;
    read_array(next(), view, [&](int64_t size, int64_t stride) {
      if (is_sample) view.sample_stride = stride;
      else merge.append(size, stride);
      is_sample = false;
    });
  }

  void take(cpu::Draws& draws) {
    cpu::Merge merge(draws);
    int dimension = 0;
    read_array(next(), draws, [&](int64_t size, int64_t stride) {
      if (dimension == 0) {
        draws.draws = size;
        draws.draw_stride = stride;
      } else if (dimension == 1) {
        draws.sample_stride = stride;
      } else {
        merge.append(size, stride);
      }
      ++dimension;
    });
  }

  // Where the array has more values than elements, its last dimension is that of the states.
  void take(cpu::States& head) {
    const auto given = next();
    int64_t size_of_all = 1, dimensions = 0;
    read_array(given, head, [&](int64_t size, int64_t) {
      if (dimensions++ > 0) size_of_all *= size;
    });
    const bool has_states = size_of_all != op_.elements;
    cpu::Merge merge(head);
    int64_t dimension = 0;
    read_array(given, head, [&](int64_t size, int64_t stride) {
      if (dimension == 0) {
        head.sample_stride = stride;
      } else if (has_states && dimension == dimensions - 1) {
        head.states = size;
        head.state_stride = stride;
      } else {
        merge.append(size, stride);
      }
      ++dimension;
    });
  }

  void take(cpu::Matrices& m) {
    int64_t sizes[3] = {1, 0, 0}, strides[3] = {0, 0, 1};
    int d = 0;
    read_array(next(), m, [&](int64_t size, int64_t stride) {
      sizes[d] = size;
      strides[d++] = stride;
    });
    m = cpu::Matrices{m.data, m.dtype, sizes[0], sizes[1], sizes[2], strides[0], strides[1]};
  }

 private:
  const cpu::Common& op_;
  PythonSeed seed_;
};

}  // namespace bindings
}  // namespace fastblackout
