// A shorter way into the kernels for plain CPU tensors: torch's DLPack exchange table (DLPack 1.3, in newer versions of
// torch) describes a tensor in C in tens of nanoseconds. Whatever is not plain, or not right, gives None, and the caller
// takes the long way, which converts it or says what is wrong with it.
#include "bindings/quick.h"

#include <algorithm>
#include <limits>

#include "bindings/borrow.h"

namespace fastblackout {
namespace {

cpu::Isa chosen;  // where none is asked for

struct Pair {
  std::vector<double> rooms[2];
  cpu::Prob prob;
};

bool pair_of(PyObject* p, PyObject* q, int64_t samples, Pair& pair) {
  pair.prob = cpu::Prob{doubles(p, samples, pair.rooms[0], true), doubles(q, samples, pair.rooms[1], true)};
  return pair.prob.p != nullptr && pair.prob.q != nullptr && cpu::good_pair(pair.prob, samples);
}

// False where there is nothing to do.
bool fill_size(const Tensor& x, cpu::Common& op) {
  op.samples = x.shape[0];
  op.elements = 1;
  for (int d = 1; d < x.ndim; ++d) op.elements *= x.shape[d];
  return op.samples > 0 && op.elements > 0;
}

// From the arguments (backend, seed, first_sample, call, x), without the seed. False where x is no uint8 or the counter has no room
// for it.
bool fill_counts(PyObject* const* a, Tensor& x, cpu::Common& op) {
  if (!settle(a[0], chosen, op) || !borrow(a[4], x) || x.code != kUnsigned || x.bits != 8) return false;
  const int64_t first_sample = PyLong_AsLongLong(a[2]), words = int64_t{1} << 32;
  op.key.sample = static_cast<uint32_t>(first_sample);
  op.key.call = static_cast<uint32_t>(PyLong_AsUnsignedLong(a[3]));
  return fill_size(x, op) && op.elements < words && first_sample + op.samples <= words;
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

// Where torch made no such tensor as was asked for: its error, or None if a mode of torch.overrides made another.
PyObject* give_up() {
  if (PyErr_Occurred()) return nullptr;
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

// Runs a kernel without the GIL and gives `outputs`; what the kernel finds wrong becomes a ValueError.
template <class Op>
PyObject* run(void (*kernel)(const Op&), const Op& op, PyObject* outputs) {
  if (outputs == nullptr) return give_up();
  std::string wrong;
  Py_BEGIN_ALLOW_THREADS;
  try {
    kernel(op);
  } catch (const std::invalid_argument& error) {
    wrong = error.what();
  }
  Py_END_ALLOW_THREADS;
  if (wrong.empty()) return outputs;
  Py_DECREF(outputs);
  PyErr_SetString(PyExc_ValueError, wrong.c_str());
  return nullptr;
}

constexpr float kAny = -std::numeric_limits<float>::infinity();

bool is_float32(const Tensor& x) { return x.code == kFloat && x.bits == 32; }

// thin(backend, seed, first_sample, call, x_0, p, q, center, scale, max_count, mask) -> (x_t, births, model_input) or None
PyObject* thin(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Thin op;
  Tensor x;
  Pair alive;
  std::vector<float> center, scale;
  if (count != 11 || !fill_counts(a, x, op) || !pair_of(a[5], a[6], op.samples, alive) ||
      !floats(a[7], op.samples, kAny, center, op.input.center) || !floats(a[8], op.samples, kAny, scale, op.input.scale))
    Py_RETURN_NONE;
  if (!fill_seed(a[1], op.key)) return nullptr;
  op.x_0 = view_of(x, cpu::Dtype::u8);
  op.alive = alive.prob;
  op.max_count = PyLong_AsLong(a[9]);
  cpu::View* const views[] = {&op.x_t, &op.births, &op.input.out};
  return run(cpu::thin, op, make_outputs(a[4], PyLong_AsLong(a[10]), views, 3));
}

// bridge(backend, seed, first_sample, call, x_t, logits, p, q, gain, center, scale, max_count, stochastic, mask)
// -> (x_s, model_input) or None; logits float32, of x_t's shape
PyObject* bridge(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Bridge op;
  Tensor x, logits;
  Pair birth;
  std::vector<float> gain, center, scale;
  if (count != 14 || !fill_counts(a, x, op) || !borrow(a[5], logits) || !is_float32(logits) || !same_shape(x, logits) ||
      !pair_of(a[6], a[7], op.samples, birth) || !floats(a[8], op.samples, 0.0f, gain, op.gain) ||
      !floats(a[9], op.samples, kAny, center, op.input.center) || !floats(a[10], op.samples, kAny, scale, op.input.scale))
    Py_RETURN_NONE;
  if (!fill_seed(a[1], op.key)) return nullptr;
  op.x_t = view_of(x, cpu::Dtype::u8);
  op.logits = view_of(logits, cpu::Dtype::f32);
  op.birth = birth.prob;
  op.max_count = PyLong_AsLong(a[11]);
  op.stochastic = PyLong_AsLong(a[12]) != 0;
  cpu::View* const views[] = {&op.x_s, &op.input.out};
  return run(cpu::bridge, op, make_outputs(a[4], PyLong_AsLong(a[13]), views, 2));
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

std::vector<double> products(const double* weight, int64_t samples, const float* upstream, int64_t stride) {
  std::vector<double> all(weight, weight + samples);
  for (int64_t b = 0; b < samples; ++b) all[static_cast<size_t>(b)] *= static_cast<double>(upstream[b * stride]);
  return all;
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
  std::vector<double> weight;
  std::vector<float> gain;
  if (count != 5 || !settle(a[0], chosen, op) || !borrow(a[1], x) || !is_float32(x) || !borrow(a[2], births) ||
      !dtype_of(births, dtype) || !same_shape(x, births) || !fill_size(x, op) ||
      (op.weight = doubles(a[3], op.samples, weight, false)) == nullptr ||
      !std::all_of(op.weight, op.weight + op.samples, [](double w) { return std::isfinite(w); }) ||
      !floats(a[4], op.samples, std::numeric_limits<float>::denorm_min(), gain, op.gain))
    Py_RETURN_NONE;
  op.logits = view_of(x, cpu::Dtype::f32);
  op.births = view_of(births, dtype);
  PyObject* const size = PyLong_FromLongLong(op.samples);
  PyObject* const made = size == nullptr ? nullptr : make_float32(torch.empty, size);
  PyObject* slopes = Py_None;
  if (differentiable(a[1])) slopes = PyObject_CallOneArg(torch.empty_like, a[1]);
  else Py_INCREF(slopes);
  Py_XDECREF(size);
  Tensor loss, slope;
  if (made == nullptr || slopes == nullptr || !borrow(made, loss) || (slopes != Py_None && !borrow(slopes, slope))) {
    Py_XDECREF(made);
    Py_XDECREF(slopes);
    return give_up();
  }
  op.loss = reinterpret_cast<float*>(loss.data);
  std::vector<double> ahead;
  PyObject* foreseen = Py_None;
  if (slopes != Py_None) {
    op.grad = view_of(slope, cpu::Dtype::f32);
    if (const float last = upstreams.last; upstreams.steady) {
      ahead = products(op.weight, op.samples, &last, 0);
      op.ahead = ahead.data();
      foreseen = PyFloat_FromDouble(static_cast<double>(last));
    }
  }
  if (foreseen == Py_None) Py_INCREF(foreseen);
  return run(cpu::birth_loss, op, Py_BuildValue("(NNN)", made, slopes, foreseen));
}

// scale(slopes, upstream, weight, foreseen): slopes, times upstream weight of their sample, in place; or None
PyObject* scale(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::BirthLoss op;
  Tensor slopes, upstream;
  std::vector<double> weight;
  if (count != 4 || !borrow(a[1], upstream) || !is_float32(upstream) || upstream.ndim != 1 || upstream.shape[0] == 0)
    Py_RETURN_NONE;
  const float* from = reinterpret_cast<const float*>(upstream.data);
  const float first = *from;
  bool one = true;
  for (int64_t b = 0; b < upstream.shape[0]; ++b) one = one && same_bits(from[b * upstream.strides[0]], first);
  upstreams.steady = one && same_bits(upstreams.last.exchange(first), first);
  if (a[3] != Py_None) {
    PyObject* const made = one && same_bits(static_cast<float>(PyFloat_AsDouble(a[3])), first) ? a[0] : Py_None;
    Py_INCREF(made);
    return made;
  }
  static PyObject* const ours = PyUnicode_InternFromString("cpu");  // it was when the slopes were made
  if (!settle(ours, chosen, op) || !borrow(a[0], slopes) || !fill_size(slopes, op) || upstream.shape[0] != op.samples ||
      (op.weight = doubles(a[2], op.samples, weight, false)) == nullptr)
    Py_RETURN_NONE;
  Py_INCREF(a[0]);
  const std::vector<double> coefficient = products(op.weight, op.samples, from, upstream.strides[0]);
  op.weight = coefficient.data();
  op.grad = view_of(slopes, cpu::Dtype::f32);
  return run(cpu::birth_loss_scale, op, a[0]);
}

// settings(backend) -> (threads, instruction set) that the others would run with, or None where they would not: no result shows
PyObject* settings(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Common op;
  if (count != 1 || !settle(a[0], chosen, op)) Py_RETURN_NONE;
  return Py_BuildValue("(ii)", op.threads, static_cast<int>(op.isa));
}

template <PyObject* (*Function)(PyObject*, PyObject* const*, Py_ssize_t)>
PyMethodDef method(const char* name) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(Function)), METH_FASTCALL, nullptr};
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
