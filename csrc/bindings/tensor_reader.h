// Fills an op of the CPU's kernels from the values that a user gave, torch's tensors and Python's numbers, for the short way
// (quick.cpp). The fields of the op's list in fastblackout/ops.h are read from the tuple of values in the order in which
// fastblackout/ops declares them. Whatever is not plain, or may be wrong, makes good() false, and the call takes the long way.
#pragma once

#include <algorithm>
#include <limits>

#include "bindings/borrow.h"
#include "fastblackout/energy_loss.h"

namespace fastblackout {
namespace {

constexpr int64_t kWords = int64_t{1} << 32;  // how many values a word of the Philox counter has

// Sets the size of an op. False where there is nothing to do, or a sample has more elements than a word of the counter counts.
bool size_of(const Tensor& x, cpu::Common& op) {
  op.samples = x.shape[0];
  op.elements = 1;
  for (int d = 1; d < x.ndim; ++d)
    if (__builtin_mul_overflow(op.elements, x.shape[d], &op.elements) || op.elements >= kWords) return false;
  return op.samples > 0 && op.elements > 0;
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

bool all_finite(const cpu::PerSample<double>& values, int64_t samples) {
  bool finite = true;
  for (int64_t b = 0; b < values.distinct(samples); ++b) finite = finite && std::isfinite(values[b]);
  return finite;
}

// torch.`make`(argument, dtype=dtype, device="cpu"), whatever torch.set_default_device says
PyObject* make_floats(PyObject* make, PyObject* argument, PyObject* dtype) {
  static PyObject* const names = Py_BuildValue("(ss)", "dtype", "device");
  static PyObject* const device = PyUnicode_InternFromString("cpu");
  PyObject* const arguments[] = {argument, dtype, device};
  return PyObject_Vectorcall(make, arguments, 1, names);
}

// torch.empty(shape, dtype=dtype, device="cpu"); takes the reference to `shape`, null after an error
PyObject* make_empty(PyObject* shape, PyObject* dtype) {
  PyObject* const made = shape == nullptr ? nullptr : make_floats(torch.empty, shape, dtype);
  Py_XDECREF(shape);
  return made;
}

// An attribute of a key; false where the key has none of this name.
bool word_of(PyObject* key, PyObject* name, uint64_t& word) {
  PyObject* const value = PyObject_GetAttr(key, name);
  if (value != nullptr) word = PyLong_AsUnsignedLongLong(value);
  Py_XDECREF(value);
  return value != nullptr;
}

class TensorReader {
 public:
  // chosen: the instruction set to use where none is asked for. first: the dtype that the first tensor must have.
  TensorReader(PyObject* backend, PyObject* values, cpu::Isa chosen, cpu::Dtype first, cpu::Common& op)
      : values_(values), first_dtype_(first), op_(op), good_(settle(backend, chosen, op)) {}
  TensorReader(const TensorReader&) = delete;
  ~TensorReader() { Py_XDECREF(made_); }

  bool good() const { return good_; }

  // Notes which outputs are to be made; false unless the request is for some of `names`, in their order, and in float32.
  bool asks_for(PyObject* request, PyObject* names) {
    PyObject *const outputs = PyTuple_GET_ITEM(request, 0), *const dtype = PyTuple_GET_ITEM(request, 1);
    if (!PyTuple_CheckExact(outputs) || !PyUnicode_CheckExact(dtype) || !is_text(dtype, "float32") ||
        PyTuple_GET_ITEM(request, 2) != Py_None)
      return false;
    const Py_ssize_t asked = PyTuple_GET_SIZE(outputs);
    Py_ssize_t found = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names) && found < asked; ++i) {
      PyObject *const name = PyTuple_GET_ITEM(names, i), *const next = PyTuple_GET_ITEM(outputs, found);
      if (!PyUnicode_CheckExact(next)) return false;
      if (name != next && PyUnicode_Compare(name, next) != 0) continue;
      mask_ |= 1L << i;
      ++found;
    }
    return asked > 0 && found == asked;
  }

  template <class... Fields>
  void operator()(Fields&... fields) {
    ((good_ = good_ && take(next(), fields)), ...);
  }

  // Makes a tuple with new tensors for the outputs asked for and None for the others. The last output of an op, the model input,
  // is float32; the others are counts.
  template <class... Views>
  void outputs(Views&... views) {
    cpu::View* const each[] = {&views...};
    constexpr int count = sizeof...(views);
    if (good_) made_ = PyTuple_New(count);
    for (int i = 0; made_ != nullptr && i < count; ++i) {
      PyObject* made = Py_None;
      if (mask_ >> i & 1) made = i + 1 < count ? PyObject_CallOneArg(torch.empty_like, first_) : make_floats(torch.empty_like, first_, torch.float32);
      else Py_INCREF(made);
      Tensor tensor;
      if (made == nullptr || (made != Py_None && !borrow(made, tensor))) {
        Py_XDECREF(made);
        Py_CLEAR(made_);
      } else {
        if (made != Py_None) *each[i] = view_of(tensor, i + 1 < count ? cpu::Dtype::u8 : cpu::Dtype::f32);
        PyTuple_SET_ITEM(made_, i, made);
      }
    }
    good_ = made_ != nullptr;
  }

  // Takes logits in float32; births that are given go the long way.
  void either(cpu::View& given, bool& is_second) {
    PyObject* const pair = next();
    is_second = false;
    good_ = good_ && PyTuple_GET_ITEM(pair, 1) == Py_None && take(PyTuple_GET_ITEM(pair, 0), given) && given.dtype == cpu::Dtype::f32;
  }

  void optional(cpu::Prob& prob) {
    PyObject* const value = next();
    if (!PyFloat_CheckExact(value) || PyFloat_AS_DOUBLE(value) != 0.0) good_ = good_ && take(value, prob);
  }

  void at_least(float low, cpu::PerSample<float>& number) {
    PyObject* const value = next();
    good_ = good_ && floats(value, op_.samples, low, floats_[used_floats_++], number);
  }

  void choice(bool& is_first, const char* first, const char* second) {
    PyObject* const name = next();
    is_first = is_text(name, first);
    good_ = good_ && PyUnicode_CheckExact(name) && (is_first || is_text(name, second));
  }

  // The tuple of outputs, whose reference goes to the caller.
  PyObject* made() { return std::exchange(made_, nullptr); }

  // Draws the seed of a key that has none; called last, so that a call that is refused draws no seed. False with a Python error.
  bool draw_seed(SampleKey& key) const {
    if (seed_from_ == nullptr) return true;
    PyObject* const seed = PyObject_CallOneArg(torch.fresh_seed, seed_from_);
    if (seed == nullptr) return false;
    set_seed(key, PyLong_AsUnsignedLongLong(seed));
    Py_DECREF(seed);
    return true;
  }

 private:
  PyObject* const values_;
  Py_ssize_t at_ = 0;
  const cpu::Dtype first_dtype_;
  cpu::Common& op_;
  bool good_;
  long mask_ = 0;  // a bit for each output that is asked for
  PyObject *first_ = nullptr, *seed_from_ = nullptr, *made_ = nullptr;
  Tensor x_;  // the first tensor
  Room<double> doubles_[4];
  Room<float> floats_[3];
  int used_doubles_ = 0, used_floats_ = 0;

  PyObject* next() { return PyTuple_GET_ITEM(values_, at_++); }

  static void set_seed(SampleKey& key, uint64_t seed) {
    key.seed_low = static_cast<uint32_t>(seed);
    key.seed_high = static_cast<uint32_t>(seed >> 32);
  }

  bool take(PyObject* value, cpu::View& view) {
    Tensor other;
    Tensor& x = first_ == nullptr ? x_ : other;
    cpu::Dtype dtype;
    if (!borrow(value, x) || !dtype_of(x, dtype)) return false;
    if (first_ == nullptr) {
      first_ = value;
      if (dtype != first_dtype_ || !size_of(x, op_)) return false;
    } else if (x.ndim != x_.ndim || !std::equal(x.shape, x.shape + x.ndim, x_.shape)) {
      return false;
    }
    view = view_of(x, dtype);
    return true;
  }

  // Draws of the shape of the first tensor, in float32.
  bool take(PyObject* value, cpu::Draws& draws) {
    Tensor x;
    cpu::Dtype dtype;
    if (!borrow(value, x) || !dtype_of(x, dtype) || dtype != cpu::Dtype::f32 || x.ndim != x_.ndim + 1 ||
        !std::equal(x_.shape, x_.shape + x_.ndim, x.shape + 1) || x.shape[0] < 2 || x.shape[0] > kMostDraws)
      return false;
    draws = draws_of(x, dtype);
    return true;
  }

  bool take(PyObject* value, cpu::Prob& prob) {
    if (PyFloat_CheckExact(value)) {
      const double p = PyFloat_AS_DOUBLE(value);
      prob.p = doubles_[used_doubles_++].keep(1, [p](int64_t) { return p; });
      prob.q = doubles_[used_doubles_++].keep(1, [p](int64_t) { return 1.0 - p; });
    } else if (reinterpret_cast<PyObject*>(Py_TYPE(value)) != torch.prob ||
               !doubles(PyTuple_GET_ITEM(value, 0), op_.samples, true, doubles_[used_doubles_++], prob.p) ||
               !doubles(PyTuple_GET_ITEM(value, 1), op_.samples, true, doubles_[used_doubles_++], prob.q)) {
      return false;
    }
    return cpu::good_pair(prob, op_.samples);
  }

  bool take(PyObject* value, cpu::PerSample<double>& number) {
    return doubles(value, op_.samples, false, doubles_[used_doubles_++], number) && all_finite(number, op_.samples);
  }

  bool take(PyObject* value, cpu::PerSample<float>& number) {
    return floats(value, op_.samples, -std::numeric_limits<float>::infinity(), floats_[used_floats_++], number);
  }

  // max_count: 255 where it is not given.
  bool take(PyObject* value, int64_t& number) {
    if (value == Py_None) return true;
    if (!PyLong_CheckExact(value)) return false;
    int overflow;
    number = PyLong_AsLongAndOverflow(value, &overflow);
    return overflow == 0 && number >= 1 && number <= 255;
  }

  // (rng, generator): a fb.Philox and None, or None and a CPU generator, None for torch's own, from which draw_seed draws.
  bool take(PyObject* value, SampleKey& key) {
    static PyObject* const seed_name = PyUnicode_InternFromString("seed");
    static PyObject* const sample_name = PyUnicode_InternFromString("first_sample");
    static PyObject* const call_name = PyUnicode_InternFromString("call");
    PyObject *const rng = PyTuple_GET_ITEM(value, 0), *const generator = PyTuple_GET_ITEM(value, 1);
    if (rng == Py_None) {
      seed_from_ = generator;
      return (generator == Py_None || is_cpu_generator(generator)) && op_.samples <= kWords;
    }
    uint64_t seed, first_sample, call;
    if (generator != Py_None || reinterpret_cast<PyObject*>(Py_TYPE(rng)) != torch.philox || !word_of(rng, seed_name, seed) ||
        !word_of(rng, sample_name, first_sample) || !word_of(rng, call_name, call))
      return false;
    set_seed(key, seed);
    key.sample = static_cast<uint32_t>(first_sample);
    key.call = static_cast<uint32_t>(call);
    return static_cast<int64_t>(first_sample) + op_.samples <= kWords;
  }

  static bool is_cpu_generator(PyObject* generator) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(generator)) != torch.generator) return false;
    PyObject* const device = PyObject_GetAttrString(generator, "device");
    PyObject* const type = device == nullptr ? nullptr : PyObject_GetAttrString(device, "type");
    const bool is_cpu = type != nullptr && is_text(type, "cpu");
    Py_XDECREF(device);
    Py_XDECREF(type);
    return is_cpu;
  }
};

// Ends a call whose values are left to the long way, or for which torch made no such tensor as was asked for. It passes an error
// of torch on, but returns None for a RuntimeError, which is lack of memory (the long way raises a MemoryError), and where there
// is no error, as when a mode of torch.overrides made another tensor.
PyObject* give_up() {
  if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_RuntimeError)) return nullptr;
  PyErr_Clear();
  Py_RETURN_NONE;
}

}  // namespace
}  // namespace fastblackout
