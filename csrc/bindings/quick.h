// The short way into the CPU kernels and the CUDA ones; quick.cpp and quick_device.cpp say what it is.
#pragma once

#include <Python.h>

#include "cpu/support/isa.h"

namespace fastblackout {

// Adds the functions of quick.cpp to a module; -1 with a Python error. isa: the one to use where none is asked for.
int add_quick(PyObject* module, cpu::Isa isa);

// Adds the functions of quick_device.cpp. host_too: whether host memory serves as a device's.
int add_quick(PyObject* module, bool host_too);

}  // namespace fastblackout
