// The seed of a call that came without a key, from a function of Python, which a kernel asks for after its checks.
#pragma once

#include "bindings/gil.h"
#include "cpu/ops.h"

namespace fastblackout {

class PythonSeed : public cpu::SeedSource {
 public:
  // The op gets its seed of function(argument), or of function() without one. Both live as long as the call.
  void lend(PyObject* function, PyObject* argument, const cpu::Common& op) {
    function_ = function;
    argument_ = argument;
    op.unseeded = this;
  }

  uint64_t draw() const override {
    uint64_t seed = 0;
    bool drawn = false;
    with_gil([&] {
      PyObject* const result = argument_ == nullptr ? PyObject_CallNoArgs(function_) : PyObject_CallOneArg(function_, argument_);
      if (result != nullptr) seed = PyLong_AsUnsignedLongLong(result);
      Py_XDECREF(result);
      drawn = PyErr_Occurred() == nullptr;
    });
    if (!drawn) throw PythonError();
    return seed;
  }

 private:
  PyObject *function_ = nullptr, *argument_ = nullptr;
};

}  // namespace fastblackout
