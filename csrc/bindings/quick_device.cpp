// The short way into the CUDA kernels, for plain tensors on a device, as quick.cpp is that into the CPU's: numbers that are the same
// for all samples go to a kernel as its parameters, so that a call makes no tensor but its outputs and copies nothing to the device.
#include "bindings/functions.h"

#include "bindings/device_target.h"
#include "bindings/short_function.h"
#include "fastblackout/birth_loss.h"

namespace fastblackout {
namespace {

bool host_is_device = false;  // for the SIMT shim

constexpr char kBirthLoss[] = "birth_loss", kEnergyLoss[] = "energy_loss";
#define FB_NAME(name, Op, kernel) constexpr char name_of_##name[] = #name;
FB_PLAIN_OPS(FB_NAME)
#undef FB_NAME

using Reader = CallReader<DeviceTarget>;

template <const char* name>
DeviceTarget target() {
  static PyObject* const text = PyUnicode_InternFromString(name);
  return DeviceTarget(text, host_is_device);
}

template <class Op, const char* name, int (*kernel)(const Op&, void*)>
PyObject* call_op(PyObject*, PyObject* const* a, Py_ssize_t count) {
  return call_by<Op>(target<name>(), a, count, name, kernel);
}

// The scratch of a loss of several chunks a sample. It is a call's own: a CUDA graph may own what is allocated while it is captured,
// and launches on other streams may run beside. When it is freed, torch gives it to work on this stream, behind the kernel.
class Scratch {
 public:
  // each: how many sums a chunk has. none: whether none is needed. A sample of one chunk needs no counter.
  Scratch(const Reader& read, int64_t samples, int64_t chunks, int64_t each, bool none)
      : sums_(none ? Py_NewRef(Py_None) : read.maker().dense(Owned(PyLong_FromLongLong(samples * chunks * each)), Dtype::f32)),
        done_(none || chunks == 1 ? Py_NewRef(Py_None) : sums_ ? read.maker().zeros(samples, Dtype::i32) : nullptr) {}

  template <class Op>
  bool lend(Reader& read, Op& op) const {
    return read.lend(sums_, op.chunk_sums) && read.lend(done_, op.chunks_done);
  }

 private:
  const Owned sums_, done_;
};

PyObject* asked_for(bool gradient) { return gradient ? Py_True : Py_False; }

// loss(backend, (logits, births, weight, gain)) -> (loss, whether a gradient may be asked for), or None
PyObject* loss(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) Py_RETURN_NONE;
  cuda::BirthLoss op;
  Reader read(target<kBirthLoss>(), a[0], a[1], {kFloats, kCounts | kFloats}, op);
  op.inputs(read);
  if (!read.good()) Py_RETURN_NONE;
  const int64_t chunks = bindings::chunks_of(op, kLossChunk);
  const Owned losses(read.maker().dense(Owned(PyLong_FromLongLong(op.samples)), Dtype::f32));
  const Scratch scratch(read, op.samples, chunks, 1, !losses || chunks <= cuda::kUnscratched);
  if (!read.lend(losses, op.loss) || !scratch.lend(read, op)) return give_up();
  PyObject* const result = Py_BuildValue("(OO)", losses.get(), asked_for(differentiable(read.first())));
  return run(read.target(), kBirthLoss, cuda::birth_loss, op, result);
}

// A gradient of the layout of `like`, the output `grad` of an op, which a kernel fills.
template <class Op>
PyObject* gradient_like(Reader& read, PyObject* like, const char* name, int (*kernel)(const Op&, void*), Op& op) {
  Owned tensor(PyObject_CallOneArg(known.empty_like, like));
  return read.lend(tensor, op.grad) ? run(read.target(), name, kernel, op, tensor.release()) : give_up();
}

// gradient(backend, (logits, births, upstream * weight, gain)) -> the gradient by the logits, or None
PyObject* gradient(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) Py_RETURN_NONE;
  cuda::BirthLoss op;
  Reader read(target<kBirthLoss>(), a[0], a[1], {kFloats, kCounts | kFloats}, op);
  op.inputs(read);
  if (!read.good()) Py_RETURN_NONE;
  return gradient_like(read, read.first(), kBirthLoss, cuda::birth_loss_gradient, op);
}

// energy(backend, (x_t, logits, births, weight, offset, max_count)) -> (loss, norms for the gradient, whether one may be asked for),
// or None
PyObject* energy(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) Py_RETURN_NONE;
  cuda::EnergyLoss op;
  Reader read(target<kEnergyLoss>(), a[0], a[1], {kCounts, bit_of(Dtype::f32), kCounts | kFloats}, op);
  op.inputs(read);
  if (!read.good()) Py_RETURN_NONE;
  const int64_t each = norms_of(static_cast<int>(op.logits.draws));
  const Owned losses(read.maker().dense(Owned(PyLong_FromLongLong(op.samples)), Dtype::f32));
  const Owned norms(!losses ? nullptr : read.maker().dense(Owned(Py_BuildValue("(LL)", op.samples, each)), Dtype::f64));
  const Scratch scratch(read, op.samples, bindings::chunks_of(op, kEnergyChunk), each, !norms);
  if (!read.lend(losses, op.loss) || !read.lend(norms, op.norms) || !scratch.lend(read, op)) return give_up();
  PyObject* const result = Py_BuildValue("(OOO)", losses.get(), norms.get(), asked_for(differentiable(PyTuple_GET_ITEM(a[1], 1))));
  return run(read.target(), kEnergyLoss, cuda::energy_loss, op, result);
}

// energy_gradient(backend, (x_t, logits, births, upstream * weight, offset, max_count), norms) -> the gradient by the logits, or None
PyObject* energy_gradient(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 3) Py_RETURN_NONE;
  cuda::EnergyLoss op;
  Reader read(target<kEnergyLoss>(), a[0], a[1], {kCounts, bit_of(Dtype::f32), kCounts | kFloats}, op);
  op.inputs(read);
  Borrowed norms;
  if (!read.good() || !read.target().borrow(a[2], norms) || !fill(norms, op.norms)) Py_RETURN_NONE;
  return gradient_like(read, PyTuple_GET_ITEM(a[1], 1), kEnergyLoss, cuda::energy_loss_gradient, op);
}

#define FB_METHOD(name, Op, kernel) method<call_op<cuda::Op, name_of_##name, cuda::kernel>>("call_" #name),
PyMethodDef methods[] = {FB_PLAIN_OPS(FB_METHOD)
                         method<learn>("learn"), method<loss>("quick_device_loss"), method<gradient>("quick_device_loss_gradient"),
                         method<energy>("quick_device_energy"), method<energy_gradient>("quick_device_energy_gradient"),
                         {nullptr, nullptr, 0, nullptr}};
#undef FB_METHOD

}  // namespace

int add_quick(PyObject* module, bool host_too) {
  host_is_device = host_too;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
