// The laws of a head with a logit for every state, one element a thread. Twin: csrc/include/fastblackout/states.h. The states are
// read three times, for the largest, for the sums and for what is made of them: a row does not fit into registers.
#pragma once

#include "cuda/bayes.cuh"
#include "fastblackout/states.h"

namespace fastblackout::cuda {
namespace {

struct SeenState {
  int at;
  double apart, others, weight;
};

template <bool Known>
struct StateRow {
  const States& head;
  const LogFactorials& factorials;
  int64_t from;
  double offset, top;
  int states, x;

  template <class Op>
  FB_DEVICE StateRow(const Op& op, uint32_t sample, uint32_t i, double room, double shift, const LogFactorials& table, int& flags)
      : head(op.head[0]), factorials(table), from(offset_of(op.head[0], sample, i)), offset(shift),
        states(static_cast<int>(op.max_count) + 1), x(static_cast<int>(static_cast<double>(op.max_count) - room)) {
    bool wrong = false;
    top = log_of(x);
#pragma unroll 1
    for (int v = 0; v < states; ++v) {
      if (!is_finite(logit(v))) wrong = true;
      if (v < x) continue;
      const double a = log_of(v);
      top = a > top || a != a ? a : top;  // once NaN it stays NaN, and so do the loss and the gradient
    }
    if (wrong) flags |= kWrongLogit;
  }

  FB_DEVICE float logit(int v) const { return static_cast<float>(value_at(head, from + v * head.state_stride)); }
  FB_DEVICE double log_of(int v) const {  // a(v)
    const double l = static_cast<double>(logit(v));
    if (!Known) return l;
    const double n = static_cast<double>(v - x);
    return l + (factorial_at(factorials, static_cast<double>(v)) + known_rest(n, offset, factorial_at(factorials, n)));
  }
  FB_DEVICE float weight(int v) const { return exp_minus_abs_or_nan(static_cast<float>(log_of(v) - top)); }

  // Sum j of the weights, without the weight of the state `but`
  FB_DEVICE double sum(int j, int but) const {
    double made = 0.0;
#pragma unroll 1
    for (int v = x / kStateLanes * kStateLanes + j; v < states; v += kStateLanes)
      made = made + (v < x || v == but ? 0.0 : static_cast<double>(weight(v)));
    return made;
  }

  FB_DEVICE SeenState seen(double births) const {
    const int at = x + static_cast<int>(births);
    double others = 0.0;
#pragma unroll 1
    for (int j = 0; j < kStateLanes; ++j) others = others + sum(j, at);
    return SeenState{at, top - log_of(at), others, static_cast<double>(weight(at))};
  }

  // The state that a uniform draws
  FB_DEVICE int drawn(double uniform) const {
    double total = 0.0;
#pragma unroll 1
    for (int j = 0; j < kStateLanes; ++j) total = total + sum(j, -1);
    const double target = uniform * total;
    double before = 0.0, end = sum(0, -1);
    int lane = 0;
#pragma unroll 1
    while (lane + 1 < kStateLanes && !(target < end)) {
      before = end;
      end = end + sum(++lane, -1);
    }
    const double goal = target - before;
    double passed = 0.0;
    int state = x;
#pragma unroll 1
    for (int v = x / kStateLanes * kStateLanes + lane; v < states && passed <= goal; v += kStateLanes) {
      const float own = v < x ? 0.0f : weight(v);
      if (own > 0.0f) state = v;
      passed = passed + static_cast<double>(own);
    }
    return state;
  }
};

}  // namespace
}  // namespace fastblackout::cuda
