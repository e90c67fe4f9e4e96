// What handlers that run the CPU's kernels (xla.cpp) read of XLA's buffers: views, and numbers of the samples, which are checked. XlaHost
// says so to the reader (xla_reader.h), for one slice.
#pragma once

#include <algorithm>
#include <cmath>
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

  void number(const XlaArray& given, cpu::PerSample<double>& number) { number = kept(given, room()); }
  void number(const XlaArray& given, const std::string& said, cpu::PerSample<double>& number) {
    number = kept(given, room());
    check(said, number);
  }
  void number(const XlaArray& given, const std::string& said, cpu::PerSample<float>& number) {
    number = kept(given, floats_[used_floats_++]);
    check(said, number);
  }
  void complement(const XlaArray& p, cpu::PerSample<double>& q) {
    q = room().keep(p.count, [&p](int64_t i) { return 1.0 - p.number(i); });
  }
  void multiply(const XlaArray& by, cpu::PerSample<double>& number) {
    const int64_t count = std::max(number.distinct(samples_), by.count);
    number = room().keep(count, [&](int64_t b) { return number[b] * by.number(by.count == 1 ? 0 : b); });
  }

  void key(const XlaArray& given, SampleKey& key) const {
    uint32_t words[6];
    std::memcpy(words, given.data, sizeof(words));
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
  Room<double> doubles_[5];
  Room<float> floats_[3];
  int used_doubles_ = 0, used_floats_ = 0;
  std::vector<int64_t> wide_;
  int32_t* narrow_ = nullptr;

  Room<double>& room() { return doubles_[used_doubles_++]; }

  template <class T>
  static cpu::PerSample<T> kept(const XlaArray& given, Room<T>& room) {
    return room.keep(given.count, [&given](int64_t i) { return given.number(i); });
  }

  template <class T>
  void check(const std::string& said, const cpu::PerSample<T>& number) const {
    const size_t end = said.find('>');
    const bool bounded = end != std::string::npos, is_open = bounded && said.substr(end) == ">0";
    for (int64_t i = 0; i < number.distinct(samples_); ++i) {
      if (std::isfinite(number[i]) && (!bounded || (is_open ? number[i] > 0 : number[i] >= 0))) continue;
      char rule[96];
      std::snprintf(rule, sizeof(rule), ": must be finite%s, got %.17g", !bounded ? "" : is_open ? " and above 0" : " and at least 0",
                    static_cast<double>(number[i]));
      call_.refuse(said.substr(0, end) + rule);
    }
  }

  int64_t* widened(char* result, int64_t count) {
    narrow_ = reinterpret_cast<int32_t*>(result);
    wide_.resize(static_cast<size_t>(count));
    return wide_.data();
  }
};

}  // namespace
}  // namespace fastblackout
