// Fills an op from the values that a user gave, arrays and Python's numbers, and makes its outputs, for the short way (quick.cpp,
// quick_device.cpp). The fields of the op's list in fastblackout/ops.h are read from the tuple of values in the order in which
// fastblackout/ops declares them. Whatever is not plain, or may be wrong, makes good() false, and the call takes the long way.
//
// A Target says what differs between kernels of the CPU (host_target.h) and of a device (device_target.h), and keeps what the op
// refers to:
//   settle(backend, op)          whether a call with this backend may come here
//   begin(array, op)             whether the op, whose size is known now, runs where its first array lies
//   borrow(value, x)             describes an array, if it lies there too
//   number, pair                 how a number for each sample and a probability become fields
//   scalar(value, whole, x)      how a number beside arrays that broadcast becomes one
//   takes_known_key, key_tensor, give_seed  how a key does
//   kKeepsSlopes                 whether a loss that will be differentiated fills memory of its gradient, too
#pragma once

#include <algorithm>
#include <limits>

#include "bindings/borrow.h"
#include "fastblackout/energy_loss.h"

namespace fastblackout {
namespace {

constexpr int64_t kWords = int64_t{1} << 32;  // how many values a word of the Philox counter has

// Sets of dtypes, a bit for each.
constexpr long bit_of(Dtype dtype) { return 1L << static_cast<int>(dtype); }
constexpr long kFloats = bit_of(Dtype::f32) | bit_of(Dtype::f64) | bit_of(Dtype::bf16) | bit_of(Dtype::f16);
constexpr long kCounts = bit_of(Dtype::u8) | bit_of(Dtype::i16) | bit_of(Dtype::i32) | bit_of(Dtype::i64);

// Sets the size of an op. False where there is nothing to do, or a sample has more elements than a word of the counter counts.
template <class Common>
bool size_of(const bindings::Array& x, Common& op) {
  op.samples = x.dims > 0 ? x.sizes[0] : 1;
  op.elements = 1;
  for (int d = 1; d < x.dims; ++d)
    if (__builtin_mul_overflow(op.elements, x.sizes[d], &op.elements) || op.elements >= kWords) return false;
  return op.samples > 0 && op.elements > 0;
}

// An attribute of a key; false where the key has none of this name.
bool word_of(PyObject* key, PyObject* name, uint64_t& word) {
  const Owned value(PyObject_GetAttr(key, name));
  if (value) word = PyLong_AsUnsignedLongLong(value.get());
  return static_cast<bool>(value);
}

// New arrays of the library and on the device of another, `like`; null with Python's error, or where a mode of torch made something
// else.
struct Maker {
  PyObject* like;
  bool of_torch;

  PyObject* dtype(Dtype dtype) const { return PyTuple_GET_ITEM(of_torch ? known.torch_dtypes : known.numpy_dtypes, static_cast<int>(dtype)); }

  // Of the shape and in the memory order of `like`.
  PyObject* alike(Dtype dtype) const {
    static PyObject* const names = Py_BuildValue("(s)", "dtype");
    PyObject* const arguments[] = {like, this->dtype(dtype)};
    return PyObject_Vectorcall(of_torch ? known.empty_like : known.numpy_empty_like, arguments, 1, names);
  }

  // In C order.
  PyObject* dense(const Owned& shape, Dtype dtype) const { return shape ? filled("new_empty", shape.get(), dtype) : nullptr; }
  PyObject* zeros(int64_t size, Dtype dtype) const {
    const Owned shape(PyLong_FromLongLong(size));
    return shape ? filled("new_zeros", shape.get(), dtype) : nullptr;
  }

 private:
  PyObject* filled(const char* method, PyObject* shape, Dtype dtype) const {
    static PyObject* const names = Py_BuildValue("(s)", "dtype");
    if (!of_torch) {
      PyObject* const arguments[] = {shape, this->dtype(dtype)};
      return PyObject_Vectorcall(known.numpy_empty, arguments, 2, nullptr);
    }
    const Owned made(PyObject_GetAttrString(like, method));
    PyObject* const arguments[] = {shape, this->dtype(dtype)};
    return made ? PyObject_Vectorcall(made.get(), arguments, 1, names) : nullptr;
  }
};

template <class Target>
class CallReader {
  using Backend = typename Target::Backend;
  using Common = typename Backend::Common;
  using View = typename Backend::View;
  using Draws = typename Backend::Draws;
  using Prob = typename Backend::Prob;
  using Counter = typename Backend::Counter;
  using Key = decltype(Common::key);
  template <class T>
  using PerSample = typename Backend::template PerSample<T>;

 public:
  // spec: Declaration.spec of fastblackout/call/declared.py.
  CallReader(Target target, PyObject* backend, PyObject* values, PyObject* spec, Common& op)
      : target_(std::move(target)), values_(values), op_(op), good_(target_.settle(backend, op)) {
    PyObject* const dtypes = PyTuple_GET_ITEM(spec, 0);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(dtypes); ++i) dtypes_[i] = PyLong_AsLong(PyTuple_GET_ITEM(dtypes, i));
    names_ = PyTuple_GET_ITEM(spec, 1);
    result_ = PyTuple_GET_ITEM(spec, 2);
    output_ = static_cast<Dtype>(PyLong_AsLong(PyTuple_GET_ITEM(spec, 3)));
    laws_ = PyTuple_GET_ITEM(spec, 4);
  }
  CallReader(const CallReader&) = delete;

  bool good() const { return good_; }
  Target& target() { return target_; }
  Maker maker() const { return {first_, x_.is_tensor}; }
  // Of a loss whether a gradient by what a network gives may be asked for, and whether all of that is float32.
  bool graded() const { return graded_; }
  bool single() const { return single_; }

  // Notes which outputs are to be made, of an op that has names of them; false for a request that is not plain.
  bool asks_for(PyObject* request) {
    if (names_ == Py_None) {
      asked_ = ~0L;
      return PyTuple_GET_SIZE(request) == 0;
    }
    PyObject *const outputs = PyTuple_GET_ITEM(request, 0), *const dtype = PyTuple_GET_ITEM(request, 1);
    if (PyTuple_GET_ITEM(request, 2) != Py_None || !PyUnicode_CheckExact(dtype)) return false;
    input_ = is_text(dtype, "float32") ? Dtype::f32 : is_text(dtype, "float64") ? Dtype::f64 : is_text(dtype, "float16") ? Dtype::f16
             : is_text(dtype, "bfloat16") ? Dtype::bf16 : Dtype::other;
    if (input_ == Dtype::other) return false;
    if (PyUnicode_CheckExact(outputs)) return asks_for_one(outputs);
    if (!PyTuple_CheckExact(outputs) && !PyList_CheckExact(outputs)) return false;
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(outputs);
    for (Py_ssize_t i = 0; i < count; ++i)
      if (!asks_for_one(PySequence_Fast_GET_ITEM(outputs, i))) return false;
    return count > 0;
  }

  template <class... Fields>
  void operator()(Fields&... fields) {
    ((good_ = good_ && take(next(), fields)), ...);
  }

  // A tuple of arrays and numbers that broadcast to one shape. At its end a pair may stand for two. What is left over stays null.
  template <class... Views>
  void elements(Views&... views) {
    constexpr int most = sizeof...(views);
    View* const fields[] = {&views...};
    Borrowed each[most];
    int count = 0;
    PyObject* const tuple = next();
    for (Py_ssize_t i = 0; good_ && i < PyTuple_GET_SIZE(tuple); ++i) {
      PyObject* const value = PyTuple_GET_ITEM(tuple, i);
      const long dtypes = dtypes_[i];
      if (reinterpret_cast<PyObject*>(Py_TYPE(value)) != known.prob) {
        good_ = count < most && element(value, dtypes, each[count]);
        ++count;
        continue;
      }
      good_ = i + 1 == PyTuple_GET_SIZE(tuple) && count + 1 < most && element(PyTuple_GET_ITEM(value, 0), bit_of(Dtype::f64), each[count]) &&
              element(PyTuple_GET_ITEM(value, 1), bit_of(Dtype::f64), each[count + 1]);
      count += 2;
    }
    good_ = good_ && broadcast(each, count) && size_of(x_, op_) && target_.begin(first_, op_);
    for (int i = 0; good_ && i < count; ++i) good_ = fill(spread(each[i]), *fields[i]);
    x_.dtype = each[0].dtype;
    dense_ = true;
  }

  // Makes the outputs asked for. The last array of an op with names is the model input, in the dtype that was asked for; the others have
  // the dtype of the first argument, or the op's own.
  template <class... Fields>
  void outputs(Fields&... fields) {
    if (good_) outputs_ = Owned(PyTuple_New(sizeof...(fields)));
    good_ = static_cast<bool>(outputs_);
    int at = 0;
    ((good_ = good_ && make(at, fields), ++at), ...);
  }

  void either(View& view, bool& is_second) {
    if (!good_) return;  // then some values have been passed over, and the next one may be no pair
    PyObject *const pair = next(), *const logits = PyTuple_GET_ITEM(pair, 0), *const births = PyTuple_GET_ITEM(pair, 1);
    is_second = logits == Py_None;
    if ((births == Py_None) == is_second) good_ = false;
    else if (is_second) ++array_, good_ = take(births, view);
    else good_ = take(logits, view), ++array_;
  }

  // (name of a law, its arrays)
  void head(int64_t& family, View (&arrays)[ops::kMostHead]) {
    if (!good_) return;
    PyObject* const pair = next();
    given_ = PyTuple_GET_ITEM(pair, 1);
    const long dtypes = dtypes_[array_++];
    good_ = find_law(PyTuple_GET_ITEM(pair, 0), family) && (PyTuple_CheckExact(given_) || PyList_CheckExact(given_));
    for (Py_ssize_t i = 0; good_ && i < PySequence_Fast_GET_SIZE(given_); ++i) {
      PyObject* const value = PySequence_Fast_GET_ITEM(given_, i);
      Borrowed x;
      good_ = target_.borrow(value, x) && x.is_tensor == x_.is_tensor && (dtypes & bit_of(x.dtype)) != 0 && has_shape(x) && fill(x, arrays[i]);
      note(value, x);
    }
  }

  void optional(Prob& prob) {
    PyObject* const value = next();
    if (PyFloat_CheckExact(value) ? PyFloat_AS_DOUBLE(value) != 0.0 : !PyLong_CheckExact(value) || PyObject_IsTrue(value) != 0)
      good_ = good_ && take(value, prob);
  }

  template <class T>
  void at_least(T low, PerSample<T>& number) {
    PyObject* value = next();
    // Of a pair the probability is the number.
    if (std::is_same<T, double>::value && reinterpret_cast<PyObject*>(Py_TYPE(value)) == known.prob) value = PyTuple_GET_ITEM(value, 0);
    good_ = good_ && target_.number(value, op_.samples, x_.dims, low, number);
  }

  void choice(bool& is_first, const char* first, const char* second) {
    PyObject* const name = next();
    is_first = is_text(name, first);
    good_ = good_ && PyUnicode_CheckExact(name) && (is_first || is_text(name, second));
  }

  // Sums of chunks for a loss on a device. They are a call's own: a CUDA graph may own what is allocated while it is captured, and
  // launches on other streams may run beside. When they are freed, torch gives them to work on this stream, behind the kernel.
  template <class Op>
  void scratch(Op& op) {
    const int64_t chunks = op.chunks();
    if (!good_ || chunks <= Op::kUnscratched) return;
    const int64_t each = draws_ > 0 ? norms() : 1;
    scratch_[0] = Owned(maker().dense(Owned(PyLong_FromLongLong(op.samples * chunks * each)), Dtype::f32));
    good_ = lend(scratch_[0], op.chunk_sums);
    if (!good_ || chunks == 1) return;
    scratch_[1] = Owned(maker().zeros(op.samples, Dtype::i32));
    good_ = lend(scratch_[1], op.chunks_done);
  }

  // Memory of the gradient of a loss; null, and the op as it was, after an error.
  template <class Field>
  Owned memory_of(Field& grad) {
    Owned made(like_given(grad));
    if (made && !lend_all(made, grad)) made = Owned();
    return made;
  }

  // Makes an array that a function has made a field of the op; None leaves the field as it is.
  template <class Field>
  bool lend(const Owned& array, Field& field) {
    if (array.get() == Py_None) return true;
    Borrowed x;
    return array && target_.borrow(array.get(), x) && fill(x, field);
  }

  // What was made, as the op returns it: a new reference, or null with Python's error.
  PyObject* take_outputs() {
    if (names_ == Py_None) return Py_NewRef(PyTuple_GET_ITEM(outputs_.get(), 0));
    return PyObject_Call(result_, outputs_.get(), nullptr);
  }
  // All of it in a tuple.
  Owned take_all() { return std::move(outputs_); }

  // Has the op draw its seed where it came without a key, once nothing else can be wrong; false after an error of Python's.
  bool give_seed() { return seed_from_ == nullptr || target_.give_seed(seed_from_, op_); }

 private:
  Target target_;
  PyObject* const values_;
  Py_ssize_t at_ = 0, array_ = 0;  // the next value, and the next array among them
  Common& op_;
  bool good_, dense_ = false;
  bool graded_ = false, single_ = true;
  long dtypes_[8] = {}, asked_ = 0;  // asked_: a bit for each output that is asked for
  PyObject *names_ = Py_None, *result_ = nullptr, *laws_ = Py_None;
  PyObject* given_ = nullptr;  // what a network gives beside the first array: the draws, or the arrays of a law
  int64_t draws_ = 0, most_count_ = std::numeric_limits<int64_t>::max();
  Dtype output_ = Dtype::other, input_ = Dtype::f32;  // dtypes of outputs: the op's own, and the model input's
  PyObject *first_ = nullptr, *seed_from_ = nullptr;
  Owned outputs_, scratch_[2];
  Borrowed x_;  // the first array; of an op whose arguments broadcast their common shape
  int64_t common_[kMostDims], spread_[kMostDims];

  PyObject* next() { return PyTuple_GET_ITEM(values_, at_++); }

  bool asks_for_one(PyObject* name) {
    if (!PyUnicode_CheckExact(name)) return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names_); ++i) {
      PyObject* const known_name = PyTuple_GET_ITEM(names_, i);
      if (known_name != name && PyUnicode_Compare(known_name, name) != 0) continue;
      asked_ |= 1L << i;
      return true;
    }
    return false;
  }

  bool take(PyObject* value, View& view) {
    Borrowed other;
    Borrowed& x = first_ == nullptr ? x_ : other;
    const long dtypes = dtypes_[array_++];
    if (!target_.borrow(value, x) || x.dtype == Dtype::other || (dtypes & bit_of(x.dtype)) == 0) return false;
    if (first_ == nullptr) {
      first_ = value;
      if (x.dims == 0 || !size_of(x, op_) || !target_.begin(value, op_)) return false;
      if (kFloats & bit_of(x.dtype)) note(value, x);
    } else if (!has_shape(x) || ((dtypes & kFloats) == 0 && x.is_tensor != x_.is_tensor)) {
      return false;  // counts are of one library; births, which may be floats, need not be
    }
    return fill(x, view);
  }

  bool has_shape(const Borrowed& x) const { return x.dims == x_.dims && std::equal(x.sizes, x.sizes + x.dims, x_.sizes); }

  // Notes of an array that a network gives what a loss has to know.
  void note(PyObject* value, const Borrowed& x) {
    graded_ = graded_ || (x.is_tensor && differentiable(value));
    single_ = single_ && x.dtype == Dtype::f32;
  }

  // A law by its name among (name, numbers of arrays that it may have, its largest count), whose place is its number.
  bool find_law(PyObject* name, int64_t& family) {
    if (!PyUnicode_CheckExact(name)) return false;
    for (family = 0; family < PyTuple_GET_SIZE(laws_); ++family) {
      PyObject *const law = PyTuple_GET_ITEM(laws_, family), *const numbers = PyTuple_GET_ITEM(law, 1);
      if (PyUnicode_Compare(PyTuple_GET_ITEM(law, 0), name) != 0) continue;
      most_count_ = PyLong_AsLongLong(PyTuple_GET_ITEM(law, 2));
      const Py_ssize_t count = PySequence_Size(given_);
      if (count < 0) PyErr_Clear();
      for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(numbers); ++i)
        if (PyLong_AsSsize_t(PyTuple_GET_ITEM(numbers, i)) == count) return true;
      return false;
    }
    return false;
  }

  int64_t norms() const { return draws_ * (draws_ + 1) / 2; }

  // One of several that broadcast. The first array among them says of which library they are; the others are of it, too.
  bool element(PyObject* value, long dtypes, Borrowed& x) {
    const bool whole = PyLong_CheckExact(value);
    if (whole || PyFloat_CheckExact(value)) {
      x.dims = 0;
      return target_.scalar(value, whole && (dtypes & bit_of(Dtype::i64)) != 0, x) && (dtypes & bit_of(x.dtype)) != 0;
    }
    if (!target_.borrow(value, x) || x.dtype == Dtype::other || (dtypes & bit_of(x.dtype)) == 0) return false;
    if (first_ == nullptr) {
      first_ = value;
      x_.is_tensor = x.is_tensor;
    }
    return x.is_tensor == x_.is_tensor;
  }

  // Sets the common shape of so many arrays; false where there is none.
  bool broadcast(const Borrowed* each, int count) {
    x_.dims = 0;
    x_.sizes = common_;
    for (int i = 0; i < count; ++i) x_.dims = std::max(x_.dims, each[i].dims);
    std::fill(common_, common_ + x_.dims, 1);
    for (int i = 0; i < count; ++i) {
      int64_t* const common = common_ + x_.dims - each[i].dims;
      for (int d = 0; d < each[i].dims; ++d) {
        if (common[d] == 1) common[d] = each[i].sizes[d];
        else if (each[i].sizes[d] != 1 && each[i].sizes[d] != common[d]) return false;
      }
    }
    return true;
  }

  // An array in the common shape. It is valid until the next one.
  bindings::Array spread(const Borrowed& x) {
    const int added = x_.dims - x.dims;
    for (int d = 0; d < x_.dims; ++d) spread_[d] = d < added || x.sizes[d - added] != common_[d] ? 0 : x.strides[d - added];
    return {x.data, x.dtype, x_.dims, common_, spread_};
  }

  bool make(int at, View& view) {
    const bool asked = asked_ >> at & 1;
    const bool input = names_ != Py_None && at + 1 == PyTuple_GET_SIZE(names_);
    const Dtype dtype = input ? input_ : output_ == Dtype::other ? x_.dtype : output_;
    if (input && !x_.is_tensor && dtype == Dtype::bf16) return false;  // which NumPy has not, asked for or not
    PyObject* const made = !asked ? Py_NewRef(Py_None) : dense_ ? maker().dense(Owned(shape()), dtype) : maker().alike(dtype);
    PyTuple_SET_ITEM(outputs_.get(), at, made);
    Borrowed x;
    return !asked || (made != nullptr && target_.borrow(made, x) && fill(x, view));
  }

  // A number for each sample, or of energy_loss its norms.
  bool make(int at, float*& memory) { return put(at, maker().dense(Owned(PyLong_FromLongLong(op_.samples)), Dtype::f32), memory); }
  bool make(int at, double*& memory) {
    const long long samples = op_.samples, each = norms();
    return put(at, maker().dense(Owned(Py_BuildValue("(LL)", samples, each)), Dtype::f64), memory);
  }
  // A gradient by draws, or by the arrays of a law.
  bool make(int at, Draws& grad) { return put(at, like_given(grad), grad); }
  bool make(int at, View (&grads)[ops::kMostHead]) { return put(at, like_given(grads), grads); }

  template <class Field>
  bool put(int at, PyObject* made, Field& field) {
    PyTuple_SET_ITEM(outputs_.get(), at, made);
    return made != nullptr && lend_all(Owned(Py_NewRef(made)), field);
  }

  PyObject* like_given(View&) const { return maker().alike(x_.dtype); }
  PyObject* like_given(Draws&) const { return alike(given_); }
  PyObject* like_given(View (&)[ops::kMostHead]) const {
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(given_);
    Owned made(PyTuple_New(count));
    for (Py_ssize_t i = 0; made && i < count; ++i) {
      PyObject* const one = alike(PySequence_Fast_GET_ITEM(given_, i));
      PyTuple_SET_ITEM(made.get(), i, one);
      if (one == nullptr) return nullptr;
    }
    return made.release();
  }
  PyObject* alike(PyObject* array) const { return PyObject_CallOneArg(x_.is_tensor ? known.empty_like : known.numpy_empty_like, array); }

  template <class Field>
  bool lend_all(const Owned& made, Field& field) {
    return lend(made, field);
  }
  bool lend_all(const Owned& made, View (&fields)[ops::kMostHead]) {
    bool good = true;
    for (Py_ssize_t i = 0; good && i < PyTuple_GET_SIZE(made.get()); ++i) good = lend(Owned(Py_NewRef(PyTuple_GET_ITEM(made.get(), i))), fields[i]);
    return good;
  }

  // A count for each sample, to which kernels of a device add.
  bool make(int at, Counter*& counter) {
    PyObject* const made = maker().zeros(op_.samples, Dtype::i64);
    PyTuple_SET_ITEM(outputs_.get(), at, made);
    Borrowed x;
    if (made == nullptr || !target_.borrow(made, x)) return false;
    counter = reinterpret_cast<Counter*>(x.data);
    return true;
  }

  PyObject* shape() const {
    PyObject* const sizes = PyTuple_New(x_.dims);
    for (int d = 0; sizes != nullptr && d < x_.dims; ++d) PyTuple_SET_ITEM(sizes, d, PyLong_FromLongLong(x_.sizes[d]));
    return sizes;
  }

  // Draws of the shape of the first array.
  bool take(PyObject* value, Draws& draws) {
    Borrowed x;
    const long dtypes = dtypes_[array_++];
    if (!target_.borrow(value, x) || x.is_tensor != x_.is_tensor || x.dtype == Dtype::other || (dtypes & bit_of(x.dtype)) == 0) return false;
    return x.dims == x_.dims + 1 && std::equal(x_.sizes, x_.sizes + x_.dims, x.sizes + 1) && x.sizes[0] >= 2 && x.sizes[0] <= kMostDraws &&
           note_draws(value, x) && fill(x, draws);
  }
  bool note_draws(PyObject* value, const Borrowed& x) {
    note(value, x);
    given_ = value;
    draws_ = x.sizes[0];
    return true;
  }

  // The norms that energy_loss leaves for its gradient.
  bool take(PyObject* value, double*& memory) {
    Borrowed x;
    return target_.borrow(value, x) && x.dtype == Dtype::f64 && x.dims == 2 && x.sizes[0] == op_.samples && x.sizes[1] == norms() && fill(x, memory);
  }

  bool take(PyObject* value, Prob& prob) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(value)) != known.prob) return target_.pair(value, op_.samples, x_.dims, prob);
    return target_.pair(PyTuple_GET_ITEM(value, 0), PyTuple_GET_ITEM(value, 1), op_.samples, x_.dims, prob);
  }

  template <class T>
  bool take(PyObject* value, PerSample<T>& number) {
    return target_.number(value, op_.samples, x_.dims, -std::numeric_limits<T>::infinity(), number);
  }

  // max_count: the largest uint8 where it is not given.
  bool take(PyObject* value, int64_t& number) {
    if (value == Py_None) return x_.dtype == Dtype::u8;  // no law has fewer
    if (!PyLong_CheckExact(value)) return false;
    int overflow;
    number = PyLong_AsLongAndOverflow(value, &overflow);
    const int64_t most = x_.dtype == Dtype::u8    ? 255
                         : x_.dtype == Dtype::i16 ? std::numeric_limits<int16_t>::max()
                         : x_.dtype == Dtype::i32 ? std::numeric_limits<int32_t>::max()
                                                  : int64_t{1} << 53;
    return overflow == 0 && number >= 1 && number <= std::min(most, most_count_);
  }

  // (rng, generator): a fb.Philox, its seed or its tensor, and None; or None and a CPU generator, None for torch's own, from which the
  // op draws a seed.
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
    uint64_t seed, first_sample = 0, call = 0;
    if (PyLong_CheckExact(rng)) {
      seed = PyLong_AsUnsignedLongLong(rng);
      if (PyErr_Occurred()) return PyErr_Clear(), false;
    } else if (reinterpret_cast<PyObject*>(Py_TYPE(rng)) != known.philox) {
      return target_.key_tensor(rng, op_.samples, key);
    } else if (!word_of(rng, seed_name, seed) || !word_of(rng, sample_name, first_sample) || !word_of(rng, call_name, call)) {
      return false;
    }
    bindings::set_key(key, seed, first_sample, call);
    return target_.takes_known_key() && static_cast<int64_t>(first_sample) + op_.samples <= kWords;
  }

  static bool is_cpu_generator(PyObject* generator) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(generator)) != known.generator) return false;
    const Owned device(PyObject_GetAttrString(generator, "device"));
    const Owned type(device ? PyObject_GetAttrString(device.get(), "type") : nullptr);
    return type && is_text(type.get(), "cpu");
  }
};

}  // namespace
}  // namespace fastblackout
