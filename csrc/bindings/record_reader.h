// Fills an op from the record of a checked call, for the functions of _cpu, _cuda and _simt: Python's arguments are the fields of the
// op's list in fastblackout/ops.h in turn. An array, or numbers of the samples, come as NumPy's, as (address, dtype code, shape,
// strides in elements) or as None; p and q of a probability one after the other. Python has checked everything, and owns the memory.
// None leaves a field as it is. A Target (cpu.cpp, gpu.h) reads what differs between host and device:
//   begin(read, op)           what comes before the record: size, and where and how the op runs
//   key(value, field, op)     the key of a call on the host
#pragma once

#include <pybind11/numpy.h>

#include "bindings/array.h"
#include "fastblackout/philox.h"

namespace fastblackout {
namespace bindings {

namespace py = pybind11;

class PythonArray : public Array {
 public:
  explicit PythonArray(const py::object& value) {
    sizes = sizes_;
    strides = strides_;
    if (py::isinstance<py::tuple>(value)) {
      const auto parts = py::reinterpret_borrow<py::tuple>(value);
      data = reinterpret_cast<char*>(parts[0].cast<uintptr_t>());
      dtype = static_cast<Dtype>(parts[1].cast<int>());
      const py::tuple shape = parts[2], steps = parts[3];
      for (size_t d = 0; d < shape.size(); ++d) append(shape[d].cast<int64_t>(), steps[d].cast<int64_t>());
      return;
    }
    const auto array = py::reinterpret_borrow<py::array>(value);
    const py::ssize_t rank = array.ndim(), bytes = array.itemsize(), *const shape = array.shape(), *const steps = array.strides();
    data = static_cast<char*>(const_cast<void*>(array.data()));
    dtype = dtype_of_numpy(array.dtype().kind(), bytes);
    for (py::ssize_t d = 0; d < rank; ++d) append(shape[d], steps[d] / bytes);
  }
  PythonArray(const PythonArray&) = delete;

 private:
  static constexpr int kMost = 64;  // of NumPy's arrays and torch's tensors

  int64_t sizes_[kMost], strides_[kMost];

  void append(int64_t size, int64_t stride) {
    if (dims == kMost) throw std::invalid_argument("arrays may have at most 64 dimensions");
    sizes_[dims] = size;
    strides_[dims++] = stride;
  }

  static Dtype dtype_of_numpy(char kind, py::ssize_t bytes) {
    switch (bytes) {
      case 1: return Dtype::u8;
      case 2: return kind == 'i' ? Dtype::i16 : kind == 'u' ? Dtype::u16 : kind == 'f' ? Dtype::f16 : Dtype::bf16;  // of ml_dtypes
      case 4: return kind == 'i' ? Dtype::i32 : kind == 'f' ? Dtype::f32 : Dtype::other;
      default: return kind == 'i' ? Dtype::i64 : kind == 'f' ? Dtype::f64 : Dtype::other;
    }
  }
};

template <class Target>
class RecordReader {
  using Backend = typename Target::Backend;
  using Common = typename Backend::Common;
  using View = typename Backend::View;

 public:
  RecordReader(const py::args& values, Target& target, Common& op) : values_(values), target_(target), op_(op) { target_.begin(*this, op); }

  template <class... Fields>
  void operator()(Fields&... fields) {
    (take(fields), ...);
  }
  template <class... Fields>
  void elements(Fields&... fields) {
    (*this)(fields...);
  }
  template <class... Fields>
  void outputs(Fields&... fields) {
    (take(fields), ...);
  }
  void either(View& view, bool& is_second) {
    View second;
    (*this)(view, second);
    is_second = view.data == nullptr;
    if (is_second) view = second;
  }
  template <class Field>
  void head(int64_t& family, Field& arrays) {
    (*this)(family, arrays);
  }
  template <class Op>
  void scratch(Op& op) {
    (*this)(op.chunk_sums, op.chunks_done);
  }
  void optional(typename Backend::Prob& prob) { take(prob); }
  template <class T, class Number>
  void at_least(T, Number& number) {
    take(number);
  }
  void choice(bool& is_first, const char*, const char*) { take(is_first); }

  template <class T = py::object>
  T next() {
    return py::reinterpret_borrow<T>(values_[at_++]);
  }
  template <class T>
  T next_as() {
    return next().template cast<T>();
  }

 private:
  const py::args values_;
  size_t at_ = 0;
  Target& target_;
  const Common& op_;

  void take(int64_t& number) { number = next_as<int64_t>(); }
  void take(double& number) { number = next_as<double>(); }
  void take(bool& value) { value = next_as<bool>(); }
  void take(SampleKey& key) { target_.key(next<py::tuple>(), key, op_); }
  void take(typename Backend::Prob& prob) { (*this)(prob.p, prob.q); }

  template <class Field, size_t count>
  void take(Field (&fields)[count]) {
    for (Field& field : fields) take(field);
  }
  template <class Field>
  void take(Field& field) {
    if constexpr (std::is_same<Field, typename Backend::LogProbPair>::value) return (*this)(field.p, field.q);
    else read(next(), field);
  }
  template <class Field>
  void read(const py::object& value, Field& field) {
    if (!value.is_none() && !fill(PythonArray(value), op_.elements, field)) throw std::invalid_argument(too_many_dimensions<View>());
  }
};

}  // namespace bindings
}  // namespace fastblackout
