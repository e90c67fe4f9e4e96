// What the short way (quick.cpp, quick_device.cpp) borrows from torch: where the numbers of tensors lie, and whether it may run at
// all.
#pragma once

#include <Python.h>

#include <stdint.h>

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
  int (*current_stream)(int32_t device_type, int32_t device_id, void** out);
};

constexpr int32_t kCpu = 1, kCuda = 2;
constexpr uint8_t kInt = 0, kUnsigned = 1, kFloat = 2, kBfloat = 4;

// Python objects that fastblackout/call/short.py hands over.
struct Torch {
  PyObject *type, *empty_like, *empty, *float32, *float64, *int32;  // torch.Tensor, two functions of torch, dtypes
  PyObject *grad_enabled, *modes, *interpreter;   // functions without arguments
  PyObject *threads, *setting;                     // another such function, and the context variable of backends/select.py
  PyObject* fresh_seed;                           // a function: a generator, or None for torch's own -> a seed
  PyObject *generator, *philox, *prob;            // types: torch.Generator, fb.Philox, fb.Prob
  PyObject* device_flag;                          // a function: (op, backend, elements, tensor) -> the address of a device's flag
  const ExchangeTable* table;
};
Torch torch = {};

// learn_torch(exchange capsule of torch.Tensor, then Torch's objects in its order) -> whether the other functions can be used
PyObject* learn_torch(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 17) return PyErr_Format(PyExc_TypeError, "learn_torch takes 17 arguments, got %zd", count);
  const auto* table = static_cast<const ExchangeTable*>(PyCapsule_GetPointer(a[0], "dlpack_exchange_api"));
  if (table == nullptr) return nullptr;
  if (table->major != 1 || table->export_borrowed == nullptr) Py_RETURN_FALSE;
  for (Py_ssize_t i = 0; i < count; ++i) Py_INCREF(a[i]);  // for as long as the process lives
  torch = Torch{a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15], a[16], table};
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

// Whether tensors are what they seem: no mode of torch looks at calls, and no transform of torch.func is under way.
bool undisturbed() { return number_from(torch.modes) == 0 && gives(torch.interpreter, Py_None); }

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

// Describes a plain tensor of any device without a copy; false for any other object.
bool borrow_any(PyObject* object, Tensor& out) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != torch.type) return false;
  if (torch.table->export_borrowed(object, &out) != 0) {
    PyErr_Clear();
    return false;
  }
  if (out.data == nullptr || is_negated(object, out)) return false;  // null: no elements, or zeros that torch has put off
  out.data += out.byte_offset;
  return out.lanes == 1 && out.ndim >= 1;
}

enum class Dtype : int { u8, i16, i32, i64, f32, f64, bf16, f16 };  // the order of fastblackout/arrays.py

bool dtype_of(const Tensor& x, Dtype& dtype) {
  struct Known {
    uint8_t code, bits;
    Dtype dtype;
  };
  static constexpr Known known[] = {{kUnsigned, 8, Dtype::u8}, {kInt, 16, Dtype::i16},   {kInt, 32, Dtype::i32},  {kInt, 64, Dtype::i64},
                                    {kFloat, 32, Dtype::f32},  {kFloat, 64, Dtype::f64}, {kFloat, 16, Dtype::f16}, {kBfloat, 16, Dtype::bf16}};
  for (const Known& entry : known) {
    if (entry.code != x.code || entry.bits != x.bits) continue;
    dtype = entry.dtype;
    return true;
  }
  return false;
}

// Whether a tensor holds T and has the shape (size,).
template <class T>
bool is_row(const Tensor& x, uint8_t code, int64_t size) {
  return x.code == code && x.bits == 8 * sizeof(T) && x.ndim == 1 && x.shape[0] == size;
}

}  // namespace
}  // namespace fastblackout
