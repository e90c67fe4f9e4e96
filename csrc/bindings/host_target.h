// What the short way into the CPU's kernels (quick.cpp) reads of tensors in host memory: views, and numbers of the samples, which are
// checked. HostTarget says so to the reader (tensor_reader.h).
#pragma once

#include <limits>

#include "bindings/borrow.h"
#include "bindings/host.h"
#include "bindings/python_seed.h"
#include "bindings/room.h"

namespace fastblackout {
namespace {

// Describes a plain CPU tensor without a copy; false for any other object.
bool borrow(PyObject* object, Tensor& out) { return borrow_any(object, out) && out.device_type == kCpu; }

// The numbers of a tensor of T with the shape (samples,); false for anything else.
template <class T>
bool numbers_of(PyObject* value, int64_t samples, cpu::PerSample<T>& out) {
  Tensor t;
  return borrow(value, t) && is_row<T>(t, samples) && fill(t, out);
}

// Sets `out` to the numbers of the samples: a float64 tensor's own. The numbers of a float or, unless they are probabilities, of
// a float32 tensor are kept in `room`. False where `value` is something else.
bool doubles(PyObject* value, int64_t samples, bool probabilities, Room<double>& room, cpu::PerSample<double>& out) {
  if (PyFloat_CheckExact(value)) {
    out = room.keep(1, [value](int64_t) { return PyFloat_AS_DOUBLE(value); });
    return true;
  }
  if (numbers_of(value, samples, out)) return true;
  cpu::PerSample<float> from;
  if (probabilities || !numbers_of(value, samples, from)) return false;
  out = room.keep(from.distinct(samples), [&from](int64_t i) { return from[i]; });
  return true;
}

// The same rounded to float32: a float32 tensor's own, or kept in `room`. False also where one is not finite or below `low`.
bool floats(PyObject* value, int64_t samples, float low, Room<float>& room, cpu::PerSample<float>& out) {
  if (!numbers_of(value, samples, out)) {
    Room<double> wide;
    cpu::PerSample<double> from;
    if (!doubles(value, samples, false, wide, from)) return false;
    out = room.keep(from.distinct(samples), [&from](int64_t i) { return from[i]; });
  }
  return first_wrong(out, out.distinct(samples), low) < 0;
}

class HostTarget {
 public:
  using Backend = cpu::Backend;

  explicit HostTarget(cpu::Isa chosen) : chosen_(chosen) {}

  // Whether a call with this backend is for the CPU's kernels. Sets the op's threads, and its instruction set: `chosen` if none is
  // asked for.
  bool settle(PyObject* backend, cpu::Common& op) {
    PyObject* setting = nullptr;  // (backend, isa, threads) of use_backend
    if (torch.setting == nullptr || PyContextVar_Get(torch.setting, nullptr, &setting) != 0 || setting == nullptr) return false;
    PyObject* const asked = is_text(backend, "auto") ? PyTuple_GET_ITEM(setting, 0) : backend;
    const bool ours = is_text(asked, "auto") || is_text(asked, "cpu");
    const long isa = PyLong_AsLong(PyTuple_GET_ITEM(setting, 1));
    op.isa = isa < 0 ? chosen_ : static_cast<cpu::Isa>(isa);
    op.threads = static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(setting, 2)));
    Py_DECREF(setting);
    if (!ours || !undisturbed()) return false;
    if (op.threads == 0) op.threads = number_from(torch.threads);
    return true;
  }

  bool begin(PyObject*, cpu::Common&) const { return true; }
  bool borrow(PyObject* value, Tensor& x) const { return fastblackout::borrow(value, x); }

  // Logits in float32; births that are given go the long way.
  bool takes_logits(Dtype dtype) const { return dtype == Dtype::f32; }
  static constexpr bool takes_births = false;

  bool number(PyObject* value, int64_t samples, cpu::PerSample<double>& number) {
    constexpr double low = -std::numeric_limits<double>::infinity();
    return doubles(value, samples, false, rooms_.next(low), number) && first_wrong(number, number.distinct(samples), low) < 0;
  }

  bool number(PyObject* value, int64_t samples, float low, cpu::PerSample<float>& number) {
    return floats(value, samples, low, rooms_.next(low), number);
  }

  bool pair(double p, double q, int64_t samples, cpu::Prob& prob) {
    prob.p = rooms_.next(p).keep(1, [p](int64_t) { return p; });
    prob.q = rooms_.next(q).keep(1, [q](int64_t) { return q; });
    return cpu::good_pair(prob, samples);
  }

  bool pair(PyObject* p, PyObject* q, int64_t samples, cpu::Prob& prob) {
    return doubles(p, samples, true, rooms_.next(0.0), prob.p) && doubles(q, samples, true, rooms_.next(0.0), prob.q) &&
           cpu::good_pair(prob, samples);
  }

  template <class Op>
  static void launch(const char*, void (*kernel)(const Op&), const Op& op) {
    run_without_gil([&] { kernel(op); });
  }

  // A key whose values the host knows; one in a tensor goes the long way.
  bool takes_known_key() const { return true; }
  bool key_tensor(PyObject*, SampleKey&) const { return false; }
  // The kernel draws the seed, after its checks.
  bool give_seed(PyObject* generator, cpu::Common& op) {
    seed_.lend(torch.fresh_seed, generator, op);
    return true;
  }

 private:
  const cpu::Isa chosen_;
  PythonSeed seed_;
  Rooms rooms_;
};

}  // namespace
}  // namespace fastblackout
