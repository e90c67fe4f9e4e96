// The short way into the CPU kernels; quick.cpp says what it is.
#pragma once

#include <Python.h>

#include "cpu/support/isa.h"

namespace fastblackout {

// Adds the functions of quick.cpp to a module; -1 with a Python error. isa: the one to use where none is asked for.
int add_quick(PyObject* module, cpu::Isa isa);

}  // namespace fastblackout
