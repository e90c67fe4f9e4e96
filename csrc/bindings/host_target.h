// What the short way into the CPU's kernels (quick.cpp) reads of arrays in host memory: views, and numbers of the samples, which are
// checked. HostTarget says so to the reader (call_reader.h).
#pragma once

#include <limits>

#include "bindings/borrow.h"
#include "bindings/host.h"
#include "bindings/python_seed.h"
#include "bindings/room.h"

namespace fastblackout {
namespace {

class HostTarget {
 public:
  using Backend = cpu::Backend;
  static constexpr bool kKeepsSlopes = true;

  explicit HostTarget(cpu::Isa chosen) : chosen_(chosen) {}

  // Whether a call with this backend is for the CPU's kernels. Sets the op's threads, and its instruction set: `chosen` if none is
  // asked for.
  bool settle(PyObject* backend, cpu::Common& op) {
    PyObject* setting = nullptr;  // (backend, isa, threads) of use_backend
    if (known.setting == nullptr || PyContextVar_Get(known.setting, nullptr, &setting) != 0 || setting == nullptr) return false;
    PyObject* const asked = is_text(backend, "auto") ? PyTuple_GET_ITEM(setting, 0) : backend;
    const bool ours = is_text(asked, "auto") || is_text(asked, "cpu");
    const long isa = PyLong_AsLong(PyTuple_GET_ITEM(setting, 1));
    op.isa = isa < 0 ? chosen_ : static_cast<cpu::Isa>(isa);
    op.threads = static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(setting, 2)));
    Py_DECREF(setting);
    if (ours && op.threads == 0) op.threads = number_from(known.threads);
    return ours;
  }

  bool begin(PyObject*, cpu::Common&) const { return true; }

  // Describes an array in host memory without a copy.
  bool borrow(PyObject* value, Borrowed& x) {
    if (borrow_numpy(value, x)) return true;
    if (!borrow_tensor(value, x) || x.device_type != kCpu) return false;
    if (!tensors_are_plain_) tensors_are_plain_ = undisturbed();
    return tensors_are_plain_;
  }

  bool number(PyObject* value, int64_t samples, int dims, double low, cpu::PerSample<double>& number) {
    return doubles(value, samples, dims, number) && first_wrong(number, number.distinct(samples), low) < 0;
  }

  // The same rounded to float32.
  bool number(PyObject* value, int64_t samples, int dims, float low, cpu::PerSample<float>& number) {
    Borrowed x;
    if (borrow(value, x) && x.dtype == Dtype::f32) {
      if (!is_row(x, samples, dims)) return false;
      fill_row<float>(x, number);
    } else {
      cpu::PerSample<double> from;
      if (!doubles(value, samples, dims, from)) return false;
      number = rooms_.next(low).keep(from.distinct(samples), [&from](int64_t i) { return from[i]; });
    }
    return first_wrong(number, number.distinct(samples), low) < 0;
  }

  bool pair(PyObject* p, int64_t samples, int dims, cpu::Prob& prob) {
    if (!doubles(p, samples, dims, prob.p)) return false;
    prob.q = rooms_.next(0.0).keep(prob.p.distinct(samples), [&prob](int64_t i) { return 1.0 - prob.p[i]; });
    return cpu::good_pair(prob, samples);
  }

  bool pair(PyObject* p, PyObject* q, int64_t samples, int dims, cpu::Prob& prob) {
    return doubles(p, samples, dims, prob.p) && doubles(q, samples, dims, prob.q) && cpu::good_pair(prob, samples);
  }

  // A number among arrays that broadcast, as one of no dimensions.
  bool scalar(PyObject* value, bool whole, Borrowed& x) {
    if (scalars_ == kScalars) return false;
    if (whole) {
      int overflow;
      x.data = reinterpret_cast<char*>(&whole_[scalars_]);
      whole_[scalars_++] = PyLong_AsLongLongAndOverflow(value, &overflow);
      x.dtype = Dtype::i64;
      return overflow == 0;
    }
    x.data = reinterpret_cast<char*>(&real_[scalars_]);
    x.dtype = Dtype::f64;
    return real(value, real_[scalars_++]);
  }

  template <class Op>
  static void launch(const char*, void (*kernel)(const Op&), const Op& op) {
    run_without_gil([&] { kernel(op); });
  }

  // A key whose values the host knows.
  bool takes_known_key() const { return true; }
  bool key_tensor(PyObject* value, int64_t samples, SampleKey& key) {
    Borrowed x;
    if (!borrow(value, x) || !x.is_tensor || x.dtype != Dtype::i64 || x.dims != 1 || x.sizes[0] != 3) return false;
    const auto* const words = reinterpret_cast<const int64_t*>(x.data);
    const int64_t seed = words[0], first = words[x.strides[0]], call = words[2 * x.strides[0]], end = int64_t{1} << 32;
    bindings::set_key(key, static_cast<uint64_t>(seed), static_cast<uint64_t>(first), static_cast<uint64_t>(call));
    return first >= 0 && first <= end - samples && call >= 0 && call < end;
  }
  // The kernel draws the seed, after its checks.
  bool give_seed(PyObject* generator, cpu::Common& op) {
    seed_.lend(known.fresh_seed, generator, op);
    return true;
  }

  // Sets `out` to the numbers of the samples: those of a float64 array itself, others kept as such. False where `value` is something else.
  bool doubles(PyObject* value, int64_t samples, int dims, cpu::PerSample<double>& out) {
    if (PyFloat_Check(value) || PyLong_CheckExact(value)) {
      double number;
      if (!real(value, number)) return false;
      out = rooms_.next(0.0).keep(1, [number](int64_t) { return number; });
      return true;
    }
    if (PyList_CheckExact(value)) return listed(value, samples, out);
    Borrowed x;
    if (!borrow(value, x) || !is_row(x, samples, dims)) return false;
    if (x.dtype == Dtype::f64) {
      fill_row<double>(x, out);
      return true;
    }
    if (x.dtype != Dtype::f32) return false;
    cpu::PerSample<float> from;
    fill_row<float>(x, from);
    out = rooms_.next(0.0).keep(from.distinct(samples), [&from](int64_t i) { return from[i]; });
    return true;
  }

 private:
  static constexpr int kScalars = 3;  // an element-wise op has at most so many arguments

  const cpu::Isa chosen_;
  bool tensors_are_plain_ = false;
  PythonSeed seed_;
  Rooms rooms_;
  double real_[kScalars];
  long long whole_[kScalars];
  int scalars_ = 0;

  // A number of Python's in float64, where one is so large.
  static bool real(PyObject* value, double& number) {
    number = PyFloat_Check(value) ? PyFloat_AS_DOUBLE(value) : PyLong_CheckExact(value) ? PyLong_AsDouble(value) : -1.0;
    const bool failed = PyErr_Occurred() != nullptr;
    if (failed) PyErr_Clear();
    return !failed && (PyFloat_Check(value) || PyLong_CheckExact(value));
  }

  bool listed(PyObject* list, int64_t samples, cpu::PerSample<double>& out) {
    if (PyList_GET_SIZE(list) != samples) return false;
    bool good = true;
    out = rooms_.next(0.0).keep(samples, [list, &good](int64_t i) {
      double number;
      good = real(PyList_GET_ITEM(list, i), number) && good;
      return number;
    });
    return good;
  }
};

}  // namespace
}  // namespace fastblackout
