// What the short way into the CUDA kernels (quick_device.cpp) reads of tensors in a device's memory. Nothing there is looked at: the
// kernels tell of wrong values by the flag. What Python's numbers say is checked here, and goes to the kernel among its parameters.
// DeviceTarget says so to the reader (call_reader.h).
#pragma once

#include <cmath>
#include <limits>

#include "bindings/borrow.h"
#include "bindings/device.h"
#include "fastblackout/probability.h"

namespace fastblackout {
namespace {

class DeviceTarget {
 public:
  using Backend = cuda::Backend;
  static constexpr bool kKeepsSlopes = false;

  // op: its name. host_too: whether host memory serves as a device's, as for the SIMT shim.
  DeviceTarget(PyObject* op, bool host_too) : name_(op), host_too_(host_too) {}

  bool settle(PyObject* backend, cuda::Common&) {
    backend_ = backend;
    return known.table != nullptr && known.table->current_stream != nullptr && undisturbed();
  }

  // Whether the call is for these kernels. Torch tells the stream that it works on, and the package the flag of the op.
  bool begin(PyObject* tensor, cuda::Common& op) {
    if (known.table->current_stream(device_type_, device_id_, &stream_) != 0) {
      PyErr_Clear();
      return false;
    }
    const Owned elements(PyLong_FromLongLong(op.samples * op.elements));
    PyObject* const arguments[] = {name_, backend_, elements.get(), tensor};
    const Owned address(elements ? PyObject_Vectorcall(known.device_flag, arguments, 4, nullptr) : nullptr);
    if (!address) PyErr_Clear();  // the long way words it
    if (!address || address.get() == Py_None) return false;
    op.flag = static_cast<int*>(PyLong_AsVoidPtr(address.get()));
    return true;
  }

  // All tensors of a call lie where the first one does.
  bool borrow(PyObject* value, Borrowed& x) {
    if (!borrow_tensor(value, x)) return false;
    if (device_type_ == kNowhere) {
      device_type_ = x.device_type;
      device_id_ = x.device_id;
      return x.device_type == kCuda || (host_too_ && x.device_type == kCpu);
    }
    return x.device_type == device_type_ && x.device_id == device_id_;
  }

  template <class T>
  bool number(PyObject* value, int64_t samples, int dims, T low, cuda::PerSample<T>& number) {
    if (!is_number(value)) return row(value, samples, dims, number);
    const double exact = as_double(value);
    number.value = static_cast<T>(exact);
    return std::isfinite(number.value) && exact >= low;
  }

  // A tensor of probabilities p has q = 1 - p, which torch computes.
  bool pair(PyObject* p, int64_t samples, int dims, cuda::Pair& prob) {
    if (is_number(p)) {
      prob.p.value = as_double(p);
      prob.q.value = 1.0 - prob.p.value;
      return good_pair(prob.p.value, prob.q.value);
    }
    static PyObject* const one = PyFloat_FromDouble(1.0);
    static PyObject* const wide = PyUnicode_InternFromString("double");
    Borrowed x;
    if (kept_[0] || !borrow(p, x) || x.dtype == Dtype::other || !is_row(x, samples, dims)) return false;  // kept_: of an earlier pair
    kept_[0] = Owned(PyObject_CallMethodNoArgs(p, wide));
    kept_[1] = Owned(kept_[0] ? PyNumber_Subtract(one, kept_[0].get()) : nullptr);
    if (!kept_[1]) PyErr_Clear();
    return kept_[1] && row(kept_[0].get(), samples, dims, prob.p) && row(kept_[1].get(), samples, dims, prob.q);
  }

  bool pair(PyObject* p, PyObject* q, int64_t samples, int dims, cuda::Pair& prob) {
    if (!is_number(p) || !is_number(q)) return row(p, samples, dims, prob.p) && row(q, samples, dims, prob.q);
    prob.p.value = as_double(p);
    prob.q.value = as_double(q);
    return good_pair(prob.p.value, prob.q.value);
  }

  // Among tensors that broadcast, numbers of the host go the long way.
  bool scalar(PyObject*, bool, Borrowed&) const { return false; }

  // A key that the host knows. A CUDA graph would draw by it at every replay, which the long way refuses.
  bool takes_known_key() const { return !cuda::is_capturing(stream_); }

  bool key_tensor(PyObject* value, int64_t, cuda::Key& key) {
    Borrowed x;
    return borrow(value, x) && x.dtype == Dtype::i64 && x.dims == 1 && x.sizes[0] == 3 && x.strides[0] == 1 && fill(x, key);
  }

  // No value on the device is looked at, so that nothing more can be wrong.
  bool give_seed(PyObject* generator, cuda::Common& op) const {
    const Owned seed(PyObject_CallOneArg(known.fresh_seed, generator));
    if (seed) bindings::set_key(op.key, PyLong_AsUnsignedLongLong(seed.get()), 0, 0);
    return static_cast<bool>(seed);
  }

  template <class Op>
  void launch(const char* name, int (*kernel)(const Op&, void*), const Op& op) const {
    bindings::launch_on(name, device_type_ == kCpu ? kNowhere : device_id_, stream_, kernel, op);
  }

 private:
  static constexpr int32_t kNowhere = -1;

  PyObject *const name_, *backend_ = nullptr;
  const bool host_too_;
  int32_t device_type_ = kNowhere, device_id_ = 0;
  void* stream_ = nullptr;
  Owned kept_[2];

  template <class T>
  bool row(PyObject* value, int64_t samples, int dims, cuda::PerSample<T>& number) {
    Borrowed x;
    if (!borrow(value, x) || x.dtype != bindings::dtype_of<T> || !is_row(x, samples, dims)) return false;
    fill_row<T>(x, number);
    return true;
  }

  static bool is_number(PyObject* value) { return PyFloat_Check(value) || PyLong_CheckExact(value); }
  static double as_double(PyObject* value) {
    const double number = PyFloat_AsDouble(value);
    if (PyErr_Occurred()) {  // an integer that no float64 holds
      PyErr_Clear();
      return std::numeric_limits<double>::infinity();
    }
    return number;
  }
};

}  // namespace
}  // namespace fastblackout
