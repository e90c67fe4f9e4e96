// Blackout's loss y - births log y with y = gain softplus(logit), and its derivative by the logit; element by element in
// portable float32, so that every backend gives the same bits. The twin in NumPy is fastblackout/reference/birth_loss.py.
#pragma once

#include "fastblackout/portfloat.h"

namespace fastblackout {

constexpr int kLossChunk = 1024;  // elements of a sample that are summed as one float32 tree

// float32 log of a float32 gain, once per sample
FB_HD float log_gain_of(float gain) { return static_cast<float>(portable_log(static_cast<double>(gain))); }

FB_HD float birth_loss_element(float logit, float births, float gain, float log_gain) {
  return birth_loss_of(births, gain * softplus(logit), log_gain + log_softplus(logit));
}

FB_HD float birth_loss_grad_element(float logit, float births, float gain, float coefficient) {
  const float e = exp_minus_abs(logit), over = softplus_over(logit, e, log1p_over(e)), product = e * over;
  return coefficient * birth_loss_slope_of(births, gain * softplus_from(logit, over, product), over, product);
}

// The sum of one chunk, which the caller has padded with zeros, as a halving tree: v[i] + v[i + h] for h = 512, 256, ..., 1.
// It overwrites v. On a GPU a warp runs the same tree by sums within its lanes and shuffles between them. The chunk sums of
// a sample are then added in ascending order in float64.
FB_HD float birth_loss_chunk_sum(float* v) {
  for (int h = kLossChunk / 2; h > 0; h /= 2) {
    for (int i = 0; i < h; ++i) v[i] = v[i] + v[i + h];
  }
  return v[0];
}

}  // namespace fastblackout
