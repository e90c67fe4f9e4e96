// The short way into the CUDA kernels, for plain tensors on a device, as quick.cpp is that into the CPU's: numbers that are the same
// for all samples go to a kernel as its parameters, so that a call makes no tensor but its outputs and copies nothing to the device.
#include "bindings/quick.h"

#include "bindings/device_target.h"
#include "bindings/short_function.h"
#include "fastblackout/birth_loss.h"

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

using Reader = TensorReader<DeviceTarget>;

PyObject* birth_loss_text() {
  static PyObject* const text = PyUnicode_InternFromString("birth_loss");
  return text;
}

// like.`make`(size, dtype=dtype), a method of torch.Tensor
PyObject* make_row(PyObject* like, const char* make, int64_t size, PyObject* dtype) {
  PyObject *const method = PyObject_GetAttrString(like, make), *const length = PyLong_FromLongLong(size);
  static PyObject* const names = Py_BuildValue("(s)", "dtype");
  PyObject* const given[] = {length, dtype};
  PyObject* const made = method == nullptr || length == nullptr ? nullptr : PyObject_Vectorcall(method, given, 1, names);
  Py_XDECREF(method);
  Py_XDECREF(length);
  return made;
}

// A tensor that a function makes for itself.
class Owned {
 public:
  explicit Owned(PyObject* object) : object_(object) {}
  Owned(const Owned&) = delete;
  ~Owned() { Py_XDECREF(object_); }
  PyObject* get() const { return object_; }

 private:
  PyObject* const object_;
};

// Makes the scratch of a loss of several chunks. It is this call's own: a CUDA graph may own what is allocated while it is captured,
// and launches on other streams may run beside. When it is freed, torch gives it to work on this stream, behind the kernel.
bool lend(Reader& read, const Owned& sums, const Owned& done, cuda::BirthLoss& op) {
  Tensor of_chunks, counters;
  if (sums.get() == nullptr || done.get() == nullptr || !read.target().borrow(sums.get(), of_chunks) ||
      !read.target().borrow(done.get(), counters))
    return false;
  op.chunk_sums = reinterpret_cast<float*>(of_chunks.data);
  op.chunks_done = reinterpret_cast<unsigned*>(counters.data);
  return true;
}

// loss(backend, (logits, births, weight, gain)) -> (loss, whether a gradient may be asked for), or None
PyObject* loss(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) Py_RETURN_NONE;
  cuda::BirthLoss op;
  Reader read(DeviceTarget(birth_loss_text(), host_is_device), a[0], a[1], Dtype::f32, Dtype::f16, op);
  op.inputs(read);
  if (!read.good()) Py_RETURN_NONE;
  const int64_t chunks = (op.elements + kLossChunk - 1) / kLossChunk;
  const bool scratched = chunks > cuda::kUnscratched;
  const Owned made(make_row(read.first(), "new_empty", op.samples, torch.float32));
  const bool more = made.get() != nullptr && scratched;
  const Owned sums(more ? make_row(read.first(), "new_empty", op.samples * chunks, torch.float32) : nullptr);
  const Owned done(sums.get() != nullptr ? make_row(read.first(), "new_zeros", op.samples, torch.int32) : nullptr);
  Tensor to;
  if (made.get() == nullptr || !read.target().borrow(made.get(), to) || (scratched && !lend(read, sums, done, op))) return give_up();
  op.loss = reinterpret_cast<float*>(to.data);
  PyObject* const result = Py_BuildValue("(OO)", made.get(), differentiable(read.first()) ? Py_True : Py_False);
  return run_for(result, [&] { read.target().launch("birth_loss", cuda::birth_loss, op); });
}

// gradient(backend, (logits, births, upstream * weight, gain)) -> the gradient by the logits, or None
PyObject* gradient(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) Py_RETURN_NONE;
  cuda::BirthLoss op;
  Reader read(DeviceTarget(birth_loss_text(), host_is_device), a[0], a[1], Dtype::f32, Dtype::f16, op);
  op.inputs(read);
  if (!read.good()) Py_RETURN_NONE;
  PyObject* const made = PyObject_CallOneArg(torch.empty_like, read.first());
  Tensor to;
  if (made == nullptr || !read.target().borrow(made, to) || !read.target().view(to, read.first_dtype(), op.grad)) {
    Py_XDECREF(made);
    return give_up();
  }
  return run_for(made, [&] { read.target().launch("birth_loss", cuda::birth_loss_gradient, op); });
}

PyMethodDef methods[] = {method<learn_torch>("learn_torch"), method<thin>("quick_thin"), method<bridge>("quick_bridge"),
                         method<loss>("quick_device_loss"), method<gradient>("quick_device_loss_gradient"),
                         {nullptr, nullptr, 0, nullptr}};

}  // namespace

int add_quick(PyObject* module, bool host_too) {
  host_is_device = host_too;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
