// What handlers that launch the CUDA kernels (xla_device.cpp) read of XLA's buffers. Nothing there is looked at: a kernel makes numbers
// of samples into the dtypes that the others read (csrc/cuda/xla.cu), and wrong values are not told. XlaDevice says so to the reader
// (xla_reader.h), for all slices of a call. Scratch is the call's last result, of uint32, so that XLA plans it like all memory of the
// program.
#pragma once

#include <algorithm>
#include <vector>

#include "bindings/device.h"
#include "bindings/xla_reader.h"
#include "fastblackout/birth_loss.h"

namespace fastblackout {
namespace {

class XlaDevice {
 public:
  using Backend = cuda::Backend;

  XlaDevice(const XlaCall& call, void* stream) : call_(call), stream_(stream) {
    const xla::Buffer& scratch = call.last_result();
    if (scratch.type != xla::Type::u32) throw std::logic_error("scratch is missing");
    at_ = end_ = static_cast<char*>(scratch.data);
    int64_t words = 1;
    for (int64_t d = 0; d < scratch.rank; ++d) words *= scratch.sizes[d];
    end_ += 4 * words;
  }

  void begin(const cuda::Common& op) { samples_ = op.samples; }

  template <class T>
  void number(const XlaArray& array, const std::string&, T, cuda::PerSample<T>& number) {
    this->number(array, number);
  }
  void number(const XlaArray& array, cuda::PerSample<double>& number) { take(array, xla::Type::f64, cuda::Made::float64, number); }
  void number(const XlaArray& array, cuda::PerSample<float>& number) { take(array, xla::Type::f32, cuda::Made::float32, number); }
  void complement(const XlaArray& p, cuda::PerSample<double>& q) { make(cuda::Made::complement, p.count, numbers_of(p), {}, q); }
  void multiply(const XlaArray& by, cuda::PerSample<double>& number) {
    cuda::Numbers from{reinterpret_cast<const char*>(number.data), xla::Type::f64, number.stride == 0};
    for (const cuda::Conversion& each : before_)
      if (each.to == number.data) from = each.from;
    make(cuda::Made::float64, from.shared ? by.count : samples_, from, numbers_of(by), number);
  }

  void key(const XlaArray& array, cuda::Key& key) const { key.data = reinterpret_cast<const int64_t*>(array.data); }

  // A counter of each sample, int64 for the kernel.
  void counter(const XlaArray& result, unsigned long long*& counter) {
    const bool wide = result.type == xla::Type::s64;
    counter = wide ? reinterpret_cast<unsigned long long*>(result.data) : room<unsigned long long>(samples_);
    before_.push_back({cuda::Made::zeros, counter, 2 * samples_, {}, {}});
    if (!wide) after_.push_back({cuda::Made::int32, result.data, samples_, {reinterpret_cast<char*>(counter), xla::Type::u64, false}, {}});
  }

  // The scratch of an op, which only a loss of many chunks has.
  void lend(cuda::Common&) {}
  void lend(cuda::BirthLoss& op) {
    const int64_t chunks = op.chunks();
    if (op.loss == nullptr || chunks <= cuda::BirthLoss::kUnscratched) return;
    op.chunk_sums = room<float>(op.samples * chunks);
    op.chunks_done = room<unsigned>(op.samples);
    before_.push_back({cuda::Made::zeros, op.chunks_done, op.samples, {}, {}});
  }

  // Launches a kernel on ops whose numbers have been made, and whose results are made last. XLA has made the device of its stream the
  // one in use.
  template <class Op, class Base>
  void launch(const std::vector<Op>& ops, int (*kernel)(const Base&, void*)) const {
    convert(before_);
    for (const Base& op : ops) bindings::launch_here(call_.op(), stream_, kernel, op);
    convert(after_);
  }

 private:
  const XlaCall& call_;
  void* const stream_;
  char *at_, *end_;  // what is left of the scratch
  int64_t samples_ = 0;
  std::vector<cuda::Conversion> before_, after_;

  template <class T>
  T* room(int64_t count) {
    char* const room = at_;
    at_ += (count * static_cast<int64_t>(sizeof(T)) + 7) / 8 * 8;
    if (at_ > end_) throw std::logic_error("scratch is too small");
    return reinterpret_cast<T*>(room);
  }

  static cuda::Numbers numbers_of(const XlaArray& array) { return {array.data, array.type, array.count == 1}; }

  template <class T>
  void make(cuda::Made kind, int64_t count, const cuda::Numbers& from, const cuda::Numbers& by, cuda::PerSample<T>& number) {
    T* const to = room<T>(count);
    before_.push_back({kind, to, count, from, by});
    number.data = to;
    number.stride = count == 1 ? 0 : 1;
  }

  // Numbers as they are where they have the kernel's dtype.
  template <class T>
  void take(const XlaArray& array, xla::Type type, cuda::Made kind, cuda::PerSample<T>& number) {
    if (array.type != type) return make(kind, array.count, numbers_of(array), {}, number);
    number.data = reinterpret_cast<const T*>(array.data);
    number.stride = array.count == 1 ? 0 : 1;
  }

  void convert(const std::vector<cuda::Conversion>& all) const {
    cuda::Conversions batch;
    for (size_t first = 0; first < all.size(); first += cuda::kMostConversions) {
      batch.count = static_cast<int>(std::min<size_t>(all.size() - first, cuda::kMostConversions));
      std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(first), batch.count, batch.each);
      bindings::launch_here(call_.op(), stream_, cuda::convert, batch);
    }
  }
};

}  // namespace
}  // namespace fastblackout
