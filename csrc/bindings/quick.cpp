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

template <class Op, auto fields, void (*kernel)(const Op&)>
PyObject* call_op(PyObject*, PyObject* const* a, Py_ssize_t count) {
  return call_by<Op, fields>(HostTarget(chosen), a, count, "", kernel);
}

template <class Op, void (*kernel)(const Op&)>
PyObject* call_loss(PyObject*, PyObject* const* a, Py_ssize_t count) {
  return call_loss_by<Op>(HostTarget(chosen), a, count, "", kernel);
}

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

// The backend that filled the memory of a gradient.
PyObject* ours() {
  static PyObject* const name = PyUnicode_InternFromString("cpu");
  return name;
}

// scale(slopes, upstream, weight) -> slopes, multiplied in place by upstream * weight of their sample; or None
PyObject* scale(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::BirthLoss op;
  HostTarget target(chosen);
  Borrowed slopes;
  cpu::PerSample<double> upstream;
  Room<double> coefficient;
  if (count != 3 || !target.settle(ours(), op) || !target.borrow(a[0], slopes) || !size_of(slopes, op) || !is_upstream(target, a[1], op.samples) ||
      !target.doubles(a[1], op.samples, slopes.dims, upstream) || !target.doubles(a[2], op.samples, slopes.dims, op.weight) ||
      !fill(slopes, op.grad))
    Py_RETURN_NONE;
  op.weight = products(op.weight, upstream, op.samples, coefficient);
  target.launch("", cpu::birth_loss_scale, op);
  return Py_NewRef(a[0]);
}

// energy_gradient((x_t, logits, births, weight, offset, max_count), norms, upstream, memory of the gradient, Declaration.spec of the
// loss) -> the gradient by the logits, in that memory, where the loss has left what it is made of; or None
PyObject* energy_gradient(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 5) Py_RETURN_NONE;
  cpu::EnergyLoss op;
  CallReader<HostTarget> read(HostTarget(chosen), ours(), a[0], a[4], op);
  op.inputs(read);
  Borrowed norms, memory;
  cpu::PerSample<double> upstream;
  Room<double> coefficient;
  HostTarget& target = read.target();
  if (!read.good() || !target.borrow(a[1], norms) || !fill(norms, op.norms) || !is_upstream(target, a[2], op.samples) ||
      !target.doubles(a[2], op.samples, 1, upstream) || !target.borrow(a[3], memory) || !fill(memory, op.grad))
    Py_RETURN_NONE;
  op.weight = products(op.weight, upstream, op.samples, coefficient);
  op.logits = op.grad;
  target.launch("", cpu::energy_loss_gradient, op);
  return Py_NewRef(a[3]);
}

// settings(backend) -> (threads, instruction set) that the other functions would run with, or None where they would not run. For
// tests, since no result shows it.
PyObject* settings(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Common op;
  if (count != 1 || !HostTarget(chosen).settle(a[0], op)) Py_RETURN_NONE;
  return Py_BuildValue("(ii)", op.threads, static_cast<int>(op.isa));
}

#define FB_METHOD(name, Op, fields, kernel) method<call_op<cpu::Op, &cpu::Op::fields<CallReader<HostTarget>>, cpu::kernel>>("call_" #name),
#define FB_LOSS(name, Op, fields, kernel) method<call_loss<cpu::Op, cpu::kernel>>("loss_" #name),
PyMethodDef methods[] = {FB_PLAIN_OPS(FB_METHOD) FB_LOG_PROBS(FB_METHOD) FB_LOSSES(FB_LOSS)
                         method<learn>("learn"), method<scale>("quick_scale"), method<energy_gradient>("quick_energy_gradient"),
                         method<settings>("quick_settings"), {nullptr, nullptr, 0, nullptr}};
#undef FB_LOSS
#undef FB_METHOD

}  // namespace

int add_quick(PyObject* module, cpu::Isa isa) {
  chosen = isa;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
