// What the ops of a head that gives a law read: its arrays, rounded to float32, and the offset of a sample, in float64.
#pragma once

#include "cuda/checks.cuh"

namespace fastblackout {
namespace cuda {
namespace {

FB_DEVICE double checked_head(const View& view, uint32_t sample, uint32_t i, int& flags) {
  const float x = static_cast<float>(load_one(view, sample, i));
  if (!is_finite(x)) flags |= kWrongLogit;
  return static_cast<double>(x);
}

template <class Op>
FB_DEVICE double checked_law_offset(const Op& op, uint32_t sample, int& flags) {
  const float offset = op.offset[sample];
  if (!is_finite(offset)) flags |= kWrongNumber;
  return static_cast<double>(offset);
}

}  // namespace
}  // namespace cuda
}  // namespace fastblackout
