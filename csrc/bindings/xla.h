// The CPU's kernels as handlers of XLA's foreign function interface; xla.cpp says what they are.
#pragma once

#include <Python.h>

#include "cpu/support/isa.h"

namespace fastblackout {

// Adds the function of xla.cpp to a module; -1 with a Python error. isa: the one to use where none is asked for.
int add_xla(PyObject* module, cpu::Isa isa);

}  // namespace fastblackout
