// What other files add to the modules: the short way (quick.cpp, quick_device.cpp), and the kernels as handlers of XLA's foreign function
// interface (xla.cpp, xla_device.cpp). Each function returns -1 with a Python error.
#pragma once

#include <Python.h>

#include "cpu/support/isa.h"

namespace fastblackout {

// For the CPU's kernels. isa: the instruction set to use where none is asked for.
int add_quick(PyObject* module, cpu::Isa isa);
int add_xla(PyObject* module, cpu::Isa isa);

// For the CUDA kernels. host_too: whether host memory serves as a device's, and XLA has no stream; for the SIMT shim.
int add_quick(PyObject* module, bool host_too);
int add_xla_device(PyObject* module, bool host_too);
// Whether handlers ask XLA for the stream from now on.
void ask_for_stream(bool asks);

}  // namespace fastblackout
