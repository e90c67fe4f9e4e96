// The law "bayes-logistic" of an element, on a device (fastblackout/bayes_logistic.h): a thread goes through the components of its
// element and walks their states. What a component leaves for later lies in the thread's slots in shared memory, as registers cannot
// be indexed; the numbers of a component are made anew where they are asked for, which costs little beside a walk.
#pragma once

#include "cuda/head.cuh"
#include "cuda/tile.cuh"
#include "fastblackout/bayes_logistic.h"
#include "fastblackout/posterior_loss.h"

namespace fastblackout::cuda {
namespace {

// The arrays of a head at one element.
template <class Op>
struct BayesHead {
  const Op& op;
  uint32_t sample, i;
  int components;

  FB_DEVICE double at(int g) const { return static_cast<double>(static_cast<float>(load_one(op.head[g], sample, i))); }
  FB_DEVICE double logit(int j) const { return j + 1 < components ? at(2 * components + j) : 0.0; }
  FB_DEVICE BayesComponent component(const BayesElement& x, int j) const {
    return bayes_component(x, at(j), at(components + j), component_place(j, components));
  }
};
template <class Op>
FB_DEVICE BayesHead<Op> bayes_head(const Op& op, uint32_t sample, uint32_t i, int& flags) {
  const int components = op.head[7].data != nullptr ? 3 : op.head[4].data != nullptr ? 2 : 1;
#pragma unroll 1
  for (int g = 0; g < 3 * components - 1; ++g) checked_head(op.head[g], sample, i, flags);
  return BayesHead<Op>{op, sample, i, components};
}

// A thread's slots: of each component n_0, the factor of its inner states, the weights of its states M and 0, and the sums of its
// walks up and down; where slopes are asked for, these are sums of both, then the sums of the slopes by mean and scale.
template <bool Slopes>
struct BayesSlots {
  double n_0[kMostComponents], factor[kMostComponents], most[kMostComponents], zero[kMostComponents];
  double sums[kMostComponents][Slopes ? 3 : 2];
  double top, total[Slopes ? 1 : 2];  // an odd number of float64 in all: the threads of a warp use different banks
};

FB_DEVICE double likelihood_of(const LogFactorials& of, const BayesElement& x, double n) {
  return bayes_likelihood(x, n, factorial_at(of, x.x + n), factorial_at(of, n));
}

template <class Head>
FB_DEVICE double bayes_base_top(const BayesElement& x, const Head& head) {
  double top = 0.0;
#pragma unroll 1
  for (int j = 0; j < head.components; ++j) {
    const BayesComponent c = head.component(x, j);
    const double logit = head.logit(j), most = logit - c.moved_up;
    const double high = x.zero ? at_least(most, logit - c.moved_down) : most;
    top = j == 0 ? high : at_least(top, high);
  }
  return top;
}

struct BayesBases {
  double inner, most, zero;
};
FB_DEVICE BayesBases bayes_bases(const BayesComponent& c, double logit, double top) {
  const double most = logit - c.moved_up, zero = logit - c.moved_down;
  return BayesBases{(most - c.moved_down) - top, most - top, zero - top};
}

// Walks a component's states up or down from n_0, until the sum is above `goal`.
template <bool Slopes>
FB_DEVICE BayesWalk walked(const BayesElement& x, const BayesComponent& c, double n_0, bool up, double goal) {
  const BayesRatios ratios = bayes_ratios(x, c, up ? 1.0 : -1.0);
  BayesWalk w = walk_down(x, c, ratios, n_0);
  if (up) {
    w.n = n_0;
    w.h = 1.0;
  }
  bool live = up ? x.inner : walks_down(x, n_0, w.h);
  const double last = up ? x.last : x.first;
#pragma unroll 1
  while (live) {
    const double t = next_edge(w.n, up, c.t_0, c.d);
    walk_on<Slopes>(w, up, x.x, t, edge_e(t), ratios, last, goal);
    live = w.h > 0.0;
  }
  return w;
}

// Fills the slots of all components, and returns the sum of all parts.
template <bool Slopes, class Head>
FB_DEVICE double bayes_total(const BayesElement& x, const Head& head, const LogFactorials& factorials, double base_top,
                             BayesSlots<Slopes>& slots) {
  double top = kNoPart, zeros = 0.0, mosts = 0.0;
#pragma unroll 1
  for (int j = 0; j < head.components; ++j) {
    const BayesComponent c = head.component(x, j);
    const BayesBases base = bayes_bases(c, head.logit(j), base_top);
    const double n_0 = bayes_mode(x, c, bayes_ratios(x, c, 1.0));
    slots.n_0[j] = n_0;
    slots.factor[j] = log_inner(x, c, base.inner, n_0, likelihood_of(factorials, x, n_0));
    slots.most[j] = log_most(x, c, base.most, likelihood_of(factorials, x, x.room));
    slots.zero[j] = log_zero(x, c, base.zero);
    top = at_least(at_least(top, slots.factor[j]), at_least(slots.most[j], slots.zero[j]));
  }
  slots.top = top;
#pragma unroll 1
  for (int j = 0; j < head.components; ++j) {
    const BayesComponent c = head.component(x, j);
    const double factor = portable_exp(slots.factor[j] - top) * c.drop;
    slots.factor[j] = x.inner ? factor : 0.0;
    const double most = portable_exp(slots.most[j] - top) * edge_at(bayes_edge(c, x.room)).inverse;
    const double zero = x.zero ? portable_exp(slots.zero[j] - top) * edge_at(bayes_edge(c, 1.0)).inverse : 0.0;
    slots.most[j] = most;
    slots.zero[j] = zero;
    zeros = j == 0 ? zero : zeros + zero;
    mosts = j == 0 ? most : mosts + most;
  }
  double total = zeros;
#pragma unroll 1
  for (int walk = 0; walk < 2 * head.components; ++walk) {
    const int j = walk >> 1, way = walk & 1;
    const BayesWalk w = walked<Slopes>(x, head.component(x, j), slots.n_0[j], way == 0, 1.7976931348623157e308);
    total = total + slots.factor[j] * w.sum;
    if (!Slopes) {
      slots.sums[j][way] = w.sum;
    } else {
      slots.sums[j][0] = way == 0 ? w.sum : slots.sums[j][0] + w.sum;
      slots.sums[j][1] = way == 0 ? w.means : slots.sums[j][1] + w.means;
      slots.sums[j][Slopes ? 2 : 0] = way == 0 ? w.scales : slots.sums[j][Slopes ? 2 : 0] + w.scales;
    }
  }
  if (!Slopes) slots.total[0] = zeros;
  return total + mosts;
}

// N of an element by a uniform in [0, 1).
template <class Head>
FB_DEVICE double bayes_draw(const BayesElement& x, const Head& head, const LogFactorials& factorials, double uniform,
                            BayesSlots<false>& slots) {
  const double target = uniform * bayes_total<false>(x, head, factorials, bayes_base_top(x, head), slots);
  double sum = slots.total[0];
  if (target < sum) return 0.0;
#pragma unroll 1
  for (int walk = 0; walk < 2 * head.components; ++walk) {
    const int j = walk >> 1, way = walk & 1;
    const double before = sum;
    sum = sum + slots.factor[j] * slots.sums[j][way];
    if (!(target < sum)) continue;
    return walked<false>(x, head.component(x, j), slots.n_0[j], way == 0, (target - before) / slots.factor[j]).n;
  }
  return x.room;
}

// The weight of births n: the log of the largest mass of a component, and the sum of all masses over that.
struct BayesSeenSum {
  double top, sum;
};
template <class Head>
FB_DEVICE BayesSeen seen_by(const BayesElement& x, const Head& head, int j, double base_top, double n) {
  const BayesComponent c = head.component(x, j);
  const BayesBases base = bayes_bases(c, head.logit(j), base_top);
  return bayes_seen(x, c, n, base.inner, base.most, base.zero);
}
template <class Head>
FB_DEVICE BayesSeenSum bayes_seen_sum(const BayesElement& x, const Head& head, double base_top, double n) {
  BayesSeenSum made{0.0, 0.0};
#pragma unroll 1
  for (int j = 0; j < head.components; ++j) {
    const double log_mass = seen_by(x, head, j, base_top, n).log_mass;
    made.top = j == 0 ? log_mass : at_least(made.top, log_mass);
  }
#pragma unroll 1
  for (int j = 0; j < head.components; ++j) {
    const BayesSeen seen = seen_by(x, head, j, base_top, n);
    const double mass = portable_exp(seen.log_mass - made.top) * seen.factor;
    made.sum = j == 0 ? mass : made.sum + mass;
  }
  return made;
}

}  // namespace
}  // namespace fastblackout::cuda
