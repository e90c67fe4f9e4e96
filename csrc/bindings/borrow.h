// What quick.cpp borrows from torch's tensors: where their numbers lie, as views, and numbers a sample.
#pragma once

#include "bindings/quick.h"

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

struct Torch {
  PyObject *type, *empty_like, *empty, *float32;  // float32: a dtype
  const ExchangeTable* table;
};
Torch torch = {};

// learn_torch(torch.Tensor, its exchange capsule, torch.empty_like, torch.empty, torch.float32) -> whether the other functions
// can be used
PyObject* learn_torch(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 5) return PyErr_Format(PyExc_TypeError, "learn_torch takes 5 arguments, got %zd", count);
  const auto* table = static_cast<const ExchangeTable*>(PyCapsule_GetPointer(a[1], "dlpack_exchange_api"));
  if (table == nullptr) return nullptr;
  if (table->major != 1 || table->export_borrowed == nullptr) Py_RETURN_FALSE;
  for (Py_ssize_t i = 0; i < count; ++i) Py_INCREF(a[i]);  // for as long as the process lives
  torch = Torch{a[0], a[2], a[3], a[4], table};
  Py_RETURN_TRUE;
}

bool borrow(PyObject* object, Tensor& out) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != torch.type) return false;
  if (torch.table->export_borrowed(object, &out) != 0) {
    PyErr_Clear();
    return false;
  }
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

// `samples` values: a float64 tensor's own, or in `room` a float's or, unless they are probabilities, a float32 tensor's; or null.
const double* doubles(PyObject* value, int64_t samples, std::vector<double>& room, bool probabilities) {
  if (PyFloat_CheckExact(value)) {
    room.assign(static_cast<size_t>(samples), PyFloat_AS_DOUBLE(value));
    return room.data();
  }
  Tensor t;
  if (!borrow(value, t) || t.code != kFloat || t.ndim != 1 || t.shape[0] != samples) return nullptr;
  if (t.bits == 64) return samples == 1 || t.strides[0] == 1 ? reinterpret_cast<const double*>(t.data) : nullptr;
  if (t.bits != 32 || probabilities) return nullptr;
  const float* from = reinterpret_cast<const float*>(t.data);
  room.resize(static_cast<size_t>(samples));
  for (int64_t b = 0; b < samples; ++b) room[static_cast<size_t>(b)] = static_cast<double>(from[b * t.strides[0]]);
  return room.data();
}

// The same rounded to float32, `out`, kept in `room`; false where one is not finite or below `low`.
bool floats(PyObject* value, int64_t samples, float low, std::vector<float>& room, const float*& out) {
  std::vector<double> wide;
  const double* from = doubles(value, samples, wide, false);
  if (from == nullptr) return false;
  bool good = true;
  room.assign(from, from + samples);
  for (float x : room) good = good && std::isfinite(x) && x >= low;
  out = room.data();
  return good;
}

}  // namespace
}  // namespace fastblackout
