// The draws of an element on its own, by a thread: with numbers of its own (fastblackout/binomial.h, poisson.h), samples and elements as
// one range, or by the table of its sample.
#pragma once

#include "cuda/draw.cuh"
#include "fastblackout/fast_element.h"
#include "fastblackout/gamma.h"

namespace fastblackout::cuda {
namespace {

struct Place {
  uint32_t sample, i;
  bool inside;  // false past the last element
};

FB_DEVICE Place place_of(const Common& op) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, sample = at / op.elements;
  return Place{static_cast<uint32_t>(sample), static_cast<uint32_t>(at - sample * op.elements), sample < op.samples};
}

// Launches a thread for every element. At most 2^31 - 1 blocks, 5e11 elements: more than a GPU's memory holds.
template <class Kernel, class Op>
int launch_elements(Kernel kernel, const Op& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  FB_LAUNCH(kernel, static_cast<unsigned>((op.samples * op.elements + kThreads - 1) / kThreads), kThreads, stream, op);
  return cudaGetLastError();
}

// A key that is read from memory anew for every block of words, which takes four registers less.
struct StoredKey {
  const int64_t* key;
  uint32_t sample;

  FB_DEVICE Words words(uint32_t block, uint32_t stream, uint32_t sub = 0) const {
    return key_of(key, sample).words(block, stream, sub);
  }
};

// A thread's hat lies in shared memory. Hats have an odd number of float64, so that the threads of a warp use different banks.
template <class Hat>
FB_DEVICE Hat& own_hat() {
  __shared__ Hat hats[kThreads];
  return hats[threadIdx.x];
}

// The hats of two draws of which the second begins when the first has ended.
template <class Second>
union GammaThen {
  GammaHat gamma;
  Second second;
};

// The draws of about one element in a thousand. Its numbers lie in the hat: the count as its bits, p and q, or the rate.
FB_COLD int64_t exact_binomial_draw(StoredKey key, uint32_t i, uint32_t stream, BinomialHat& hat) {
  return binomial_element(bit_cast<int64_t>(hat.count), hat.p, hat.q, key, i, stream, hat);
}

FB_COLD int64_t exact_poisson_draw(StoredKey key, uint32_t i, uint32_t stream, PoissonHat& hat) {
  return poisson_element(hat.rate, key, i, stream, hat);
}

FB_DEVICE bool above_half(double p) { return bit_cast<int64_t>(p) > bit_cast<int64_t>(0.5); }  // of a p that is no NaN

// binomial_element and poisson_element by float32 where that tells. Meanwhile the numbers wait in the hat: registers are few.
FB_DEVICE int64_t binomial_draw(int64_t n, double p, double q, const StoredKey& key, uint32_t i, uint32_t stream, BinomialHat& hat) {
  hat.count = bit_cast<double>(n);
  hat.p = p;
  hat.q = q;
  int64_t k;
  if (!fast_binomial(n, above_half(p) ? q : p, key_of(key.key, key.sample), i, stream, k)) return exact_binomial_draw(key, i, stream, hat);
  FB_FORGET();
  return above_half(hat.p) ? bit_cast<int64_t>(hat.count) - k : k;
}

FB_DEVICE int64_t poisson_draw(double rate, const StoredKey& key, uint32_t i, uint32_t stream, PoissonHat& hat) {
  hat.rate = rate;
  int64_t k;
  return fast_poisson(rate, key_of(key.key, key.sample), i, stream, k) ? k : exact_poisson_draw(key, i, stream, hat);
}

FB_DEVICE int64_t binomial_draw(int64_t n, double p, double q, const int64_t* key, const Place& place, uint32_t stream) {
  return binomial_draw(n, p, q, StoredKey{key, place.sample}, place.i, stream, own_hat<BinomialHat>());
}

FB_DEVICE int64_t poisson_draw(double rate, const int64_t* key, const Place& place, uint32_t stream) {
  return poisson_draw(rate, StoredKey{key, place.sample}, place.i, stream, own_hat<PoissonHat>());
}

// The streams of a draw with one p for a sample.
struct RowStreams {
  uint32_t table, refine, element;
};

// Binomial(n, p) with one p for a sample: a count up to kMaxSharedCount by the table of p, a larger one by the per-element draw.
FB_DEVICE int64_t row_draw(const DrawTable& t, int64_t n, const PQ& prob, const int64_t* key, const Place& place, const RowStreams& streams) {
  if (n > kMaxSharedCount) return binomial_draw(n, prob.p, prob.q, key, place, streams.element);
  const int small = static_cast<int>(n);
  const int k = t.trivial ? 0 : exact_draw(t, streams.table, streams.refine, place.i, small);
  return t.mirrored ? small - k : k;
}

// An element of an array of counts, brought into the range in which its dtype holds every count; sets `wrong` where it was not.
FB_DEVICE int64_t checked_count(const View& view, const Place& place, bool& wrong) {
  const int64_t offset = offset_of(view, place.sample, place.i);
  int64_t whole;
  if (load_whole(view, offset, whole)) {
    const int64_t clamped = whole < 0 ? 0 : (whole > kMaxCount ? kMaxCount : whole);
    wrong = wrong || clamped != whole;
    return clamped;
  }
  const double count = value_at(view, offset);
  const double most = view.dtype == kF32 ? 0x1p24 : static_cast<double>(kMaxCount);  // float32 has gaps above
  const int64_t n = static_cast<int64_t>(clamp_count(count, most, wrong));
  wrong = wrong || static_cast<double>(n) != count;
  return n;
}

// words.w[i % 4]; indexing by a variable would put the words into local memory
FB_DEVICE uint32_t word_of(const Words& words, uint32_t i) {
  const uint32_t c = i & 3u;
  return c < 2 ? (c == 0 ? words.w[0] : words.w[1]) : (c == 2 ? words.w[2] : words.w[3]);
}

}  // namespace
}  // namespace fastblackout::cuda
