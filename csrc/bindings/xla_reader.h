// Fills an op of the CPU's kernels from the buffers that XLA hands to a handler (xla.cpp), for one slice of those that jax.vmap makes.
// The fields of the op's list in fastblackout/ops.h are read from the arguments in turn; fastblackout/jax/layout.py lays them out and has
// checked all but values: which there are, their shapes and dtypes.
//   an array               of the shape of all arrays, or 1 in places where it is spread over them
//   a probability          p, and q or none, which is then 1 - p
//   numbers of samples     (1,) or (samples,), of any real dtype
//   a key                  its four words, uint32: of the seed, the first sample, the call
// float64, which JAX has only when told so, comes as uint32 with a last dimension of 2. Axes of vmap come first, of size 1 where an
// argument is the same for all slices; results always have them.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/room.h"
#include "bindings/xla_ffi.h"

namespace fastblackout {
namespace {

// What a call says beside its buffers.
struct XlaCall {
  const xla::CallFrame& frame;
  int64_t rank;            // of the arrays, without the axes of vmap
  int64_t given, made;     // a bit for each argument that may be left out, and for each output, whether it is there
  int64_t max_count, choice, threads, isa;
  std::string said;        // the op's name for errors, then those of its numbers, each followed by >0 or >=0 where it is bounded so
  int64_t added, slices = 1;
  const int64_t* sizes;    // of the axes of vmap

  explicit XlaCall(const xla::CallFrame& call)
      : frame(call), rank(number("rank")), given(number("given")), made(number("made")), max_count(number("max_count")),
        choice(number("choice")), threads(number("threads")), isa(number("isa")) {
    const auto* text = static_cast<const xla::Text*>(attribute("said", xla::AttributeType::string));
    said.assign(text->data, text->size);
    added = result(0).rank - number("result_rank");
    sizes = result(0).sizes;
    for (int64_t d = 0; d < added; ++d) slices *= sizes[d];
  }

  const xla::Buffer& argument(int64_t i) const { return buffer(frame.arguments, i); }
  const xla::Buffer& result(int64_t i) const { return buffer(frame.results, i); }

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
  // most_rank: that of an array of its kind, above which uint32 are pairs that make float64
  XlaArray(const xla::Buffer& buffer, const XlaCall& call, int64_t slice, int64_t most_rank)
      : type(buffer.type), rank(buffer.rank - call.added), sizes(buffer.sizes + call.added) {
    if (type == xla::Type::u32 && rank > most_rank) {
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
    data = static_cast<char*>(buffer.data) + at * bytes();
  }

  int64_t bytes() const {
    switch (type) {
      case xla::Type::pred: case xla::Type::s8: case xla::Type::u8: return 1;
      case xla::Type::s16: case xla::Type::u16: case xla::Type::f16: case xla::Type::bf16: return 2;
      case xla::Type::s32: case xla::Type::u32: case xla::Type::f32: return 4;
      default: return 8;
    }
  }

  double number(int64_t i) const {
    switch (type) {
      case xla::Type::pred: case xla::Type::u8: return at<uint8_t>(i);
      case xla::Type::s8: return at<int8_t>(i);
      case xla::Type::s16: return at<int16_t>(i);
      case xla::Type::u16: return at<uint16_t>(i);
      case xla::Type::s32: return at<int32_t>(i);
      case xla::Type::u32: return at<uint32_t>(i);
      case xla::Type::s64: return static_cast<double>(at<int64_t>(i));
      case xla::Type::u64: return static_cast<double>(at<uint64_t>(i));
      case xla::Type::f16: return cpu::half_to_float(at<uint16_t>(i));
      case xla::Type::bf16: return cpu::bfloat_to_float(at<uint16_t>(i));
      case xla::Type::f32: return at<float>(i);
      case xla::Type::f64: return at<double>(i);
    }
    throw std::logic_error("numbers of an unknown dtype");
  }

  cpu::Dtype dtype() const {
    switch (type) {
      case xla::Type::u8: return cpu::Dtype::u8;
      case xla::Type::s16: return cpu::Dtype::i16;
      case xla::Type::s32: return cpu::Dtype::i32;
      case xla::Type::s64: return cpu::Dtype::i64;
      case xla::Type::f32: return cpu::Dtype::f32;
      case xla::Type::f64: return cpu::Dtype::f64;
      case xla::Type::bf16: return cpu::Dtype::bf16;
      case xla::Type::f16: return cpu::Dtype::f16;
      default: throw std::logic_error("an array of an unknown dtype");
    }
  }

 private:
  template <class T>
  T at(int64_t i) const {
    T value;
    std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return value;
  }
};

class XlaReader {
 public:
  // like_result: the shape of all arrays is that of the result, else that of the first argument.
  XlaReader(const XlaCall& call, int64_t slice, bool like_result, cpu::Common& op)
      : call_(call), slice_(slice), op_(op), first_(like_result ? call.result(0) : call.argument(0), call, slice, call.rank), said_(call.said) {
    (void)word();
    op.samples = first_.rank > 0 ? first_.sizes[0] : 1;
    op.elements = op.samples > 0 ? first_.count / op.samples : 0;
  }

  template <class... Fields>
  void operator()(Fields&... fields) {
    (take(fields), ...);
  }
  template <class... Fields>
  void outputs(Fields&... fields) {
    (give(fields), ...);
  }
  void either(cpu::View& given, bool& is_second) {
    cpu::View second;
    (*this)(given, second);
    is_second = !given;
    if (is_second) given = second;
  }
  void optional(cpu::Prob& prob) { take(prob); }
  void at_least(float, cpu::PerSample<float>& number) { take(number); }
  void choice(bool& is_first, const char*, const char*) { is_first = call_.choice != 0; }
  // Numbers that may be any, such as the gradient by a loss.
  void unchecked(cpu::PerSample<float>& number) { number = kept(*next(), floats_[used_floats_++]); }

  Room<double>& room() { return doubles_[used_doubles_++]; }
  // Has the kernel write int64 where the result is int32.
  void widen(cpu::View& out) {
    if (out.dtype != cpu::Dtype::i32) return;
    out.data = reinterpret_cast<char*>(widened(out.data, op_.samples * op_.elements));
    out.dtype = cpu::Dtype::i64;
  }
  // Brings what was widened to its result. what: the op, and the argument by which it is too large.
  void narrow(const char* what) const {
    for (size_t i = 0; i < wide_.size(); ++i) {
      if (wide_[i] > std::numeric_limits<int32_t>::max())
        throw std::invalid_argument(std::string(what) + ": counts above 2^31 - 1 need jax_enable_x64, got " + std::to_string(wide_[i]));
      narrow_[i] = static_cast<int32_t>(wide_[i]);
    }
  }

 private:
  const XlaCall& call_;
  const int64_t slice_;
  cpu::Common& op_;
  const XlaArray first_;
  std::string said_;  // what is left of it
  int64_t slot_ = 0, argument_ = 0, output_ = 0, result_ = 0;
  Room<double> doubles_[5];
  Room<float> floats_[4];
  int used_doubles_ = 0, used_floats_ = 0;
  std::vector<int64_t> wide_;
  int32_t* narrow_ = nullptr;

  // The next argument and the next result; null where it is left out.
  const xla::Buffer* next() { return call_.given >> slot_++ & 1 ? &call_.argument(argument_++) : nullptr; }
  const xla::Buffer* next_result() { return call_.made >> output_++ & 1 ? &call_.result(result_++) : nullptr; }

  std::string word() {
    const size_t end = said_.find(' ');
    const std::string word = said_.substr(0, end);
    said_.erase(0, end == std::string::npos ? end : end + 1);
    return word;
  }

  [[noreturn]] void refuse(const std::string& argument, const std::string& rule) const {
    throw std::invalid_argument(call_.said.substr(0, call_.said.find(' ')) + ": " + argument + ": " + rule);
  }

  template <class T>
  cpu::PerSample<T> kept(const xla::Buffer& buffer, Room<T>& room) const {
    const XlaArray array(buffer, call_, slice_, 1);
    return room.keep(array.count, [&array](int64_t i) { return array.number(i); });
  }

  template <class T>
  cpu::PerSample<T> checked(Room<T>& room) {
    const cpu::PerSample<T> made = kept(*next(), room);
    const std::string said = word();
    const size_t end = said.find('>');
    const bool bounded = end != std::string::npos, is_open = bounded && said.substr(end) == ">0";
    for (int64_t i = 0; i < made.distinct(op_.samples); ++i) {
      if (std::isfinite(made[i]) && (!bounded || (is_open ? made[i] > 0 : made[i] >= 0))) continue;
      char rule[96];
      std::snprintf(rule, sizeof(rule), "must be finite%s, got %.17g", !bounded ? "" : is_open ? " and above 0" : " and at least 0",
                    static_cast<double>(made[i]));
      refuse(said.substr(0, end), rule);
    }
    return made;
  }

  void take(cpu::PerSample<double>& number) { number = checked(room()); }
  void take(cpu::PerSample<float>& number) { number = checked(floats_[used_floats_++]); }
  void take(int64_t& max_count) { max_count = call_.max_count; }

  void take(cpu::Prob& prob) {
    const xla::Buffer *const p = next(), *const q = next();
    if (p == nullptr) return;
    prob.p = kept(*p, room());
    if (q != nullptr) prob.q = kept(*q, room());
    else prob.q = room().keep(prob.p.distinct(op_.samples), [&prob](int64_t i) { return 1.0 - prob.p[i]; });
  }

  void take(SampleKey& key) {
    const XlaArray words(*next(), call_, slice_, 1);
    uint32_t each[4];
    std::memcpy(each, words.data, sizeof(each));
    key = SampleKey{each[0], each[1], each[2], each[3]};
    if (static_cast<int64_t>(key.sample) + op_.samples > int64_t{1} << 32)
      refuse("rng", "first_sample + samples must be at most 2^32, got " + std::to_string(key.sample) + " + " + std::to_string(op_.samples));
  }

  void take(cpu::View& view) {
    if (const xla::Buffer* given = next()) read(*given, view);
  }

  void read(const xla::Buffer& buffer, cpu::View& view) const {
    const XlaArray array(buffer, call_, slice_, first_.rank);
    if (array.rank != first_.rank) throw std::logic_error("an array has another rank");
    view.data = array.data;
    view.dtype = array.dtype();
    cpu::Merge merge(view);
    int64_t stride = array.count;
    for (int64_t d = 0; d < array.rank; ++d) {
      stride /= array.sizes[d];
      const int64_t step = array.sizes[d] == first_.sizes[d] ? stride : 0;
      if (d == 0) view.sample_stride = step;
      else merge.append(first_.sizes[d], step);
    }
  }

  void give(cpu::View& view) {
    if (const xla::Buffer* made = next_result()) read(*made, view);
  }
  void give(float*& memory) {
    if (const xla::Buffer* made = next_result()) memory = reinterpret_cast<float*>(XlaArray(*made, call_, slice_, 1).data);
  }
  void give(int64_t*& counter) {
    const xla::Buffer* made = next_result();
    if (made == nullptr) return;
    const XlaArray array(*made, call_, slice_, 1);
    counter = array.type == xla::Type::s64 ? reinterpret_cast<int64_t*>(array.data) : widened(array.data, op_.samples);
  }

  int64_t* widened(char* result, int64_t count) {
    narrow_ = reinterpret_cast<int32_t*>(result);
    wide_.resize(static_cast<size_t>(count));
    return wide_.data();
  }
};

}  // namespace
}  // namespace fastblackout
