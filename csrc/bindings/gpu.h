// What the modules fastblackout._cuda and fastblackout._simt share: the same functions, over addresses of device memory in the
// one and of host memory in the other.
#pragma once

#include "bindings/device.h"
#include "bindings/functions.h"
#include "bindings/record_reader.h"

namespace fastblackout {
namespace bindings {

// What differs where a record is read for a device: (device, stream, samples, elements, flag, name of the op for errors) comes before
// it. The key is an array.
class OnGpu {
 public:
  using Backend = cuda::Backend;

  template <class Read>
  void begin(Read& read, cuda::Common& op) {
    where_ = read.next();
    op.samples = where_[2].cast<int64_t>();
    op.elements = where_[3].cast<int64_t>();
    op.flag = reinterpret_cast<int*>(where_[4].cast<uintptr_t>());
  }

  template <class Op>
  void launch(int (*kernel)(const Op&, void*), const Op& op) const {
    void* const stream = reinterpret_cast<void*>(where_[1].cast<uintptr_t>());
    launch_on(where_[5].cast<std::string>(), where_[0].cast<int>(), stream, kernel, op);
  }

 private:
  py::tuple where_;
};

using Reader = RecordReader<OnGpu>;

// A function for Python, which fills an op by the list `fields` and launches its kernel.
template <class Op, auto fields, int (*kernel)(const Op&, void*)>
void launch(const py::args& values) {
  Op op;
  OnGpu target;
  Reader read(values, target, op);
  (op.*fields)(read);
  target.launch(kernel, op);
}

// host_too: whether host memory serves as a device's.
inline void define_ops(py::module_& m, bool host_too) {
#define FB_DEFINE(name, Op, fields, kernel) m.def(#name, launch<cuda::Op, &cuda::Op::fields<Reader>, cuda::kernel>);
  FB_OPS(FB_DEFINE)
  FB_DEVICE_OPS(FB_DEFINE)
#undef FB_DEFINE
  if (add_quick(m.ptr(), host_too) != 0 || add_xla_device(m.ptr(), host_too) != 0) throw py::error_already_set();
}

}  // namespace bindings
}  // namespace fastblackout
