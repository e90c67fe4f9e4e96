// The kernels as handlers of XLA's foreign function interface; xla.cpp says what they are, xla_device.cpp those of a GPU.
#pragma once

#include <Python.h>

#include "cpu/support/isa.h"

namespace fastblackout {

// Adds the function of xla.cpp to a module; -1 with a Python error. isa: the one to use where none is asked for.
int add_xla(PyObject* module, cpu::Isa isa);

// Adds that of xla_device.cpp. host_too: whether XLA runs the handlers on the CPU, where it has no stream; to the SIMT shim.
int add_xla_device(PyObject* module, bool host_too);
// Whether handlers ask XLA for the stream from now on.
void ask_for_stream(bool asks);

}  // namespace fastblackout
