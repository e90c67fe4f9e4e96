// What handlers that run the CPU's kernels (xla.cpp) read of XLA's buffers: views, and numbers of the samples, which are checked. XlaHost
// says so to the reader (xla_reader.h), for one slice.
#pragma once

#include <algorithm>
#include <cstdio>
#include <limits>
#include <vector>

#include "bindings/host.h"
#include "bindings/room.h"
#include "bindings/xla_reader.h"

namespace fastblackout {
namespace {

class XlaHost {
 public:
  using Backend = cpu::Backend;

  explicit XlaHost(const XlaCall& call) : call_(call) {}

  void begin(const cpu::Common& op) {
    samples_ = op.samples;
    elements_ = op.elements;
  }

  template <class T>
  void number(const XlaArray& array, cpu::PerSample<T>& number) {
    number = rooms_.next(T()).keep(array.count, [&array](int64_t i) { return array.number(i); });
  }
  template <class T>
  void number(const XlaArray& array, const std::string& name, T low, cpu::PerSample<T>& number) {
    this->number(array, number);
    const int64_t wrong = first_wrong(number, number.distinct(samples_), low);
    if (wrong < 0) return;
    const char* const bound = low > 0 ? " and above 0" : low == 0 ? " and at least 0" : "";
    char rule[96];
    std::snprintf(rule, sizeof(rule), ": must be finite%s, got %.17g", bound, static_cast<double>(number[wrong]));
    call_.refuse(name + rule);
  }
  void complement(const XlaArray& p, cpu::PerSample<double>& q) {
    q = rooms_.next(0.0).keep(p.count, [&p](int64_t i) { return 1.0 - p.number(i); });
  }
  void multiply(const XlaArray& by, cpu::PerSample<double>& number) {
    const int64_t count = std::max(number.distinct(samples_), by.count);
    number = rooms_.next(0.0).keep(count, [&](int64_t b) { return number[b] * by.number(by.count == 1 ? 0 : b); });
  }

  void key(const XlaArray& array, SampleKey& key) const {
    uint32_t words[6];
    std::memcpy(words, array.data, sizeof(words));
    for (int i : {2, 4})
      if (words[i + 1] != 0)
        call_.refuse(std::string("rng: ") + (i == 2 ? "first_sample" : "call") + " must be in 0..4294967295, got " +
                     std::to_string(static_cast<int64_t>(static_cast<uint64_t>(words[i + 1]) << 32 | words[i])));
    key = SampleKey{words[0], words[1], words[2], words[4]};
    if (static_cast<int64_t>(key.sample) + samples_ > int64_t{1} << 32)
      call_.refuse("rng: first_sample + samples must be at most 2^32, got " + std::to_string(key.sample) + " + " + std::to_string(samples_));
  }

  void counter(const XlaArray& result, int64_t*& counter) {
    counter = result.type == xla::Type::s64 ? reinterpret_cast<int64_t*>(result.data) : widened(result.data, samples_);
  }
  // Has the kernel write int64 where the result is int32.
  void widen(cpu::View& out) {
    if (out.dtype != cpu::Dtype::i32) return;
    out.data = reinterpret_cast<char*>(widened(out.data, samples_ * elements_));
    out.dtype = cpu::Dtype::i64;
  }
  // Brings what was widened to its result. what: the argument by which it is too large.
  void narrow(const char* what) const {
    for (size_t i = 0; i < wide_.size(); ++i) {
      if (wide_[i] > std::numeric_limits<int32_t>::max())
        call_.refuse(std::string(what) + ": counts above 2^31 - 1 need jax_enable_x64, got " + std::to_string(wide_[i]));
      narrow_[i] = static_cast<int32_t>(wide_[i]);
    }
  }

 private:
  const XlaCall& call_;
  int64_t samples_ = 0, elements_ = 0;
  Rooms rooms_;
  std::vector<int64_t> wide_;
  int32_t* narrow_ = nullptr;

  int64_t* widened(char* result, int64_t count) {
    narrow_ = reinterpret_cast<int32_t*>(result);
    wide_.resize(static_cast<size_t>(count));
    return wide_.data();
  }
};

}  // namespace
}  // namespace fastblackout
