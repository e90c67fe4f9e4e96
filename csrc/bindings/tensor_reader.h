// Fills an op from the values that a user gave, torch's tensors and Python's numbers, for the short way (quick.cpp, quick_device.cpp).
// The fields of the op's list in fastblackout/ops.h are read from the tuple of values in the order in which fastblackout/ops
// declares them. Whatever is not plain, or may be wrong, makes good() false, and the call takes the long way.
//
// A Target says what differs between kernels of the CPU (host_target.h) and of a device (device_target.h), and keeps what the op
// refers to:
//   settle(backend, op)          whether a call with this backend may come here
//   begin(tensor, op)            whether the op, whose size is known now, runs where its first tensor lies
//   borrow(value, x)             describes a tensor, if it lies there too
//   number, pair                 how a number for each sample and a probability become fields
//   takes_known_key, key_tensor, give_seed  how a key does
#pragma once

#include <algorithm>
#include <limits>

#include "bindings/borrow.h"
#include "fastblackout/energy_loss.h"

namespace fastblackout {
namespace {

constexpr int64_t kWords = int64_t{1} << 32;  // how many values a word of the Philox counter has

// Sets the size of an op. False where there is nothing to do, or a sample has more elements than a word of the counter counts.
template <class Common>
bool size_of(const Tensor& x, Common& op) {
  op.samples = x.sizes[0];
  op.elements = 1;
  for (int d = 1; d < x.dims; ++d)
    if (__builtin_mul_overflow(op.elements, x.sizes[d], &op.elements) || op.elements >= kWords) return false;
  return op.samples > 0 && op.elements > 0;
}

// torch.empty_like(like, dtype=dtype)
PyObject* make_like(PyObject* like, PyObject* dtype) {
  static PyObject* const names = Py_BuildValue("(s)", "dtype");
  PyObject* const arguments[] = {like, dtype};
  return PyObject_Vectorcall(torch.empty_like, arguments, 1, names);
}

// An attribute of a key; false where the key has none of this name.
bool word_of(PyObject* key, PyObject* name, uint64_t& word) {
  const Owned value(PyObject_GetAttr(key, name));
  if (value) word = PyLong_AsUnsignedLongLong(value.get());
  return static_cast<bool>(value);
}

template <class Target>
class TensorReader {
  using Backend = typename Target::Backend;
  using Common = typename Backend::Common;
  using View = typename Backend::View;
  using Draws = typename Backend::Draws;
  using Prob = typename Backend::Prob;
  using Key = decltype(Common::key);
  template <class T>
  using PerSample = typename Backend::template PerSample<T>;

 public:
  // a: the backend, and the tuple of values. from, to: the first and the last of the dtypes that the first tensor may have.
  TensorReader(Target target, PyObject* const* a, Dtype from, Dtype to, Common& op)
      : target_(std::move(target)), values_(a[1]), from_(from), to_(to), op_(op), good_(target_.settle(a[0], op)) {}
  TensorReader(const TensorReader&) = delete;

  bool good() const { return good_; }
  Target& target() { return target_; }
  PyObject* first() const { return first_; }

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
    View* const each[] = {&views...};
    constexpr int count = sizeof...(views);
    if (good_) outputs_ = Owned(PyTuple_New(count));
    good_ = static_cast<bool>(outputs_);
    for (int i = 0; good_ && i < count; ++i) {
      const bool asked = mask_ >> i & 1;
      PyObject* const output = !asked        ? Py_NewRef(Py_None)
                             : i + 1 < count ? PyObject_CallOneArg(torch.empty_like, first_)
                                             : make_like(first_, torch.float32);
      PyTuple_SET_ITEM(outputs_.get(), i, output);
      Tensor tensor;
      good_ = !asked || (output != nullptr && target_.borrow(output, tensor) && fill(tensor, *each[i]));
    }
  }

  void either(View& view, bool& is_second) {
    if (!good_) return;  // then some values have been passed over, and the next one may be no pair
    PyObject *const pair = next(), *const logits = PyTuple_GET_ITEM(pair, 0), *const births = PyTuple_GET_ITEM(pair, 1);
    is_second = Target::takes_births && logits == Py_None;
    if (is_second) good_ = take(births, view);
    else good_ = births == Py_None && take(logits, view) && target_.takes_logits(static_cast<Dtype>(view.dtype));
  }

  void optional(Prob& prob) {
    PyObject* const value = next();
    if (!PyFloat_CheckExact(value) || PyFloat_AS_DOUBLE(value) != 0.0) good_ = good_ && take(value, prob);
  }

  void at_least(float low, PerSample<float>& number) { good_ = good_ && target_.number(next(), op_.samples, low, number); }

  void choice(bool& is_first, const char* first, const char* second) {
    PyObject* const name = next();
    is_first = is_text(name, first);
    good_ = good_ && PyUnicode_CheckExact(name) && (is_first || is_text(name, second));
  }

  // Makes a tensor that a function has made a field of the op; None leaves the field as it is.
  template <class Field>
  bool lend(const Owned& tensor, Field& field) {
    Tensor x;
    return tensor && (tensor.get() == Py_None || (target_.borrow(tensor.get(), x) && fill(x, field)));
  }

  // The tuple of outputs, whose reference goes to the caller.
  PyObject* take_outputs() { return outputs_.release(); }

  // Sees to the seed of a key that has none; called last, so that a call that is refused draws no seed. False with a Python error.
  bool give_seed() { return seed_from_ == nullptr || target_.give_seed(seed_from_, op_); }

 private:
  Target target_;
  PyObject* const values_;
  Py_ssize_t at_ = 0;
  const Dtype from_, to_;
  Common& op_;
  bool good_;
  long mask_ = 0;  // a bit for each output that is asked for
  PyObject *first_ = nullptr, *seed_from_ = nullptr;
  Owned outputs_;
  Tensor x_;  // the first tensor

  PyObject* next() { return PyTuple_GET_ITEM(values_, at_++); }

  bool take(PyObject* value, View& view) {
    Tensor other;
    Tensor& x = first_ == nullptr ? x_ : other;
    if (!target_.borrow(value, x) || x.dtype == Dtype::other) return false;
    if (first_ == nullptr) {
      first_ = value;
      if (x.dtype < from_ || x.dtype > to_ || !size_of(x, op_) || !target_.begin(value, op_)) return false;
    } else if (x.dims != x_.dims || !std::equal(x.sizes, x.sizes + x.dims, x_.sizes)) {
      return false;
    }
    return fill(x, view);
  }

  // Draws of the shape of the first tensor, in float32.
  bool take(PyObject* value, Draws& draws) {
    Tensor x;
    return target_.borrow(value, x) && x.dtype == Dtype::f32 && x.dims == x_.dims + 1 &&
           std::equal(x_.sizes, x_.sizes + x_.dims, x.sizes + 1) && x.sizes[0] >= 2 && x.sizes[0] <= kMostDraws && fill(x, draws);
  }

  bool take(PyObject* value, Prob& prob) {
    if (PyFloat_CheckExact(value)) {
      const double p = PyFloat_AS_DOUBLE(value);
      return target_.pair(p, 1.0 - p, op_.samples, prob);
    }
    return reinterpret_cast<PyObject*>(Py_TYPE(value)) == torch.prob &&
           target_.pair(PyTuple_GET_ITEM(value, 0), PyTuple_GET_ITEM(value, 1), op_.samples, prob);
  }

  bool take(PyObject* value, PerSample<double>& number) { return target_.number(value, op_.samples, number); }

  bool take(PyObject* value, PerSample<float>& number) {
    return target_.number(value, op_.samples, -std::numeric_limits<float>::infinity(), number);
  }

  // max_count: 255 where it is not given.
  bool take(PyObject* value, int64_t& number) {
    if (value == Py_None) return true;
    if (!PyLong_CheckExact(value)) return false;
    int overflow;
    number = PyLong_AsLongAndOverflow(value, &overflow);
    return overflow == 0 && number >= 1 && number <= 255;
  }

  // (rng, generator): a fb.Philox and None, or None and a CPU generator, None for torch's own, from which draw_seed draws; or, for
  // a device, a key in its memory and None.
  bool take(PyObject* value, Key& key) {
    static PyObject* const seed_name = PyUnicode_InternFromString("seed");
    static PyObject* const sample_name = PyUnicode_InternFromString("first_sample");
    static PyObject* const call_name = PyUnicode_InternFromString("call");
    PyObject *const rng = PyTuple_GET_ITEM(value, 0), *const generator = PyTuple_GET_ITEM(value, 1);
    if (op_.samples > kWords) return false;
    if (rng == Py_None) {
      seed_from_ = generator;
      return (generator == Py_None || is_cpu_generator(generator)) && target_.takes_known_key();
    }
    if (generator != Py_None) return false;
    uint64_t seed, first_sample, call;
    if (reinterpret_cast<PyObject*>(Py_TYPE(rng)) != torch.philox) return target_.key_tensor(rng, key);
    if (!target_.takes_known_key() || !word_of(rng, seed_name, seed) || !word_of(rng, sample_name, first_sample) ||
        !word_of(rng, call_name, call))
      return false;
    bindings::set_key(key, seed, first_sample, call);
    return static_cast<int64_t>(first_sample) + op_.samples <= kWords;
  }

  static bool is_cpu_generator(PyObject* generator) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(generator)) != torch.generator) return false;
    const Owned device(PyObject_GetAttrString(generator, "device"));
    const Owned type(device ? PyObject_GetAttrString(device.get(), "type") : nullptr);
    return type && is_text(type.get(), "cpu");
  }
};

}  // namespace
}  // namespace fastblackout
