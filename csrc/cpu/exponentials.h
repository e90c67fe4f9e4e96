// Body, once per instruction set: exp(-|x|) for a chunk of logits, part by part (portfloat.h).

#include "cpu/wide.h"

// A chunk of floats, in `buffer` unless it can be used in place.
static inline const float* floats_of(const View& view, int64_t sample, int64_t i0, int count, float* buffer) {
  const float* direct = in_place<float>(view, sample, i0);
  if (direct == nullptr) load(view, sample, i0, count, buffer);
  return direct != nullptr ? direct : buffer;
}

constexpr int whole_vectors(int count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Values followed by zeros up to a whole vector, in memory that can be read as far as polynomials do: `from`, or a copy of them.
template <class T>
static inline const T* as_vectors(const T* from, int count, T (&copy)[kChunk]) {
  if (count % kLanes == 0 && count >= kTogether) return from;
  if (from != copy) std::memcpy(copy, from, sizeof(T) * static_cast<size_t>(count));
  std::memset(copy + count, 0, sizeof(T) * static_cast<size_t>(whole_vectors(count) - count));
  return copy;
}

// What becomes of a polynomial's values, right away: to keep them and load them again would take time and room in the cache.
struct KeepPowers {
  const float *whole, *rest;
  float* to;
};
FB_INLINE void take(const KeepPowers& then, int k, FloatVector poly) {
  store_wide(exp_of(load_as<FloatVector>(then.whole + k), load_as<FloatVector>(then.rest + k), poly), then.to + k);
}

#if FB_ISA_LEVEL == 2
// e of a few vectors, in registers from beginning to end: to store anything between takes longer than the steps.
constexpr int kExponentials = 8;
template <size_t... I>
FB_INLINE void several_exponentials(std::index_sequence<I...>, const float* x, float* e) {
  FloatVector whole[kExponentials], rest[kExponentials], poly[kExponentials];
  ((rest[I] = minus_abs(load_as<FloatVector>(x + I * kLanes)), whole[I] = exp_whole(rest[I])), ...);
  ((rest[I] = exp_rest(rest[I], whole[I])), ...);
  ((poly[I] = all_of<FloatVector>(ExpSeries::numbers[0])), ...);
  for (int i = 1; i < ExpSeries::size; ++i) ((poly[I] = poly[I] * rest[I] + ExpSeries::numbers[i]), ...);
  (store_wide(exp_of(whole[I], rest[I], poly[I]), e + I * kLanes), ...);
}
#endif

// While one lives, results below the smallest normal float become 0. Each takes Intel's processors a hundred clocks and more, and the
// series of log1p(e) / e makes some where |x| is from 82 to 87. What they are added to does not feel them.
struct FlushSubnormals {
#if FB_X86
  const unsigned before = _mm_getcsr();
  FlushSubnormals() {
    if (on_intel) set(before | _MM_FLUSH_ZERO_ON);
  }
  ~FlushSubnormals() {
    if (on_intel) set(before);
  }
  FlushSubnormals(const FlushSubnormals&) = delete;
  // what other functions compute goes by memory, and none of it over this
  static void set(unsigned control) { __asm__ volatile("ldmxcsr %0" : : "m"(control) : "memory"); }
#else
  FlushSubnormals() {}
#endif
};

struct Exponentials {
  alignas(64) float e[kChunk];            // exp_minus_abs(x)
  alignas(64) float n[kChunk], f[kChunk];  // of the parts

  // Whole vectors, of x that polynomials could read.
  void fill(int count, const float* x) {
#if FB_ISA_LEVEL == 2
    constexpr std::make_index_sequence<kExponentials> vectors{};
    constexpr int step = kExponentials * kLanes;
    const int last = count > step ? count - step : 0;
    for (int k = 0; k < last; k += step) several_exponentials(vectors, x + k, e + k);
    several_exponentials(vectors, x + last, e + last);
#else
#pragma GCC unroll 4
    for (int k = 0; k < count; k += kLanes) {
      const FloatVector t = minus_abs(load_as<FloatVector>(x + k)), whole = exp_whole(t);
      store_wide(whole, n + k);
      store_wide(exp_rest(t, whole), f + k);
    }
    polynomials<ExpSeries>(f, count, KeepPowers{n, f, e});
#endif
  }
};
