// Blackout's loss y - births log y with y = gain softplus(logit), and its derivative by the logit; element by element
// in portable float32, so that every backend gives the same bits. Twin: fastblackout/reference/birth_loss.py.
#pragma once

#include "fastblackout/portfloat.h"

namespace fastblackout {

constexpr int kLossChunk = 1024;  // elements of a sample that are summed as one float32 tree

// float32 log of a float32 gain, once per sample
FB_HD float log_gain_of(float gain) { return static_cast<float>(portable_log(static_cast<double>(gain))); }

// births 0 costs y alone: log_softplus is finite for every finite logit, so 0 times it is 0
FB_HD float birth_loss_element(float logit, float births, float gain, float log_gain) {
  const float y = gain * softplus(logit);
  const float log_y = log_gain + log_softplus(logit);
  return y - births * log_y;
}

// coefficient = float32(upstream * weight), that product in float64
FB_HD float birth_loss_grad_element(float logit, float births, float gain, float coefficient) {
  return coefficient * (gain * sigmoid(logit) - births * ratio(logit));
}

// Sum of one chunk, zero-padded by the caller, by the halving tree; v is overwritten. A GPU block runs the same tree
// with a barrier between the levels. Chunk sums are added in ascending order in float64.
FB_HD float birth_loss_chunk_sum(float* v) {
  for (int h = kLossChunk / 2; h > 0; h /= 2) {
    for (int i = 0; i < h; ++i) v[i] = v[i] + v[i + h];
  }
  return v[0];
}

}  // namespace fastblackout
