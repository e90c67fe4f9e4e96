// GroupNorm followed by SiLU, and its gradient, of float32 images whose channels lie side by side (torch's channels_last). For
// each image and each group of channels, with mean m and variance v over the group's pixels and r = 1 / sqrt(v + eps):
//   normal = (x - m) r,  z = normal weight + bias,  y = z sigmoid(z).
#pragma once

#include "cpu/ops.h"

namespace fastblackout::cpu {

struct GroupNorm : Common {               // `samples` counts the images, B, and `elements` the numbers of one, P C of P pixels
  int64_t channels = 0, groups = 0;       // C and G
  double eps = 0.0;
  const float* x = nullptr;               // (B, P, C)
  const float *weight = nullptr, *bias = nullptr;  // (C,)
  float *means = nullptr, *scales = nullptr;       // (B, G): m and r; group_norm_silu writes them, its gradient reads them
  float* y = nullptr;                     // (B, P, C)

  template <class Read>
  void fields(Read& read) {
    read(channels, groups, eps, x, weight, bias, means, scales, y);
  }
};

struct GroupNormGradient : GroupNorm {    // y is not used
  const float* upstream = nullptr;        // (B, P, C), the gradient by y
  float* by_x = nullptr;                  // (B, P, C)
  float *by_weight = nullptr, *by_bias = nullptr;  // (C,)

  template <class Read>
  void fields(Read& read) {
    read(channels, groups, x, weight, bias, means, scales, upstream, by_x, by_weight, by_bias);
  }
};

void group_norm_silu(const GroupNorm& op);
void group_norm_silu_gradient(const GroupNormGradient& op);

}  // namespace fastblackout::cpu
