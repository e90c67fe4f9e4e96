// A shorter way into the kernels for plain CPU tensors: torch's DLPack exchange table (DLPack 1.3, in newer versions of
// torch) describes a tensor in C in tens of nanoseconds. Whatever is not plain, or not right, gives None, and the caller
// takes the long way, which converts it or says what is wrong with it.
#include "bindings/quick.h"

#include <algorithm>
#include <limits>

#include "bindings/borrow.h"
#include "bindings/gil.h"

namespace fastblackout {
namespace {

cpu::Isa chosen;  // where none is asked for

bool pair_of(PyObject* p, PyObject* q, int64_t samples, Room<double>* rooms, cpu::Prob& prob) {
  return doubles(p, samples, true, rooms[0], prob.p) && doubles(q, samples, true, rooms[1], prob.q) &&
         cpu::good_pair(prob, samples);
}

constexpr int64_t kWords = int64_t{1} << 32;  // of a counter

// False where there is nothing to do, or a sample has more elements than a counter counts.
bool fill_size(const Tensor& x, cpu::Common& op) {
  op.samples = x.shape[0];
  op.elements = 1;
  for (int d = 1; d < x.ndim; ++d)
    if (__builtin_mul_overflow(op.elements, x.shape[d], &op.elements) || op.elements >= kWords) return false;
  return op.samples > 0 && op.elements > 0;
}

// From the arguments (backend, seed, first_sample, call, x), without the seed. False where x is no uint8 or the counter has no room
// for it.
bool fill_counts(PyObject* const* a, Tensor& x, cpu::Common& op) {
  if (!settle(a[0], chosen, op) || !borrow(a[4], x) || x.code != kUnsigned || x.bits != 8) return false;
  const int64_t first_sample = PyLong_AsLongLong(a[2]);
  op.key.sample = static_cast<uint32_t>(first_sample);
  op.key.call = static_cast<uint32_t>(PyLong_AsUnsignedLong(a[3]));
  return fill_size(x, op) && first_sample + op.samples <= kWords;
}

// A seed, or one drawn from a generator or, for None, torch's own. False with a Python error.
bool fill_seed(PyObject* from, SampleKey& key) {
  PyObject* const seed = PyLong_Check(from) ? Py_NewRef(from) : PyObject_CallOneArg(torch.fresh_seed, from);
  if (seed == nullptr) return false;
  const uint64_t bits = PyLong_AsUnsignedLongLong(seed);
  Py_DECREF(seed);
  key.seed_low = static_cast<uint32_t>(bits);
  key.seed_high = static_cast<uint32_t>(bits >> 32);
  return true;
}

bool same_shape(const Tensor& x, const Tensor& y) { return x.ndim == y.ndim && std::equal(x.shape, x.shape + x.ndim, y.shape); }

// torch.`make`(argument, dtype=torch.float32, device="cpu"), whatever torch.set_default_device says
PyObject* make_float32(PyObject* make, PyObject* argument) {
  static PyObject* const names = Py_BuildValue("(ss)", "dtype", "device");
  static PyObject* const device = PyUnicode_InternFromString("cpu");
  PyObject* const arguments[] = {argument, torch.float32, device};
  return PyObject_Vectorcall(make, arguments, 1, names);
}

// Where torch made no such tensor as was asked for: its error, or None if a mode of torch.overrides made another, or memory did
// not suffice, a RuntimeError, which the long way has as a MemoryError.
PyObject* give_up() {
  if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_RuntimeError)) return nullptr;
  PyErr_Clear();
  Py_RETURN_NONE;
}

// A tuple of new tensors like `x` for the bits of `mask`, the last in float32, and None for the others; their views.
PyObject* make_outputs(PyObject* x, long mask, cpu::View* const* views, int count) {
  PyObject* outputs = PyTuple_New(count);
  for (int i = 0; outputs != nullptr && i < count; ++i) {
    const bool last = i == count - 1;
    PyObject* made = Py_None;
    if (mask >> i & 1) made = last ? make_float32(torch.empty_like, x) : PyObject_CallOneArg(torch.empty_like, x);
    else Py_INCREF(made);
    Tensor tensor;
    if (made == nullptr || (made != Py_None && !borrow(made, tensor))) {
      Py_XDECREF(made);
      Py_CLEAR(outputs);
    } else {
      if (made != Py_None) *views[i] = view_of(tensor, last ? cpu::Dtype::f32 : cpu::Dtype::u8);
      PyTuple_SET_ITEM(outputs, i, made);
    }
  }
  return outputs;
}

// Runs a kernel without the GIL and gives `outputs`.
template <class Op>
PyObject* run(void (*kernel)(const Op&), const Op& op, PyObject* outputs) {
  if (outputs == nullptr) return nullptr;
  try {
    run_without_gil([&] { kernel(op); });
  } catch (...) {
    Py_DECREF(outputs);
    throw;
  }
  return outputs;
}

// The same for the draws, whose seed is drawn last: an error before leaves a generator as it was.
template <class Op>
PyObject* draw(void (*kernel)(const Op&), Op& op, PyObject* seed, PyObject* outputs) {
  if (outputs == nullptr) return give_up();
  if (fill_seed(seed, op.key)) return run(kernel, op, outputs);
  Py_DECREF(outputs);
  return nullptr;
}

constexpr float kAny = -std::numeric_limits<float>::infinity();

bool is_float32(const Tensor& x) { return x.code == kFloat && x.bits == 32; }

// thin(backend, seed, first_sample, call, x_0, p, q, center, scale, max_count, mask) -> (x_t, births, model_input) or None
PyObject* thin(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Thin op;
  Tensor x;
  Room<double> alive[2];
  Room<float> center, scale;
  if (count != 11 || !fill_counts(a, x, op) || !pair_of(a[5], a[6], op.samples, alive, op.alive) ||
      !floats(a[7], op.samples, kAny, center, op.input.center) || !floats(a[8], op.samples, kAny, scale, op.input.scale))
    Py_RETURN_NONE;
  op.x_0 = view_of(x, cpu::Dtype::u8);
  op.max_count = PyLong_AsLong(a[9]);
  cpu::View* const views[] = {&op.x_t, &op.births, &op.input.out};
  return draw(cpu::thin, op, a[1], make_outputs(a[4], PyLong_AsLong(a[10]), views, 3));
}

// bridge(backend, seed, first_sample, call, x_t, logits, p, q, gain, center, scale, max_count, stochastic, mask)
// -> (x_s, model_input) or None; logits float32, of x_t's shape
PyObject* bridge(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Bridge op;
  Tensor x, logits;
  Room<double> birth[2];
  Room<float> gain, center, scale;
  if (count != 14 || !fill_counts(a, x, op) || !borrow(a[5], logits) || !is_float32(logits) || !same_shape(x, logits) ||
      !pair_of(a[6], a[7], op.samples, birth, op.birth) || !floats(a[8], op.samples, 0.0f, gain, op.gain) ||
      !floats(a[9], op.samples, kAny, center, op.input.center) || !floats(a[10], op.samples, kAny, scale, op.input.scale))
    Py_RETURN_NONE;
  op.x_t = view_of(x, cpu::Dtype::u8);
  op.logits = view_of(logits, cpu::Dtype::f32);
  op.max_count = PyLong_AsLong(a[11]);
  op.stochastic = PyLong_AsLong(a[12]) != 0;
  cpu::View* const views[] = {&op.x_s, &op.input.out};
  return draw(cpu::bridge, op, a[1], make_outputs(a[4], PyLong_AsLong(a[13]), views, 2));
}

bool dtype_of(const Tensor& x, cpu::Dtype& dtype) {
  struct Known {
    uint8_t code, bits;
    cpu::Dtype dtype;
  };
  static constexpr Known known[] = {{kUnsigned, 8, cpu::Dtype::u8}, {kInt, 16, cpu::Dtype::i16}, {kInt, 32, cpu::Dtype::i32},
                                    {kInt, 64, cpu::Dtype::i64},    {kFloat, 32, cpu::Dtype::f32}, {kFloat, 64, cpu::Dtype::f64},
                                    {kFloat, 16, cpu::Dtype::f16},  {kBfloat, 16, cpu::Dtype::bf16}};
  for (const Known& entry : known) {
    if (entry.code != x.code || entry.bits != x.bits) continue;
    dtype = entry.dtype;
    return true;
  }
  return false;
}

// What the last gradients from above were: most training steps give all samples of all losses the same one, so that `loss` can
// multiply its slopes by it right away, and a pass over them is saved. Foreseen only where the last two were the same.
struct Upstream {
  std::atomic<float> last{1.0f};
  std::atomic<bool> steady{true};
} upstreams;

bool same_bits(float x, float y) { return std::memcmp(&x, &y, sizeof(x)) == 0; }

cpu::PerSample<double> products(const cpu::PerSample<double>& weight, const cpu::PerSample<float>& upstream, int64_t samples,
                                Room<double>& room) {
  const int64_t count = std::max(weight.distinct(samples), upstream.distinct(samples));
  return room.keep(count, [&](int64_t b) { return weight[b] * static_cast<double>(upstream[b]); });
}

bool all_finite(const cpu::PerSample<double>& values, int64_t samples) {
  bool finite = true;
  for (int64_t b = 0; b < values.distinct(samples); ++b) finite = finite && std::isfinite(values[b]);
  return finite;
}

// Whether there may be a gradient by it.
bool differentiable(PyObject* tensor) {
  static PyObject* const name = PyUnicode_InternFromString("requires_grad");
  PyObject* const asked = PyObject_GetAttr(tensor, name);
  if (asked == nullptr) PyErr_Clear();
  Py_XDECREF(asked);
  return asked == Py_True && gives(torch.grad_enabled, Py_True);
}

// loss(backend, logits, births, weight, gain) -> (loss, slopes or None, foreseen or None) or None; slopes: for `scale`, where
// there may be a gradient; foreseen: the gradient from above for which they are the one by the logits
PyObject* loss(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::BirthLoss op;
  Tensor x, births;
  cpu::Dtype dtype;
  Room<double> weight, ahead;
  Room<float> gain;
  if (count != 5 || !settle(a[0], chosen, op) || !borrow(a[1], x) || !is_float32(x) || !borrow(a[2], births) ||
      !dtype_of(births, dtype) || !same_shape(x, births) || !fill_size(x, op) ||
      !doubles(a[3], op.samples, false, weight, op.weight) || !all_finite(op.weight, op.samples) ||
      !floats(a[4], op.samples, std::numeric_limits<float>::denorm_min(), gain, op.gain))
    Py_RETURN_NONE;
  op.logits = view_of(x, cpu::Dtype::f32);
  op.births = view_of(births, dtype);
  const bool graded = differentiable(a[1]), foresees = graded && upstreams.steady;
  const float last = upstreams.last;
  if (foresees) op.ahead = products(op.weight, cpu::PerSample<float>{&last, 0}, op.samples, ahead);
  PyObject* const size = PyLong_FromLongLong(op.samples);
  PyObject* const made = size == nullptr ? nullptr : make_float32(torch.empty, size);
  PyObject* slopes = nullptr;
  if (made != nullptr) slopes = graded ? PyObject_CallOneArg(torch.empty_like, a[1]) : Py_NewRef(Py_None);
  Py_XDECREF(size);
  Tensor loss, slope;
  if (made == nullptr || slopes == nullptr || !borrow(made, loss) || (slopes != Py_None && !borrow(slopes, slope))) {
    Py_XDECREF(made);
    Py_XDECREF(slopes);
    return give_up();
  }
  op.loss = reinterpret_cast<float*>(loss.data);
  if (graded) op.grad = view_of(slope, cpu::Dtype::f32);
  PyObject* const foreseen = foresees ? PyFloat_FromDouble(static_cast<double>(last)) : Py_NewRef(Py_None);
  return run(cpu::birth_loss, op, Py_BuildValue("(NNN)", made, slopes, foreseen));
}

// scale(slopes, upstream, weight, foreseen): slopes, times upstream weight of their sample, in place; or None
PyObject* scale(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::BirthLoss op;
  Tensor slopes, upstream;
  Room<double> weight, coefficient;
  if (count != 4 || !borrow(a[1], upstream) || !is_float32(upstream) || upstream.ndim != 1 || upstream.shape[0] == 0)
    Py_RETURN_NONE;
  const cpu::PerSample<float> from{reinterpret_cast<const float*>(upstream.data), upstream.strides[0]};
  const float first = from[0];
  bool one = true;
  for (int64_t b = 0; b < from.distinct(upstream.shape[0]); ++b) one = one && same_bits(from[b], first);
  upstreams.steady = one && same_bits(upstreams.last.exchange(first), first);
  if (a[3] != Py_None) {
    PyObject* const made = one && same_bits(static_cast<float>(PyFloat_AsDouble(a[3])), first) ? a[0] : Py_None;
    Py_INCREF(made);
    return made;
  }
  static PyObject* const ours = PyUnicode_InternFromString("cpu");  // it was when the slopes were made
  if (!settle(ours, chosen, op) || !borrow(a[0], slopes) || !fill_size(slopes, op) || upstream.shape[0] != op.samples ||
      !doubles(a[2], op.samples, false, weight, op.weight))
    Py_RETURN_NONE;
  op.weight = products(op.weight, from, op.samples, coefficient);
  op.grad = view_of(slopes, cpu::Dtype::f32);
  return run(cpu::birth_loss_scale, op, Py_NewRef(a[0]));
}

// settings(backend) -> (threads, instruction set) that the others would run with, or None where they would not: no result shows
PyObject* settings(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Common op;
  if (count != 1 || !settle(a[0], chosen, op)) Py_RETURN_NONE;
  return Py_BuildValue("(ii)", op.threads, static_cast<int>(op.isa));
}

// What a function throws as a Python error: nothing may be thrown through the interpreter.
template <PyObject* (*Function)(PyObject*, PyObject* const*, Py_ssize_t)>
PyObject* guarded(PyObject* module, PyObject* const* a, Py_ssize_t count) {
  return outlive_interpreter([=]() -> PyObject* {
    try {
      return Function(module, a, count);
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

PyMethodDef methods[] = {method<learn_torch>("learn_torch"), method<thin>("quick_thin"), method<bridge>("quick_bridge"),
                         method<loss>("quick_loss"), method<scale>("quick_scale"), method<settings>("quick_settings"),
                         {nullptr, nullptr, 0, nullptr}};

}  // namespace

int add_quick(PyObject* module, cpu::Isa isa) {
  chosen = isa;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
