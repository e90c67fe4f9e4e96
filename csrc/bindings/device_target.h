// What the short way into the CUDA kernels (quick_device.cpp) reads of tensors in a device's memory. Nothing there is looked at: the
// kernels tell of wrong values by the flag. What Python's numbers say is checked here, and goes to the kernel among its parameters.
// DeviceTarget says so to the reader (tensor_reader.h).
#pragma once

#include <cmath>

#include "bindings/borrow.h"
#include "bindings/device.h"
#include "fastblackout/probability.h"

namespace fastblackout {
namespace {

class DeviceTarget {
 public:
  using Backend = cuda::Backend;

  // op: its name. host_too: whether host memory serves as a device's, as for the SIMT shim.
  DeviceTarget(PyObject* op, bool host_too) : name_(op), host_too_(host_too) {}

  bool settle(PyObject* backend, cuda::Common&) {
    backend_ = backend;
    return torch.table != nullptr && torch.table->current_stream != nullptr && undisturbed();
  }

  // Whether the call is for these kernels. Torch tells the stream that it works on, and the package the flag of the op.
  bool begin(PyObject* tensor, cuda::Common& op) {
    if (torch.table->current_stream(device_type_, device_id_, &stream_) != 0) {
      PyErr_Clear();
      return false;
    }
    const Owned elements(PyLong_FromLongLong(op.samples * op.elements));
    PyObject* const arguments[] = {name_, backend_, elements.get(), tensor};
    const Owned address(elements ? PyObject_Vectorcall(torch.device_flag, arguments, 4, nullptr) : nullptr);
    if (!address) PyErr_Clear();  // the long way words it
    if (!address || address.get() == Py_None) return false;
    op.flag = static_cast<int*>(PyLong_AsVoidPtr(address.get()));
    return true;
  }

  // All tensors of a call lie where the first one does.
  bool borrow(PyObject* value, Tensor& x) {
    if (!borrow_any(value, x)) return false;
    if (device_type_ == kNowhere) {
      device_type_ = x.device_type;
      device_id_ = x.device_id;
      return x.device_type == kCuda || (host_too_ && x.device_type == kCpu);
    }
    return x.device_type == device_type_ && x.device_id == device_id_;
  }

  bool takes_logits(Dtype dtype) const { return dtype >= Dtype::f32; }
  static constexpr bool takes_births = true;

  bool number(PyObject* value, int64_t samples, cuda::PerSample<double>& number) {
    if (!PyFloat_CheckExact(value)) return row(value, samples, number);
    number.value = PyFloat_AS_DOUBLE(value);
    return std::isfinite(number.value);
  }

  bool number(PyObject* value, int64_t samples, float low, cuda::PerSample<float>& number) {
    if (!PyFloat_CheckExact(value)) return row(value, samples, number);
    number.value = static_cast<float>(PyFloat_AS_DOUBLE(value));
    return std::isfinite(number.value) && number.value >= low;
  }

  bool pair(double p, double q, int64_t, cuda::Pair& prob) const {
    prob.p.value = p;
    prob.q.value = q;
    return good_pair(p, q);
  }

  bool pair(PyObject* p, PyObject* q, int64_t samples, cuda::Pair& prob) {
    if (PyFloat_CheckExact(p) && PyFloat_CheckExact(q)) return pair(PyFloat_AS_DOUBLE(p), PyFloat_AS_DOUBLE(q), samples, prob);
    return row(p, samples, prob.p) && row(q, samples, prob.q);
  }

  // A key that the host knows. A CUDA graph would draw by it at every replay, which the long way refuses.
  bool takes_known_key() const { return !cuda::is_capturing(stream_); }

  bool key_tensor(PyObject* value, cuda::Key& key) {
    Tensor x;
    return borrow(value, x) && is_row<int64_t>(x, 3) && x.strides[0] == 1 && fill(x, key);
  }

  // No value on the device is looked at, so that nothing more can be wrong.
  bool give_seed(PyObject* generator, cuda::Common& op) const {
    const Owned seed(PyObject_CallOneArg(torch.fresh_seed, generator));
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

  template <class T>
  bool row(PyObject* value, int64_t samples, cuda::PerSample<T>& number) {
    Tensor x;
    return borrow(value, x) && is_row<T>(x, samples) && fill(x, number);
  }
};

}  // namespace
}  // namespace fastblackout
