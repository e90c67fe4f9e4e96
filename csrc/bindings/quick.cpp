// The short way into the kernels, for plain CPU tensors: torch's DLPack exchange table (DLPack 1.3, in newer versions of
// torch) describes a tensor in C in tens of nanoseconds. Whatever is not plain, or not right, gives None, and the caller
// takes the long way, which converts it or says what is wrong with it.
#include "bindings/functions.h"

#include <algorithm>

#include "bindings/host_target.h"
#include "bindings/short_function.h"

namespace fastblackout {
namespace {

cpu::Isa chosen;  // the instruction set to use where none is asked for

using Reader = TensorReader<HostTarget>;

template <class Op>
PyObject* run(void (*kernel)(const Op&), const Op& op, PyObject* outputs) {
  Owned owned(outputs);
  if (owned) HostTarget::launch("", kernel, op);
  return owned.release();
}

template <class Op, void (*kernel)(const Op&)>
PyObject* draw(PyObject*, PyObject* const* a, Py_ssize_t count) {
  return draw_by<Op>(HostTarget(chosen), a, count, "", kernel);
}

// torch.empty(shape, dtype=dtype, device="cpu"), whatever torch.set_default_device says; `shape` is null after an error
PyObject* make_empty(const Owned& shape, PyObject* dtype) {
  static PyObject* const names = Py_BuildValue("(ss)", "dtype", "device");
  static PyObject* const device = PyUnicode_InternFromString("cpu");
  PyObject* const arguments[] = {shape.get(), dtype, device};
  return shape ? PyObject_Vectorcall(torch.empty, arguments, 1, names) : nullptr;
}

// torch.empty_like(like), or None where it is not needed
PyObject* make_if(bool needed, PyObject* like) { return needed ? PyObject_CallOneArg(torch.empty_like, like) : Py_NewRef(Py_None); }

cpu::PerSample<double> products(const cpu::PerSample<double>& weight, const cpu::PerSample<float>& upstream, int64_t samples,
                                Room<double>& room) {
  const int64_t count = std::max(weight.distinct(samples), upstream.distinct(samples));
  return room.keep(count, [&](int64_t b) { return weight[b] * static_cast<double>(upstream[b]); });
}

// loss(backend, (logits, births, weight, gain)) -> (loss, slopes or None), or None. slopes: for `scale`, where a gradient may be
// asked for.
PyObject* loss(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) Py_RETURN_NONE;
  cpu::BirthLoss op;
  Reader read(HostTarget(chosen), a, Dtype::f32, Dtype::f32, op);
  op.inputs(read);
  if (!read.good()) Py_RETURN_NONE;
  PyObject* const logits = PyTuple_GET_ITEM(a[1], 0);
  Owned losses(make_empty(Owned(PyLong_FromLongLong(op.samples)), torch.float32));
  Owned slopes(losses ? make_if(differentiable(logits), logits) : nullptr);
  if (!read.lend(losses, op.loss) || !read.lend(slopes, op.grad)) return give_up();
  return run(cpu::birth_loss, op, Py_BuildValue("(NN)", losses.release(), slopes.release()));
}

// scale(slopes, upstream, weight) -> slopes, multiplied in place by upstream * weight of their sample; or None
PyObject* scale(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::BirthLoss op;
  Tensor slopes, upstream;
  Room<double> weight, coefficient;
  cpu::PerSample<float> from;
  if (count != 3 || !borrow(a[1], upstream) || !is_row<float>(upstream, upstream.sizes[0]) || upstream.sizes[0] == 0 || !fill(upstream, from))
    Py_RETURN_NONE;
  static PyObject* const ours = PyUnicode_InternFromString("cpu");  // the backend that made the slopes
  if (!HostTarget(chosen).settle(ours, op) || !borrow(a[0], slopes) || !size_of(slopes, op) || upstream.sizes[0] != op.samples ||
      !doubles(a[2], op.samples, false, weight, op.weight) || !fill(slopes, op.grad))
    Py_RETURN_NONE;
  op.weight = products(op.weight, from, op.samples, coefficient);
  return run(cpu::birth_loss_scale, op, Py_NewRef(a[0]));
}

// energy_loss(backend, (x_t, logits, births, weight, offset, max_count)) -> (loss, norms for the gradient, memory of the gradient or
// None), or None. The memory holds what the gradient is made of, where one may be asked for.
PyObject* energy(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) Py_RETURN_NONE;
  cpu::EnergyLoss op;
  Reader read(HostTarget(chosen), a, Dtype::u8, Dtype::u8, op);
  op.inputs(read);
  if (!read.good()) Py_RETURN_NONE;
  const long long samples = op.samples, each = norms_of(static_cast<int>(op.logits.draws));
  PyObject* const logits = PyTuple_GET_ITEM(a[1], 1);
  Owned loss(make_empty(Owned(PyLong_FromLongLong(samples)), torch.float32));
  Owned norms(loss ? make_empty(Owned(Py_BuildValue("(LL)", samples, each)), torch.float64) : nullptr);
  Owned memory(norms ? make_if(differentiable(logits), logits) : nullptr);
  if (!read.lend(loss, op.loss) || !read.lend(norms, op.norms) || !read.lend(memory, op.grad)) return give_up();
  return run(cpu::energy_loss, op, Py_BuildValue("(NNN)", loss.release(), norms.release(), memory.release()));
}

// energy_gradient(backend, (x_t, logits, births, weight, offset, max_count), norms, upstream, memory of the gradient or None) -> the
// gradient by the logits, in that memory if it is given, or None
PyObject* energy_gradient(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 5) Py_RETURN_NONE;
  cpu::EnergyLoss op;
  Reader read(HostTarget(chosen), a, Dtype::u8, Dtype::u8, op);
  op.inputs(read);
  Tensor norms;
  cpu::PerSample<float> upstream;
  Room<double> coefficient;
  if (!read.good() || !borrow(a[2], norms) || !fill(norms, op.norms) || !numbers_of(a[3], op.samples, upstream)) Py_RETURN_NONE;
  op.weight = products(op.weight, upstream, op.samples, coefficient);
  Owned grad(a[4] == Py_None ? PyObject_CallOneArg(torch.empty_like, PyTuple_GET_ITEM(a[1], 1)) : Py_NewRef(a[4]));
  if (!read.lend(grad, op.grad)) return give_up();
  if (a[4] != Py_None) op.logits = op.grad;
  return run(cpu::energy_loss_gradient, op, grad.release());
}

// settings(backend) -> (threads, instruction set) that the other functions would run with, or None where they would not run. For
// tests, since no result shows it.
PyObject* settings(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Common op;
  if (count != 1 || !HostTarget(chosen).settle(a[0], op)) Py_RETURN_NONE;
  return Py_BuildValue("(ii)", op.threads, static_cast<int>(op.isa));
}

// on_cuda(object) -> whether it is a plain tensor on a CUDA device. Its attributes would say so too, but modes of torch see who asks.
PyObject* on_cuda(PyObject*, PyObject* const* a, Py_ssize_t count) {
  Tensor x;
  return PyBool_FromLong(count == 1 && torch.table != nullptr && borrow_any(a[0], x) && x.device_type == kCuda);
}

PyMethodDef methods[] = {method<learn_torch>("learn_torch"), method<draw<cpu::Thin, cpu::thin>>("quick_thin"), method<draw<cpu::Bridge, cpu::bridge>>("quick_bridge"),
                         method<loss>("quick_loss"), method<scale>("quick_scale"),
                         method<energy>("quick_energy"), method<on_cuda>("quick_on_cuda"),
                         method<energy_gradient>("quick_energy_gradient"), method<settings>("quick_settings"),
                         {nullptr, nullptr, 0, nullptr}};

}  // namespace

int add_quick(PyObject* module, cpu::Isa isa) {
  chosen = isa;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
