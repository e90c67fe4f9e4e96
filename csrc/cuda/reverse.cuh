// What the reverse steps share: the counts of an element, and what a step writes; of bridge and tau-leaping also its expected births.
#pragma once

#include "cuda/element.cuh"
#include "fastblackout/portfloat.h"

namespace fastblackout::cuda {
namespace {

// Expected births y = gain * softplus(logit), or as given; NaN and negative ones become 0. `flags` gets bits of what was wrong.
FB_DEVICE float births_from_logit(float logit, float gain, int& flags) {
  if (!(logit - logit == 0.0f)) flags |= kWrongLogit;
  const float y = gain * softplus(logit);
  return y >= 0.0f ? y : 0.0f;
}

FB_DEVICE float births_as_given(float y, int& flags) {
  if (!(y >= 0.0f && y - y == 0.0f)) flags |= kWrongBirths;
  return y >= 0.0f ? y : 0.0f;
}

FB_DEVICE float expected_births(const Reverse& op, int64_t sample, uint32_t i, int& flags) {
  const float given = static_cast<float>(load_one(op.given, sample, i));
  return op.births ? births_as_given(given, flags) : births_from_logit(given, op.gain[sample], flags);
}

template <class Op>
FB_COLD void store_element(const Op& op, int64_t sample, uint32_t i, int64_t x_s) {
  if (op.input.out.data != nullptr) {
    const float x = (static_cast<float>(x_s) - op.input.center[sample]) * op.input.scale[sample];
    store_one(op.input.out, sample, i, static_cast<double>(x));
  }
  if (op.x_s.data != nullptr) store_one(op.x_s, sample, i, static_cast<double>(x_s));
}

template <class Op>
FB_DEVICE int64_t load_count(const Op& op, const Place& place, int& flags) {
  bool wrong = false;
  const double x = clamp_count(load_one(op.x_t, place.sample, place.i), static_cast<double>(op.max_count), wrong);
  if (wrong) flags |= kWrongCount;
  return static_cast<int64_t>(x);
}

}  // namespace
}  // namespace fastblackout::cuda
