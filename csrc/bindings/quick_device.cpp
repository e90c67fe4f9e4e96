// The short way into the CUDA kernels, for plain tensors on a device, as quick.cpp is that into the CPU's: numbers that are the same
// for all samples go to a kernel as its parameters, so that a call makes no tensor but its outputs and copies nothing to the device.
#include "bindings/quick.h"

#include "bindings/device_target.h"
#include "bindings/short_function.h"

namespace fastblackout {
namespace {

bool host_is_device = false;  // for the SIMT shim

template <class Op, int (*kernel)(const Op&, void*)>
PyObject* draw(const char* name, PyObject* const* a, Py_ssize_t count) {
  static PyObject* const text = PyUnicode_InternFromString(name);
  return draw_by<Op>(DeviceTarget(text, host_is_device), a, count, [name](const DeviceTarget& target, const Op& op, PyObject* made) {
    return run_for(made, [&] { target.launch(name, kernel, op); });
  });
}

PyObject* thin(PyObject*, PyObject* const* a, Py_ssize_t count) { return draw<cuda::Thin, cuda::thin>("thin", a, count); }
PyObject* bridge(PyObject*, PyObject* const* a, Py_ssize_t count) { return draw<cuda::Bridge, cuda::bridge>("bridge_step", a, count); }

PyMethodDef methods[] = {method<learn_torch>("learn_torch"), method<thin>("quick_thin"), method<bridge>("quick_bridge"),
                         {nullptr, nullptr, 0, nullptr}};

}  // namespace

int add_quick(PyObject* module, bool host_too) {
  host_is_device = host_too;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
