// What the modules fastblackout._cuda and fastblackout._simt share: the same functions, over addresses of device memory in the
// one and of host memory in the other.
#pragma once

#include "bindings/device_reader.h"
#include "bindings/quick.h"
#include "bindings/xla.h"

namespace fastblackout {
namespace bindings {

// Adds a function for Python that fills an op by `fields(op, reader)` and launches its kernel.
template <class Op, class Fields>
void define(py::module_& m, const char* name, int (*kernel)(const Op&, void*), const Fields& fields) {
  m.def(name, [kernel, fields](const py::args& given) {
    Op op;
    DeviceReader read(given, op);
    fields(op, read);
    read.launch(kernel, op);
  });
}

// host_too: whether host memory serves as a device's.
inline void define_ops(py::module_& m, bool host_too) {
#define FB_DEFINE(name, Op, fields, kernel) \
  define<cuda::Op>(m, #name, cuda::kernel, [](cuda::Op& op, DeviceReader& read) { op.fields(read); });
  FB_OPS(FB_DEFINE)
  FB_DEVICE_OPS(FB_DEFINE)
#undef FB_DEFINE
  if (add_quick(m.ptr(), host_too) != 0 || add_xla_device(m.ptr(), host_too) != 0) throw py::error_already_set();
}

}  // namespace bindings
}  // namespace fastblackout
