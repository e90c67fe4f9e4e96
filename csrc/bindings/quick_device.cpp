// The short way into the CUDA kernels, for plain tensors on a device, as quick.cpp is that into the CPU's: numbers that are the same
// for all samples go to a kernel as its parameters, so that a call makes no tensor but its outputs and copies nothing to the device.
#include "bindings/functions.h"

#include "bindings/device_target.h"
#include "bindings/short_function.h"

namespace fastblackout {
namespace {

bool host_is_device = false;  // for the SIMT shim

// The functions of the ops have the names of these texts, by which errors and the flags of the ops call them.
#define FB_NAME(name, Op, fields, kernel) constexpr char name_of_##name[] = #name;
FB_PLAIN_OPS(FB_NAME)
FB_LOSSES(FB_NAME)
#undef FB_NAME

template <const char* name>
DeviceTarget target() {
  static PyObject* const text = PyUnicode_InternFromString(name);
  return DeviceTarget(text, host_is_device);
}

template <class Op, auto fields, const char* name, int (*kernel)(const Op&, void*)>
PyObject* call_op(PyObject*, PyObject* const* a, Py_ssize_t count) {
  return call_by<Op, fields>(target<name>(), a, count, name, kernel);
}

template <class Op, const char* name, int (*kernel)(const Op&, void*)>
PyObject* call_loss(PyObject*, PyObject* const* a, Py_ssize_t count) {
  return call_loss_by<Op>(target<name>(), a, count, name, kernel);
}

#define FB_METHOD(name, Op, fields, kernel) \
  method<call_op<cuda::Op, &cuda::Op::fields<CallReader<DeviceTarget>>, name_of_##name, cuda::kernel>>("call_" #name),
#define FB_LOSS(name, Op, fields, kernel) method<call_loss<cuda::Op, name_of_##name, cuda::kernel>>("loss_" #name),
PyMethodDef methods[] = {FB_PLAIN_OPS(FB_METHOD) FB_LOSSES(FB_LOSS) method<learn>("learn"), {nullptr, nullptr, 0, nullptr}};
#undef FB_LOSS
#undef FB_METHOD

}  // namespace

int add_quick(PyObject* module, bool host_too) {
  host_is_device = host_too;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
