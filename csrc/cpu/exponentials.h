// Body, once per instruction set: exp(-|x|) and log1p of it for a chunk of logits, part by part (portfloat.h).

#include "cpu/wide.h"

// A chunk of floats, in `buffer` unless it can be used in place.
static inline const float* floats_of(const View& view, int64_t sample, int64_t i0, int count, float* buffer) {
  const float* direct = in_place<float>(view, sample, i0);
  if (direct == nullptr) load(view, sample, i0, count, buffer);
  return direct != nullptr ? direct : buffer;
}

struct Exponentials {
  alignas(64) float e[kChunk], g[kChunk];                  // exp_minus_abs(x), log1p_over(e)
  alignas(64) float n[kChunk], f[kChunk], series[kChunk];  // of the parts; n ends as no_less(e)

  void fill(int count, const float* __restrict x) {
#pragma GCC unroll 4
    for (int k = 0; k < count; ++k) {
      n[k] = exp_whole(x[k]);
      f[k] = exp_rest(x[k], n[k]);
    }
    polynomials<ExpSeries>(f, count, series);
#pragma GCC unroll 4
    for (int k = 0; k < count; ++k) {
      e[k] = exp_of(n[k], f[k], series[k]);
      n[k] = no_less(e[k]);
    }
    polynomials<Log1pSeries>(n, count, g);
  }
};
