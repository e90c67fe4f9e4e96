// What the short way (quick.cpp, quick_device.cpp) borrows from torch: where the numbers of tensors lie, and whether it may run at
// all.
#pragma once

#include <Python.h>

#include <utility>

#include "bindings/array.h"

namespace fastblackout {
namespace {

using bindings::Dtype;

// A reference to an object of Python, or null.
class Owned {
 public:
  explicit Owned(PyObject* object = nullptr) : object_(object) {}
  Owned(const Owned&) = delete;
  Owned& operator=(Owned&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Owned() { Py_XDECREF(object_); }

  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  PyObject* object_;
};

// The part of DLPack's ABI that is read here: https://dmlc.github.io/dlpack/latest/c_api.html
struct DlTensor {
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
  int (*export_borrowed)(void* object, DlTensor* out);
  int (*current_stream)(int32_t device_type, int32_t device_id, void** out);
};

constexpr int32_t kCpu = 1, kCuda = 2;
constexpr uint8_t kInt = 0, kUnsigned = 1, kFloat = 2, kBfloat = 4;

struct Tensor : bindings::Array {
  int32_t device_type = 0, device_id = 0;
};

// Objects that fastblackout/call/short.py hands over by name, and says what they are.
#define FB_TAUGHT(OBJECT)                                                               \
  OBJECT(tensor) OBJECT(generator) OBJECT(philox) OBJECT(prob)                          \
  OBJECT(empty_like) OBJECT(empty) OBJECT(float32) OBJECT(float64) OBJECT(int32)        \
  OBJECT(grad_enabled) OBJECT(modes) OBJECT(interpreter) OBJECT(threads)                \
  OBJECT(setting) OBJECT(fresh_seed) OBJECT(device_flag) OBJECT(is_neg)

struct Torch {
#define FB_OBJECT(name) PyObject* name;
  FB_TAUGHT(FB_OBJECT)
#undef FB_OBJECT
  const ExchangeTable* table;
};
Torch torch = {};

// learn_torch(exchange capsule of torch.Tensor, an object with Torch's as attributes) -> whether the other functions can be used
PyObject* learn_torch(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) return PyErr_Format(PyExc_TypeError, "learn_torch takes 2 arguments, got %zd", count);
  Torch learnt = {};
  learnt.table = static_cast<const ExchangeTable*>(PyCapsule_GetPointer(a[0], "dlpack_exchange_api"));
  if (learnt.table == nullptr) return nullptr;
  if (learnt.table->major != 1 || learnt.table->export_borrowed == nullptr) Py_RETURN_FALSE;
  // The references stay for as long as the process lives.
#define FB_LEARN(name) \
  if ((learnt.name = PyObject_GetAttrString(a[1], #name)) == nullptr) return nullptr;
  FB_TAUGHT(FB_LEARN)
#undef FB_LEARN
  Py_INCREF(a[0]);
  torch = learnt;
  Py_RETURN_TRUE;
}

// What a function without arguments returns; null, and no error set, where it raises.
Owned call(PyObject* function) {
  PyObject* const result = PyObject_CallNoArgs(function);
  if (result == nullptr) PyErr_Clear();
  return Owned(result);
}

bool gives(PyObject* function, PyObject* what) { return call(function).get() == what; }

int number_from(PyObject* function) {
  const Owned result = call(function);
  return result ? static_cast<int>(PyLong_AsLong(result.get())) : -1;
}

bool is_text(PyObject* object, const char* text) {
  return PyUnicode_Check(object) && PyUnicode_CompareWithASCIIString(object, text) == 0;
}

// Whether tensors are what they seem: no mode of torch looks at calls, and no transform of torch.func is under way.
bool undisturbed() { return number_from(torch.modes) == 0 && gives(torch.interpreter, Py_None); }

// Whether torch has put off the negation of a tensor's numbers, so that those in memory have the other sign. DLPack does not tell.
bool is_negated(PyObject* tensor) {
  const Owned result(PyObject_CallOneArg(torch.is_neg, tensor));
  if (!result) PyErr_Clear();
  return result.get() != Py_False;
}

Dtype dtype_of(const DlTensor& tensor) {
  switch (tensor.code << 8 | tensor.bits) {
    case kUnsigned << 8 | 8: return Dtype::u8;
    case kInt << 8 | 16: return Dtype::i16;
    case kInt << 8 | 32: return Dtype::i32;
    case kInt << 8 | 64: return Dtype::i64;
    case kFloat << 8 | 32: return Dtype::f32;
    case kFloat << 8 | 64: return Dtype::f64;
    case kFloat << 8 | 16: return Dtype::f16;
    case kBfloat << 8 | 16: return Dtype::bf16;
    default: return Dtype::other;
  }
}

// Describes a plain tensor of any device without a copy; false for any other object.
bool borrow_any(PyObject* object, Tensor& out) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != torch.tensor) return false;
  DlTensor tensor;
  if (torch.table->export_borrowed(object, &tensor) != 0) {
    PyErr_Clear();
    return false;
  }
  if (tensor.data == nullptr || is_negated(object)) return false;  // null: no elements, or zeros that torch has put off
  out.data = tensor.data + tensor.byte_offset;
  out.dtype = dtype_of(tensor);
  out.dims = tensor.ndim;
  out.sizes = tensor.shape;
  out.strides = tensor.strides;
  out.device_type = tensor.device_type;
  out.device_id = tensor.device_id;
  return tensor.lanes == 1 && tensor.ndim >= 1;
}

// Whether an array holds T and has the shape (size,).
template <class T>
bool is_row(const bindings::Array& x, int64_t size) {
  return x.dtype == bindings::dtype_of<T> && x.dims == 1 && x.sizes[0] == size;
}

}  // namespace
}  // namespace fastblackout
