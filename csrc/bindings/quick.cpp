// A shorter way into the kernels for plain CPU tensors: torch's DLPack exchange table (DLPack 1.3, in newer versions of
// torch) describes a tensor in C in tens of nanoseconds. Whatever is not plain, or not right, gives None, and the caller
// takes the long way, which converts it or says what is wrong with it.
#include "bindings/quick.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/ops.h"

namespace fastblackout {
namespace {

// The part of DLPack's ABI that is read here: https://dmlc.github.io/dlpack/latest/c_api.html
struct Tensor {
  char* data;
  int32_t device_type, device_id, ndim;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};

struct ExchangeTable {
  uint32_t major, minor;
  void *older, *allocate, *export_owned, *import_owned;
  int (*export_borrowed)(void* object, Tensor* out);
};

constexpr int32_t kCpu = 1;
constexpr uint8_t kUnsigned = 1, kFloat = 2;

struct Torch {
  PyObject *type, *empty_like, *float32;  // float32: a dtype
  const ExchangeTable* table;
};
Torch torch = {};
cpu::Isa chosen;  // where none is asked for

// learn_torch(torch.Tensor, its exchange capsule, torch.empty_like, torch.float32) -> whether the other functions can be used
PyObject* learn_torch(PyObject*, PyObject* const* a, Py_ssize_t count) {
  if (count != 4) return PyErr_Format(PyExc_TypeError, "learn_torch takes 4 arguments, got %zd", count);
  const auto* table = static_cast<const ExchangeTable*>(PyCapsule_GetPointer(a[1], "dlpack_exchange_api"));
  if (table == nullptr) return nullptr;
  if (table->major != 1 || table->export_borrowed == nullptr) Py_RETURN_FALSE;
  for (Py_ssize_t i = 0; i < count; ++i) Py_INCREF(a[i]);  // for as long as the process lives
  torch = Torch{a[0], a[2], a[3], table};
  Py_RETURN_TRUE;
}

bool borrow(PyObject* object, Tensor& out) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != torch.type) return false;
  if (torch.table->export_borrowed(object, &out) != 0) {
    PyErr_Clear();
    return false;
  }
  out.data += out.byte_offset;
  return out.device_type == kCpu && out.lanes == 1 && out.ndim >= 1 && out.ndim <= cpu::kMaxDims;
}

cpu::View view_of(const Tensor& tensor, cpu::Dtype dtype) {
  cpu::View view;
  view.data = tensor.data;
  view.dtype = dtype;
  view.sample_stride = tensor.strides[0];
  cpu::Merge merge(view);
  for (int d = 1; d < tensor.ndim; ++d) merge.append(tensor.shape[d], tensor.strides[d]);
  return view;
}

// `samples` float64 values: a tensor's own, or a Python float for all, kept in `room`. Null where it is neither.
const double* doubles(PyObject* value, int64_t samples, std::vector<double>& room) {
  if (PyFloat_CheckExact(value)) {
    room.assign(static_cast<size_t>(samples), PyFloat_AS_DOUBLE(value));
    return room.data();
  }
  Tensor t;
  const bool right = borrow(value, t) && t.code == kFloat && t.bits == 64 && t.ndim == 1 && t.shape[0] == samples;
  return right && (samples == 1 || t.strides[0] == 1) ? reinterpret_cast<const double*>(t.data) : nullptr;
}

// The same rounded to float32; false where one is not finite or below `low`.
bool floats(PyObject* value, int64_t samples, float low, std::vector<float>& out) {
  std::vector<double> room;
  const double* from = doubles(value, samples, room);
  if (from == nullptr) return false;
  bool good = true;
  out.resize(static_cast<size_t>(samples));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(from[i]);
    good = good && std::isfinite(out[i]) && out[i] >= low;
  }
  return good;
}

struct Pair {
  std::vector<double> rooms[2];
  cpu::Prob prob;
};

bool pair_of(PyObject* p, PyObject* q, int64_t samples, Pair& pair) {
  pair.prob = cpu::Prob{doubles(p, samples, pair.rooms[0]), doubles(q, samples, pair.rooms[1])};
  return pair.prob.p != nullptr && pair.prob.q != nullptr && cpu::good_pair(pair.prob, samples);
}

// From the arguments (seed, first_sample, call, threads, isa). False where the counter has no room for x.
bool fill_common(const Tensor& x, PyObject* const* a, cpu::Common& op) {
  op.samples = x.shape[0];
  op.elements = 1;
  for (int d = 1; d < x.ndim; ++d) op.elements *= x.shape[d];
  const uint64_t seed = PyLong_AsUnsignedLongLong(a[0]);
  const int64_t first_sample = PyLong_AsLongLong(a[1]), words = int64_t{1} << 32;
  op.key = SampleKey{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), static_cast<uint32_t>(first_sample),
                     static_cast<uint32_t>(PyLong_AsUnsignedLong(a[2]))};
  op.threads = static_cast<int>(PyLong_AsLong(a[3]));
  const long isa = PyLong_AsLong(a[4]);
  op.isa = isa < 0 ? chosen : static_cast<cpu::Isa>(isa);
  return op.samples > 0 && op.elements > 0 && op.elements < words && first_sample + op.samples <= words;
}

// A tuple of new tensors like `x` for the bits of `mask`, the last in float32, and None for the others; their views.
PyObject* make_outputs(PyObject* x, long mask, cpu::View* const* views, int count) {
  static PyObject* const names = Py_BuildValue("(s)", "dtype");
  PyObject* outputs = PyTuple_New(count);
  for (int i = 0; outputs != nullptr && i < count; ++i) {
    const bool last = i == count - 1;
    PyObject* const arguments[] = {x, torch.float32};
    PyObject* made = Py_None;
    if (mask >> i & 1) made = PyObject_Vectorcall(torch.empty_like, arguments, 1, last ? names : nullptr);
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
  if (outputs == nullptr) return nullptr;
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

bool is_bytes(const Tensor& x) { return x.code == kUnsigned && x.bits == 8; }

// thin(seed, first_sample, call, threads, isa, x_0, p, q, center, scale, max_count, mask) -> (x_t, births, model_input) or None
PyObject* thin(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Thin op;
  Tensor x;
  Pair alive;
  std::vector<float> center, scale;
  if (count != 12 || !borrow(a[5], x) || !is_bytes(x) || !fill_common(x, a, op) || !pair_of(a[6], a[7], op.samples, alive) ||
      !floats(a[8], op.samples, kAny, center) || !floats(a[9], op.samples, kAny, scale))
    Py_RETURN_NONE;
  op.x_0 = view_of(x, cpu::Dtype::u8);
  op.alive = alive.prob;
  op.input.center = center.data();
  op.input.scale = scale.data();
  op.max_count = PyLong_AsLong(a[10]);
  cpu::View* const views[] = {&op.x_t, &op.births, &op.input.out};
  return run(cpu::thin, op, make_outputs(a[5], PyLong_AsLong(a[11]), views, 3));
}

// bridge(seed, first_sample, call, threads, isa, x_t, logits, p, q, gain, center, scale, max_count, stochastic, mask)
// -> (x_s, model_input) or None; logits float32, of x_t's shape
PyObject* bridge(PyObject*, PyObject* const* a, Py_ssize_t count) {
  cpu::Bridge op;
  Tensor x, logits;
  Pair birth;
  std::vector<float> gain, center, scale;
  if (count != 15 || !borrow(a[5], x) || !is_bytes(x) || !fill_common(x, a, op) || !borrow(a[6], logits) ||
      logits.code != kFloat || logits.bits != 32 || logits.ndim != x.ndim ||
      !std::equal(x.shape, x.shape + x.ndim, logits.shape) || !pair_of(a[7], a[8], op.samples, birth) ||
      !floats(a[9], op.samples, 0.0f, gain) || !floats(a[10], op.samples, kAny, center) ||
      !floats(a[11], op.samples, kAny, scale))
    Py_RETURN_NONE;
  op.x_t = view_of(x, cpu::Dtype::u8);
  op.logits = view_of(logits, cpu::Dtype::f32);
  op.birth = birth.prob;
  op.gain = gain.data();
  op.input.center = center.data();
  op.input.scale = scale.data();
  op.max_count = PyLong_AsLong(a[12]);
  op.stochastic = PyLong_AsLong(a[13]) != 0;
  cpu::View* const views[] = {&op.x_s, &op.input.out};
  return run(cpu::bridge, op, make_outputs(a[5], PyLong_AsLong(a[14]), views, 2));
}

template <PyObject* (*Function)(PyObject*, PyObject* const*, Py_ssize_t)>
PyMethodDef method(const char* name) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(Function)), METH_FASTCALL, nullptr};
}

PyMethodDef methods[] = {method<learn_torch>("learn_torch"), method<thin>("quick_thin"), method<bridge>("quick_bridge"),
                         {nullptr, nullptr, 0, nullptr}};

}  // namespace

int add_quick(PyObject* module, cpu::Isa isa) {
  chosen = isa;
  return PyModule_AddFunctions(module, methods);
}

}  // namespace fastblackout
