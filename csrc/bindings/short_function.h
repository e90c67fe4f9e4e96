// How the functions of the short way (quick.cpp, quick_device.cpp) are called by Python and end, and what is the same in those of whole
// ops.
#pragma once

#include <new>
#include <stdexcept>

#include "bindings/default_floats.h"
#include "bindings/gil.h"
#include "bindings/call_reader.h"

namespace fastblackout {
namespace {

// Ends a call whose values are left to the long way, or for which torch made no such tensor as was asked for. It passes an error
// of torch on, but returns None for a RuntimeError, which is lack of memory (the long way raises a MemoryError), and where there
// is no error, as when a mode of torch.overrides made another tensor.
PyObject* give_up() {
  if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_RuntimeError)) return nullptr;
  PyErr_Clear();
  Py_RETURN_NONE;
}

// Turns what a function throws into a Python error: nothing may be thrown through the interpreter.
template <PyObject* (*Function)(PyObject*, PyObject* const*, Py_ssize_t)>
PyObject* guarded(PyObject* module, PyObject* const* a, Py_ssize_t count) {
  return outlive_interpreter([=]() -> PyObject* {
    const DefaultFloats floats;
    try {
      return Function(module, a, count);
    } catch (const PythonError&) {
    } catch (const std::invalid_argument& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    } catch (const std::bad_alloc&) {
      PyErr_NoMemory();
    } catch (const std::exception& error) {
      PyErr_SetString(PyExc_RuntimeError, error.what());
    }
    return nullptr;
  });
}

template <PyObject* (*Function)(PyObject*, PyObject* const*, Py_ssize_t)>
PyMethodDef method(const char* name) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<Function>)), METH_FASTCALL, nullptr};
}

// The function of an op: (backend, values, request, Declaration.spec) -> what the op returns, or None.
template <class Op, auto fields, class Target, class Kernel>
PyObject* call_by(Target target, PyObject* const* a, Py_ssize_t count, const char* name, Kernel* kernel) {
  if (count != 4) Py_RETURN_NONE;
  Op op;
  CallReader<Target> read(std::move(target), a[0], a[1], a[3], op);
  if (!read.good() || !read.asks_for(a[2])) Py_RETURN_NONE;
  (op.*fields)(read);
  if (!read.good()) return give_up();
  if (!read.give_seed()) return nullptr;
  read.target().launch(name, kernel, op);
  return read.take_outputs();
}

// The function of a loss: (backend, values, (), Declaration.spec) -> (its outputs, what its gradient needs beside its values), or None.
// The last is None where no gradient may be asked for. On a device it is True. On the host it is memory of the gradient, which the same
// pass fills, for float32.
template <class Op, class Target, class Kernel>
PyObject* call_loss_by(Target target, PyObject* const* a, Py_ssize_t count, const char* name, Kernel* kernel) {
  if (count != 4) Py_RETURN_NONE;
  Op op;
  CallReader<Target> read(std::move(target), a[0], a[1], a[3], op);
  if (!read.good() || !read.asks_for(a[2])) Py_RETURN_NONE;
  op.fields(read);
  if (!read.good()) return give_up();
  Owned kept(Py_NewRef(read.graded() ? Py_True : Py_None));
  if (Target::kKeepsSlopes && read.graded()) {
    if (!read.single()) Py_RETURN_NONE;
    kept = read.memory_of(op.grad);
    if (!kept) return give_up();
  }
  read.target().launch(name, kernel, op);
  return PyTuple_Pack(2, read.take_all().get(), kept.get());
}

}  // namespace
}  // namespace fastblackout
