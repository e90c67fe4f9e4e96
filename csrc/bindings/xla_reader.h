// Fills an op from the buffers that XLA hands to a handler (xla.cpp, xla_device.cpp), for one slice of those that jax.vmap makes.
// The fields of the op's list in fastblackout/ops.h are read from the arguments in turn; fastblackout/jax/layout.py lays them out and has
// checked all but values: which there are, their shapes and dtypes.
//   an array               of the shape of all arrays, or 1 in places where it is spread over them
//   a probability          p, and q or none, which is then 1 - p
//   numbers of samples     (1,) or (samples,), of any real dtype
//   a key                  seed, first sample and call, int64, which comes as six uint32
// float64, which JAX has only when told so, comes as uint32 with a last dimension of 2. Axes of vmap come first, of size 1 where an
// argument is the same for all slices; results always have them. What differs between host and device is a class each, `Target`:
// xla_host.h and xla_device.h.
#pragma once

#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "bindings/array.h"
#include "bindings/xla_ffi.h"
#include "fastblackout/ops.h"

namespace fastblackout {
namespace {

// What a call says beside its buffers.
struct XlaCall {
  const xla::CallFrame& frame;
  int64_t rank;            // of the arrays, without the axes of vmap
  int64_t present, wanted; // a bit for each argument that may be left out, and for each output, whether it is there
  int64_t max_count, choice, threads, isa;
  std::string names;        // for errors: the op's name, then the names of its numbers
  int64_t added, slices = 1;
  const int64_t* sizes;    // of the axes of vmap

  explicit XlaCall(const xla::CallFrame& call)
      : frame(call), rank(number("rank")), present(number("present")), wanted(number("wanted")), max_count(number("max_count")),
        choice(number("choice")), threads(number("threads")), isa(number("isa")) {
    const auto* text = static_cast<const xla::Text*>(attribute("names", xla::AttributeType::string));
    names.assign(text->data, text->size);
    added = result(0).rank - number("result_rank");
    sizes = result(0).sizes;
    for (int64_t d = 0; d < added; ++d) slices *= sizes[d];
  }

  const xla::Buffer& argument(int64_t i) const { return buffer(frame.arguments, i); }
  const xla::Buffer& result(int64_t i) const { return buffer(frame.results, i); }
  const xla::Buffer& last_result() const { return result(frame.results.count - 1); }
  std::string op() const { return names.substr(0, names.find(' ')); }
  [[noreturn]] void refuse(const std::string& text) const { throw std::invalid_argument(op() + ": " + text); }

 private:
  static const xla::Buffer& buffer(const xla::Buffers& all, int64_t i) {
    if (i >= all.count || all.kinds[i] != xla::kBuffer) throw std::logic_error("a buffer is missing");
    return *static_cast<const xla::Buffer*>(all.each[i]);
  }
  const void* attribute(const char* name, xla::AttributeType type) const {
    const xla::Attributes& all = frame.attributes;
    for (int64_t i = 0; i < all.count; ++i) {
      const xla::Text& each = *all.names[i];
      if (each.size == std::strlen(name) && std::memcmp(each.data, name, each.size) == 0 && all.types[i] == type) return all.each[i];
    }
    throw std::logic_error(std::string("no attribute ") + name);
  }
  int64_t number(const char* name) const {
    const auto* scalar = static_cast<const xla::Scalar*>(attribute(name, xla::AttributeType::scalar));
    if (scalar->type != xla::Type::s64) throw std::logic_error(std::string("no int64: ") + name);
    return *static_cast<const int64_t*>(scalar->data);
  }
};

// An argument or a result without the axes of vmap: its memory in this slice, and its sizes.
struct XlaArray {
  xla::Type type;
  char* data;
  int64_t rank, count = 1;
  const int64_t* sizes;
  // max_rank: the most dimensions of an array of its kind, above which uint32 are pairs that make float64
  XlaArray(const xla::Buffer& buffer, const XlaCall& call, int64_t slice, int64_t max_rank)
      : type(buffer.type), rank(buffer.rank - call.added), sizes(buffer.sizes + call.added) {
    if (type == xla::Type::u32 && rank > max_rank) {
      type = xla::Type::f64;
      --rank;
    }
    for (int64_t d = 0; d < rank; ++d) count *= sizes[d];
    int64_t at = 0, step = count;
    for (int64_t d = call.added - 1; d >= 0; slice /= call.sizes[d--]) {
      if (buffer.sizes[d] == 1) continue;
      at += slice % call.sizes[d] * step;
      step *= buffer.sizes[d];
    }
    data = static_cast<char*>(buffer.data) + at * xla::bytes_of(type);
  }

  double number(int64_t i) const { return xla::number_at(type, data, i); }

  bindings::Dtype dtype() const {
    switch (type) {
      case xla::Type::u8: return bindings::Dtype::u8;
      case xla::Type::s16: return bindings::Dtype::i16;
      case xla::Type::s32: return bindings::Dtype::i32;
      case xla::Type::s64: return bindings::Dtype::i64;
      case xla::Type::f32: return bindings::Dtype::f32;
      case xla::Type::f64: return bindings::Dtype::f64;
      case xla::Type::bf16: return bindings::Dtype::bf16;
      case xla::Type::f16: return bindings::Dtype::f16;
      default: throw std::logic_error("an array of an unknown dtype");
    }
  }
};

template <class Target>
class XlaReader {
  using Backend = typename Target::Backend;
  using View = typename Backend::View;
  using Prob = typename Backend::Prob;
  using Counter = typename Backend::Counter;
  using Key = decltype(Backend::Common::key);
  template <class T>
  using PerSample = typename Backend::template PerSample<T>;

 public:
  // All arrays have the shape of the first argument, or of the result for an op with numbers of each element.
  template <class Op>
  XlaReader(const XlaCall& call, int64_t slice, Target& target, Op& op)
      : call_(call), slice_(slice), target_(target), first_(of_elements<Op> ? call.result(0) : call.argument(0), call, slice, call.rank),
        names_(call.names) {
    (void)word();
    op.samples = first_.rank > 0 ? first_.sizes[0] : 1;
    op.elements = op.samples > 0 ? first_.count / op.samples : 0;
    target_.begin(op);
  }

  template <class... Fields>
  void operator()(Fields&... fields) {
    (take(fields), ...);
  }
  template <class... Fields>
  void elements(Fields&... fields) {
    (*this)(fields...);
  }
  template <class... Fields>
  void outputs(Fields&... fields) {
    (give(fields), ...);
  }
  void either(View& view, bool& is_second) {
    View second;
    (*this)(view, second);
    is_second = view.data == nullptr;
    if (is_second) view = second;
  }
  template <class Op>
  void scratch(Op&) const {}  // the target makes it
  void optional(Prob& prob) { take(prob); }
  template <class T, class Number>
  void at_least(T low, Number& number) {
    const XlaArray array = row(*next());
    target_.number(array, word(), low, number);
  }
  void choice(bool& is_first, const char*, const char*) { is_first = call_.choice != 0; }
  // Multiplies numbers that have been read by the next argument's, which may be any, such as the gradient by a loss.
  void multiply(PerSample<double>& number) { target_.multiply(row(*next()), number); }

 private:
  template <class Op>
  static constexpr bool of_elements =
      std::is_base_of<ops::Binomial<Backend>, Op>::value || std::is_base_of<ops::Poisson<Backend>, Op>::value;

  const XlaCall& call_;
  const int64_t slice_;
  Target& target_;
  const XlaArray first_;
  std::string names_;  // what is left of it
  int64_t slot_ = 0, argument_ = 0, output_ = 0, result_ = 0;

  // The next argument and the next result; null where it is left out.
  const xla::Buffer* next() { return call_.present >> slot_++ & 1 ? &call_.argument(argument_++) : nullptr; }
  const xla::Buffer* next_result() { return call_.wanted >> output_++ & 1 ? &call_.result(result_++) : nullptr; }
  XlaArray row(const xla::Buffer& buffer) const { return XlaArray(buffer, call_, slice_, 1); }

  std::string word() {
    const size_t end = names_.find(' ');
    const std::string word = names_.substr(0, end);
    names_.erase(0, end == std::string::npos ? end : end + 1);
    return word;
  }

  template <class T>
  void take(PerSample<T>& number) {
    at_least(-std::numeric_limits<T>::infinity(), number);
  }
  void take(int64_t& max_count) { max_count = call_.max_count; }

  void take(Prob& prob) {
    const xla::Buffer *const p = next(), *const q = next();
    if (p == nullptr) return;
    target_.number(row(*p), prob.p);
    if (q != nullptr) target_.number(row(*q), prob.q);
    else target_.complement(row(*p), prob.q);
  }

  void take(Key& key) { target_.key(row(*next()), key); }

  void take(View& view) {
    if (const xla::Buffer* argument = next()) read(*argument, view);
  }

  void read(const xla::Buffer& buffer, View& view) const {
    const XlaArray array(buffer, call_, slice_, first_.rank);
    if (array.rank != first_.rank) throw std::logic_error("an array has another rank");
    std::vector<int64_t> strides(static_cast<size_t>(array.rank));
    int64_t stride = array.count;
    for (int64_t d = 0; d < array.rank; ++d) {
      stride /= array.sizes[d];
      strides[static_cast<size_t>(d)] = array.sizes[d] == first_.sizes[d] ? stride : 0;
    }
    const bindings::Array described{array.data, array.dtype(), static_cast<int>(array.rank), first_.sizes, strides.data()};
    if (!fill(described, view)) call_.refuse(bindings::too_many_dimensions<View>());
  }

  void give(View& view) {
    if (const xla::Buffer* result = next_result()) read(*result, view);
  }
  void give(float*& memory) {
    if (const xla::Buffer* result = next_result()) memory = reinterpret_cast<float*>(row(*result).data);
  }
  void give(Counter*& counter) {
    if (const xla::Buffer* result = next_result()) target_.counter(row(*result), counter);
  }
};

}  // namespace
}  // namespace fastblackout
