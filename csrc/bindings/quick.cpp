// The short way into the kernels, for plain arrays of the CPU, of NumPy or of torch, whose DLPack exchange table (DLPack 1.3, in newer
// versions of torch) describes a tensor in C in tens of nanoseconds. Whatever is not plain, or not right, gives None, and the caller
// takes the long way, which converts it or says what is wrong with it.
#include "bindings/functions.h"

#include <algorithm>

#include "bindings/host_target.h"
#include "bindings/short_function.h"

namespace fastblackout {
namespace {

cpu::Isa chosen;  // the instruction set to use where none is asked for

using Reader = CallReader<HostTarget>;

template <class Op, void (*kernel)(const Op&)>
PyObject* call_op(PyObject*, PyObject* const* a, Py_ssize_t count) {
  return call_by<Op>(HostTarget(chosen), a, count, "", kernel);
}

// torch.empty_like(like), or None where it is not needed
PyObject* make_if(bool needed, PyObject* like) { return needed ? PyObject_CallOneArg(known.empty_like, like) : Py_NewRef(Py_None); }

cpu::PerSample<double> products(const cpu::PerSample<double>& weight, const cpu::PerSample<double>& upstream, int64_t samples,
                                Room<double>& room) {
  const int64_t count = std::max(weight.distinct(samples), upstream.distinct(samples));
  return room.keep(count, [&](int64_t b) { return weight[b] * upstream[b]; });
}

// Whether this is a gradient by float32 losses of so many samples, as torch hands it over.
bool is_upstream(HostTarget& target, PyObject* value, int64_t samples) {
  Borrowed x;
  return target.borrow(value, x) && x.dtype == Dtype::f32 && x.dims == 1 && x.sizes[0] == samples;
}

// loss(backend, (logits, births, weight, gain)) -> (loss, slopes or None), or None. slopes: for `scale`, where a gradient may be
// asked for.
PyObject* loss(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) Py_RETURN_NONE;
  cpu::BirthLoss op;
  Reader read(HostTarget(chosen), a[0], a[1], {bit_of(Dtype::f32), kCounts | kFloats}, op);
  op.inputs(read);
  if (!read.good() || !read.maker().of_torch) Py_RETURN_NONE;
  PyObject* const logits = PyTuple_GET_ITEM(a[1], 0);
  Owned losses(read.maker().dense(Owned(PyLong_FromLongLong(op.samples)), Dtype::f32));
  Owned slopes(losses ? make_if(differentiable(logits), logits) : nullptr);
  if (!read.lend(losses, op.loss) || !read.lend(slopes, op.grad)) return give_up();
  return run(read.target(), "", cpu::birth_loss, op, Py_BuildValue("(NN)", losses.release(), slopes.release()));
}

// scale(slopes, upstream, weight) -> slopes, multiplied in place by upstream * weight of their sample; or None
PyObject* scale(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::BirthLoss op;
  HostTarget target(chosen);
  Borrowed slopes;
  cpu::PerSample<double> upstream;
  Room<double> coefficient;
  static PyObject* const ours = PyUnicode_InternFromString("cpu");  // the backend that made the slopes
  if (count != 3 || !target.settle(ours, op) || !target.borrow(a[0], slopes) || !size_of(slopes, op) || !is_upstream(target, a[1], op.samples) ||
      !target.doubles(a[1], op.samples, slopes.dims, upstream) || !target.doubles(a[2], op.samples, slopes.dims, op.weight) ||
      !fill(slopes, op.grad))
    Py_RETURN_NONE;
  op.weight = products(op.weight, upstream, op.samples, coefficient);
  return run(target, "", cpu::birth_loss_scale, op, Py_NewRef(a[0]));
}

// energy_loss(backend, (x_t, logits, births, weight, offset, max_count)) -> (loss, norms for the gradient, memory of the gradient or
// None), or None. The memory holds what the gradient is made of, where one may be asked for.
PyObject* energy(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 2) Py_RETURN_NONE;
  cpu::EnergyLoss op;
  Reader read(HostTarget(chosen), a[0], a[1], {kCounts, bit_of(Dtype::f32), kCounts | kFloats}, op);
  op.inputs(read);
  if (!read.good() || !read.maker().of_torch) Py_RETURN_NONE;
  const long long samples = op.samples, each = norms_of(static_cast<int>(op.logits.draws));
  PyObject* const logits = PyTuple_GET_ITEM(a[1], 1);
  Owned loss(read.maker().dense(Owned(PyLong_FromLongLong(samples)), Dtype::f32));
  Owned norms(loss ? read.maker().dense(Owned(Py_BuildValue("(LL)", samples, each)), Dtype::f64) : nullptr);
  Owned memory(norms ? make_if(differentiable(logits), logits) : nullptr);
  if (!read.lend(loss, op.loss) || !read.lend(norms, op.norms) || !read.lend(memory, op.grad)) return give_up();
  return run(read.target(), "", cpu::energy_loss, op, Py_BuildValue("(NNN)", loss.release(), norms.release(), memory.release()));
}

// energy_gradient(backend, (x_t, logits, births, weight, offset, max_count), norms, upstream, memory of the gradient or None) -> the
// gradient by the logits, in that memory if it is given, or None
PyObject* energy_gradient(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 5) Py_RETURN_NONE;
  cpu::EnergyLoss op;
  Reader read(HostTarget(chosen), a[0], a[1], {kCounts, bit_of(Dtype::f32), kCounts | kFloats}, op);
  op.inputs(read);
  Borrowed norms;
  cpu::PerSample<double> upstream;
  Room<double> coefficient;
  HostTarget& target = read.target();
  if (!read.good() || !target.borrow(a[2], norms) || !fill(norms, op.norms) || !is_upstream(target, a[3], op.samples) ||
      !target.doubles(a[3], op.samples, 1, upstream))
    Py_RETURN_NONE;
  op.weight = products(op.weight, upstream, op.samples, coefficient);
  Owned grad(a[4] == Py_None ? PyObject_CallOneArg(known.empty_like, PyTuple_GET_ITEM(a[1], 1)) : Py_NewRef(a[4]));
  if (!read.lend(grad, op.grad)) return give_up();
  if (a[4] != Py_None) op.logits = op.grad;
  return run(target, "", cpu::energy_loss_gradient, op, grad.release());
}

// settings(backend) -> (threads, instruction set) that the other functions would run with, or None where they would not run. For
// tests, since no result shows it.
PyObject* settings(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Common op;
  if (count != 1 || !HostTarget(chosen).settle(a[0], op)) Py_RETURN_NONE;
  return Py_BuildValue("(ii)", op.threads, static_cast<int>(op.isa));
}

#define FB_METHOD(name, Op, kernel) method<call_op<cpu::Op, cpu::kernel>>("call_" #name),
PyMethodDef methods[] = {FB_PLAIN_OPS(FB_METHOD)
                         method<learn>("learn"), method<loss>("quick_loss"), method<scale>("quick_scale"), method<energy>("quick_energy"),
                         method<energy_gradient>("quick_energy_gradient"), method<settings>("quick_settings"),
                         {nullptr, nullptr, 0, nullptr}};
#undef FB_METHOD

}  // namespace

int add_quick(PyObject* module, cpu::Isa isa) {
  chosen = isa;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
