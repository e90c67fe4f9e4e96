// Body, once per instruction set: exp(-|x|) and log1p of it for a chunk of logits, part by part (portfloat.h).

#include "cpu/wide.h"

struct Exponentials {
  alignas(64) float e[kChunk], g[kChunk];                // exp_minus_abs(x), log1p_over(e)
  alignas(64) float n[kChunk], f[kChunk], series[kChunk];  // of the parts; of no use afterwards

  // x and the arrays above are filled up to whole Wides.
  void fill(int count, const float* __restrict x) {
    for (int k = 0; k < count; ++k) {
      n[k] = exp_whole(x[k]);
      f[k] = exp_rest(x[k], n[k]);
    }
    for (int k = 0; k < count; k += kWide) store_wide(exp_series(load_wide(f + k)), series + k);
    for (int k = 0; k < count; ++k) e[k] = exp_of(n[k], f[k], series[k]);
    for (int k = 0; k < count; k += kWide) store_wide(log1p_over(load_wide(e + k)), g + k);
  }
};
