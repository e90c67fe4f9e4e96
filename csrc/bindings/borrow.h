// What the short way (quick.cpp, quick_device.cpp) borrows from NumPy and torch: where the numbers of arrays lie, and whether it may
// run at all.
#pragma once

#include <pybind11/numpy.h>

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
  Owned(Owned&& other) noexcept : object_(other.release()) {}
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

constexpr int kMostDims = 64;  // NumPy has no arrays of more

// An array of NumPy, on the host, or a tensor of torch.
struct Borrowed : bindings::Array {
  int32_t device_type = kCpu, device_id = 0;
  bool is_tensor = false;
  int64_t own_strides[kMostDims];  // of NumPy's, in elements

  Borrowed() = default;
  Borrowed(const Borrowed&) = delete;
};

// Objects that fastblackout/call/short.py hands over by name, and says what they are. Those of torch are None until it is loaded.
#define FB_TAUGHT(OBJECT)                                                               \
  OBJECT(tensor) OBJECT(ndarray) OBJECT(generator) OBJECT(philox) OBJECT(prob)          \
  OBJECT(empty_like) OBJECT(torch_dtypes)                                               \
  OBJECT(numpy_empty) OBJECT(numpy_empty_like) OBJECT(numpy_dtypes)                     \
  OBJECT(grad_enabled) OBJECT(modes) OBJECT(interpreter) OBJECT(is_neg)                 \
  OBJECT(threads) OBJECT(setting) OBJECT(fresh_seed) OBJECT(device_flag)

struct Known {
#define FB_OBJECT(name) PyObject* name;
  FB_TAUGHT(FB_OBJECT)
#undef FB_OBJECT
  const ExchangeTable* table;  // null: no tensor is borrowed
};
Known known = {};

// learn(exchange capsule of torch.Tensor or None, an object with attributes for Known) -> whether tensors can be borrowed, too
PyObject* learn(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) return PyErr_Format(PyExc_TypeError, "learn takes 2 arguments, got %zd", count);
  Known learnt = {};
  if (a[0] != Py_None) {
    learnt.table = static_cast<const ExchangeTable*>(PyCapsule_GetPointer(a[0], "dlpack_exchange_api"));
    if (learnt.table == nullptr) return nullptr;
    if (learnt.table->major != 1 || learnt.table->export_borrowed == nullptr) learnt.table = nullptr;
  }
  // The references stay for as long as the process lives.
#define FB_LEARN(name) \
  if ((learnt.name = PyObject_GetAttrString(a[1], #name)) == nullptr) return nullptr;
  FB_TAUGHT(FB_LEARN)
#undef FB_LEARN
  Py_INCREF(a[0]);
  known = learnt;
  return PyBool_FromLong(known.table != nullptr);
}

// What a function without arguments returns; null, and no error set, where it raises.
Owned call(PyObject* function) {
  PyObject* const result = PyObject_CallNoArgs(function);
  if (result == nullptr) PyErr_Clear();
  return Owned(result);
}

bool gives(PyObject* function, PyObject* what) { return call(function).get() == what; }

// Whether a gradient by this tensor may be asked for.
bool differentiable(PyObject* tensor) {
  static PyObject* const name = PyUnicode_InternFromString("requires_grad");
  const Owned asked(PyObject_GetAttr(tensor, name));
  if (!asked) PyErr_Clear();
  return asked.get() == Py_True && gives(known.grad_enabled, Py_True);
}

int number_from(PyObject* function) {
  const Owned result = call(function);
  return result ? static_cast<int>(PyLong_AsLong(result.get())) : -1;
}

bool is_text(PyObject* object, const char* text) {
  return PyUnicode_Check(object) && PyUnicode_CompareWithASCIIString(object, text) == 0;
}

// Whether tensors are what they seem: no mode of torch looks at calls, and no transform of torch.func is under way.
bool undisturbed() { return number_from(known.modes) == 0 && gives(known.interpreter, Py_None); }

// Whether torch has put off the negation of a tensor's numbers, so that those in memory have the other sign. DLPack does not tell.
bool is_negated(PyObject* tensor) {
  const Owned result(PyObject_CallOneArg(known.is_neg, tensor));
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
bool borrow_tensor(PyObject* object, Borrowed& out) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != known.tensor || known.table == nullptr) return false;
  DlTensor tensor;
  if (known.table->export_borrowed(object, &tensor) != 0) {
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
  out.is_tensor = true;
  return tensor.lanes == 1 && tensor.ndim <= kMostDims;
}

Dtype dtype_of_numpy(const pybind11::dtype& dtype) {
  const char order = dtype.byteorder(), kind = dtype.kind();
  if (order != '=' && order != '|') return Dtype::other;
  switch (dtype.itemsize()) {
    case 1: return kind == 'u' ? Dtype::u8 : Dtype::other;
    case 2: return kind == 'i' ? Dtype::i16 : kind == 'f' ? Dtype::f16 : Dtype::other;
    case 4: return kind == 'i' ? Dtype::i32 : kind == 'f' ? Dtype::f32 : Dtype::other;
    case 8: return kind == 'i' ? Dtype::i64 : kind == 'f' ? Dtype::f64 : Dtype::other;
    default: return Dtype::other;
  }
}

// Describes an array of NumPy's own class without a copy; false for any other object, and for steps that are no whole elements.
bool borrow_numpy(PyObject* object, Borrowed& out) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != known.ndarray) return false;
  const auto* const array = pybind11::detail::array_proxy(object);
  const auto dtype = pybind11::reinterpret_borrow<pybind11::dtype>(array->descr);
  if ((array->flags & pybind11::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0) return false;
  const int64_t bytes = dtype.itemsize();
  out.data = array->data;
  out.dtype = dtype_of_numpy(dtype);
  if (out.dtype == Dtype::other) return false;  // whose elements may have no bytes
  out.dims = array->nd;
  out.sizes = array->dimensions;
  out.strides = out.own_strides;
  for (int d = 0; d < out.dims; ++d) {
    if (array->strides[d] % bytes != 0) return false;
    out.own_strides[d] = array->strides[d] / bytes;
  }
  return true;
}

// Whether an array has a number for each of so many samples, or one for all, beside arrays of so many dimensions: (), (samples,),
// (samples, 1, ..., 1) or (1, ..., 1).
bool is_row(const bindings::Array& x, int64_t samples, int dims) {
  if (x.dims > 1 && x.dims != dims) return false;
  for (int d = 1; d < x.dims; ++d)
    if (x.sizes[d] != 1) return false;
  return x.dims == 0 || x.sizes[0] == samples || (x.dims > 1 && x.sizes[0] == 1);
}

// The numbers of such an array of T.
template <class T, class Number>
void fill_row(const bindings::Array& x, Number& number) {
  number.data = bindings::memory_of<const T>(x);
  number.stride = x.dims > 0 && x.sizes[0] > 1 ? x.strides[0] : 0;
}

}  // namespace
}  // namespace fastblackout
