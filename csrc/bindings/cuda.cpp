// fastblackout._cuda: the CUDA kernels for Python. Importing needs no driver; a launch without one raises RuntimeError.
#include "bindings/gpu.h"

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of fastblackout; use the functions of the package, which check their arguments.";
  fastblackout::bindings::define_ops(m, false);
}
