// What the short way (quick.cpp) borrows from torch: where the numbers of tensors lie, as views or as numbers for each sample,
// and whether it may run at all, and with which threads and instruction set.
#pragma once

#include <Python.h>

#include <cmath>
#include <vector>

#include "cpu/ops.h"

namespace fastblackout {
namespace {

// The part of DLPack's ABI that is read here: https://dmlc.github.io/dlpack/latest/c_api.html
struct Tensor {
  char* data;
  int32_t device_type, device_id, ndim;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};

struct ExchangeTable {
  uint32_t major, minor;
  void *older, *allocate, *export_owned, *import_owned;
  int (*export_borrowed)(void* object, Tensor* out);
};

constexpr int32_t kCpu = 1;
constexpr uint8_t kInt = 0, kUnsigned = 1, kFloat = 2, kBfloat = 4;

// Python objects that fastblackout/call/short.py hands over.
struct Torch {
  PyObject *type, *empty_like, *empty, *float32, *float64;  // torch.Tensor, two functions of torch, dtypes
  PyObject *grad_enabled, *modes, *interpreter;   // functions without arguments
  PyObject *threads, *setting;                     // another such function, and the context variable of backends/select.py
  PyObject* fresh_seed;                           // a function: a generator, or None for torch's own -> a seed
  PyObject *generator, *philox, *prob;            // types: torch.Generator, fb.Philox, fb.Prob
  const ExchangeTable* table;
};
Torch torch = {};

// learn_torch(exchange capsule of torch.Tensor, then Torch's objects in its order) -> whether the other functions can be used
PyObject* learn_torch(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 15) return PyErr_Format(PyExc_TypeError, "learn_torch takes 15 arguments, got %zd", count);
  const auto* table = static_cast<const ExchangeTable*>(PyCapsule_GetPointer(a[0], "dlpack_exchange_api"));
  if (table == nullptr) return nullptr;
  if (table->major != 1 || table->export_borrowed == nullptr) Py_RETURN_FALSE;
  for (Py_ssize_t i = 0; i < count; ++i) Py_INCREF(a[i]);  // for as long as the process lives
  torch = Torch{a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], table};
  Py_RETURN_TRUE;
}

// A new reference to what a function without arguments returns; null, and no error set, where it raises.
PyObject* call(PyObject* function) {
  PyObject* const made = PyObject_CallNoArgs(function);
  if (made == nullptr) PyErr_Clear();
  return made;
}

bool gives(PyObject* function, PyObject* what) {
  PyObject* const made = call(function);
  Py_XDECREF(made);
  return made == what;
}

int number_from(PyObject* function) {
  PyObject* const made = call(function);
  const int number = made == nullptr ? -1 : static_cast<int>(PyLong_AsLong(made));
  Py_XDECREF(made);
  return number;
}

bool is_text(PyObject* object, const char* text) {
  return PyUnicode_Check(object) && PyUnicode_CompareWithASCIIString(object, text) == 0;
}

// Whether a call with this backend is for the CPU's kernels and its tensors are what they seem, that is, no mode of torch looks
// at calls and no transform of torch.func is under way. Sets the op's threads, and its instruction set: `chosen` if none is
// asked for.
bool settle(PyObject* backend, cpu::Isa chosen, cpu::Common& op) {
  PyObject* setting = nullptr;  // (backend, isa, threads) of use_backend
  if (torch.setting == nullptr || PyContextVar_Get(torch.setting, nullptr, &setting) != 0 || setting == nullptr) return false;
  PyObject* const asked = is_text(backend, "auto") ? PyTuple_GET_ITEM(setting, 0) : backend;
  const bool ours = is_text(asked, "auto") || is_text(asked, "cpu");
  const long isa = PyLong_AsLong(PyTuple_GET_ITEM(setting, 1));
  op.isa = isa < 0 ? chosen : static_cast<cpu::Isa>(isa);
  op.threads = static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(setting, 2)));
  Py_DECREF(setting);
  if (!ours || number_from(torch.modes) != 0 || !gives(torch.interpreter, Py_None)) return false;
  if (op.threads == 0) op.threads = number_from(torch.threads);
  return true;
}

// Whether torch has put off the negation of a tensor's numbers, so that those in memory have the other sign. To ask torch takes a
// twentieth of a small call. But only the imaginary part of a conjugate is such a tensor, which is every second number of complex
// memory: where one stride is odd, torch need not be asked.
bool is_negated(PyObject* object, const Tensor& tensor) {
  if (tensor.code != kFloat) return false;
  for (int d = 0; d < tensor.ndim; ++d)
    if (tensor.shape[d] > 1 && tensor.strides[d] % 2 != 0) return false;
  static PyObject* const name = PyUnicode_InternFromString("is_neg");
  PyObject* const made = PyObject_CallMethodNoArgs(object, name);
  if (made == nullptr) PyErr_Clear();
  Py_XDECREF(made);
  return made != Py_False;
}

// Describes a plain CPU tensor without a copy; false for any other object.
bool borrow(PyObject* object, Tensor& out) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != torch.type) return false;
  if (torch.table->export_borrowed(object, &out) != 0) {
    PyErr_Clear();
    return false;
  }
  if (out.data == nullptr || is_negated(object, out)) return false;  // null: no elements, or zeros that torch has put off
  out.data += out.byte_offset;
  return out.device_type == kCpu && out.lanes == 1 && out.ndim >= 1 && out.ndim <= cpu::kMaxDims;
}

cpu::View view_of(const Tensor& tensor, cpu::Dtype dtype) {
  cpu::View view;
  view.data = tensor.data;
  view.dtype = dtype;
  view.sample_stride = tensor.strides[0];
  cpu::Merge merge(view);
  for (int d = 1; d < tensor.ndim; ++d) merge.append(tensor.shape[d], tensor.strides[d]);
  return view;
}

// Draws of a network, one after another along the first dimension.
cpu::Draws draws_of(Tensor tensor, cpu::Dtype dtype) {
  cpu::Draws draws;
  draws.draws = *tensor.shape++;
  draws.draw_stride = *tensor.strides++;
  --tensor.ndim;
  static_cast<cpu::View&>(draws) = view_of(tensor, dtype);
  return draws;
}

// Memory for the numbers of samples, where they had to be converted.
template <class T>
class Room {
 public:
  // Keeps number(i) for i < count, as T; a single number is for all samples.
  template <class Number>
  cpu::PerSample<T> keep(int64_t count, const Number& number) {
    T* to = &one_;
    if (count > 1) {
      more_.resize(static_cast<size_t>(count));
      to = more_.data();
    }
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(number(i));
    return cpu::PerSample<T>{to, count > 1 ? 1 : 0};
  }

 private:
  T one_;
  std::vector<T> more_;
};

// The numbers of a tensor of T with the shape (samples,); false for anything else.
template <class T>
bool numbers_of(PyObject* value, int64_t samples, cpu::PerSample<T>& out) {
  Tensor t;
  if (!borrow(value, t) || t.code != kFloat || t.bits != 8 * sizeof(T) || t.ndim != 1 || t.shape[0] != samples) return false;
  out = cpu::PerSample<T>{reinterpret_cast<const T*>(t.data), t.strides[0]};
  return true;
}

// Sets `out` to the numbers of the samples: a float64 tensor's own, or kept in `room` those of a float or, unless they are
// probabilities, of a float32 tensor. False where `value` is something else.
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
  bool good = true;
  for (int64_t i = 0; i < out.distinct(samples); ++i) good = good && std::isfinite(out[i]) && out[i] >= low;
  return good;
}

}  // namespace
}  // namespace fastblackout
