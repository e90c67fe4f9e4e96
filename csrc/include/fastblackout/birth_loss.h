// Blackout's loss y - births log y with y = gain softplus(logit), and its derivative by the logit; element by element
// in portable float32, so that every backend gives the same bits. Twin: fastblackout/reference/birth_loss.py.
#pragma once

#include "fastblackout/portfloat.h"

namespace fastblackout {

constexpr int kLossChunk = 1024;  // elements of a sample that are summed as one float32 tree

// float32 log of a float32 gain, once per sample
FB_HD float log_gain_of(float gain) { return static_cast<float>(portable_log(static_cast<double>(gain))); }

// births 0 costs y alone: log_softplus is finite for every finite logit, so 0 times it is 0. The forms _of take softplus(logit),
// and its logarithm or ratio(logit).
FB_HD float birth_loss_of(float births, float gain, float log_gain, float soft, float log_soft) {
  return gain * soft - births * (log_gain + log_soft);
}

FB_HD float birth_loss_element(float logit, float births, float gain, float log_gain) {
  return birth_loss_of(births, gain, log_gain, softplus(logit), log_softplus(logit));
}

// The derivative by the logit, (y - births) y' / y with y' / y = ratio; up to coefficient = float32(upstream * weight), that
// product in float64. Above 2^126 ratio would be subnormal, and births / logit nothing beside gain.
FB_HD float birth_loss_slope_of(float logit, float births, float gain, float soft, float ratio) {
  const float slope = (gain * soft - births) * ratio;
  return logit > 0x1p126f ? gain : slope;
}

FB_HD float birth_loss_grad_element(float logit, float births, float gain, float coefficient) {
  const float e = exp_minus_abs(logit), g = log1p_over(e);
  const float soft = softplus_of(logit, e, g), quotient = ratio_of(e, softplus_over(logit, soft, g));
  return coefficient * birth_loss_slope_of(logit, births, gain, soft, quotient);
}

// Sum of one chunk, zero-padded by the caller, by the halving tree; v is overwritten. A warp of a GPU runs the
// same tree by sums in its lanes and shuffles. Chunk sums are added in ascending order in float64.
FB_HD float birth_loss_chunk_sum(float* v) {
  for (int h = kLossChunk / 2; h > 0; h /= 2) {
    for (int i = 0; i < h; ++i) v[i] = v[i] + v[i + h];
  }
  return v[0];
}

}  // namespace fastblackout
