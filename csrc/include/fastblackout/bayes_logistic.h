// The law "bayes-logistic" of a head, element by element, in portable float64: what the CPU's and the CUDA kernels of posterior_loss
// and posterior_step share. Twin: fastblackout/reference/bayes_logistic.py, whose docstring says what is computed and why, and
// derives the error bounds; names are the same there.
#pragma once

#include "fastblackout/portfloat.h"

namespace fastblackout {

constexpr int kMostComponents = 3;
constexpr double kLeastWeight = 0x1p-84;  // of h, where a walk stops
constexpr double kCut = 40.0;             // from here on an edge's exp(-|t|) is taken for 0
constexpr double kFar = 64.0;             // how far outside, in s, a mean may lie
constexpr double kWidest = 5.0;           // the log of a scale is taken within this of 0
constexpr double kNoPart = -1e300;        // the log of the weight of a part that is not there

FB_HD double at_most(double a, double b) { return a < b ? a : b; }
FB_HD double at_least(double a, double b) { return a > b ? a : b; }
FB_HD double positive_part(double a) { return a > 0.0 ? a : 0.0; }

// The edge between two states: exp(-|t|), taken for 0 beyond kCut, and 1 / (1 + exp(-|t|)).
struct LogisticEdge {
  double t, e, inverse;
};
FB_HD double minus_far(double t) { return 0.0 - (t < 0.0 ? 0.0 - t : t); }
FB_HD double edge_e_of(double minus_far, double e) { return minus_far < -kCut ? 0.0 : e; }  // from exp(minus_far)
FB_HD double edge_e(double t) { return edge_e_of(minus_far(t), portable_exp(minus_far(t))); }
FB_HD LogisticEdge edge_at(double t) {
  const double e = edge_e(t);
  return LogisticEdge{t, e, 1.0 / (1.0 + e)};
}
FB_HD double below_edge(double t, double e, double inverse) { return t < 0.0 ? e * inverse : inverse; }  // F(t)
FB_HD double above_edge(double t, double e, double inverse) { return t < 0.0 ? inverse : e * inverse; }  // F(-t)

// The numbers of an element that its components share.
struct BayesElement {
  double most, room, x, offset, first, last;  // M, R = M - x, x, L; the first and the last inner state
  bool inner, zero;                           // whether there is an inner state, and a state 0
};
FB_HD BayesElement bayes_element(double most, double room, double offset) {
  const double x = most - room, first = x > 0.0 ? 0.0 : 1.0, last = room - 1.0;
  return BayesElement{most, room, x, offset, first, last, last >= first, x == 0.0};
}

// A component of pi as one element sees it.
struct BayesComponent {
  double t_0, d, narrow, drop, centre, moved_up, moved_down;
};
FB_HD double clamped_wide(double wide) { return wide < -kWidest ? -kWidest : (wide > kWidest ? kWidest : wide); }

FB_HD double component_place(int j, int components) {
  return 0.6 * (static_cast<double>(j) - (static_cast<double>(components) - 1.0) * 0.5);
}

FB_HD BayesComponent bayes_component(const BayesElement& x, double mean, double wide, double place) {
  const double mu = (0.5 * x.most) * ((1.0 + mean) + place);
  const double narrow = portable_exp(0.0 - clamped_wide(wide)), d = (32.0 * narrow) / x.most, r = portable_exp(0.0 - d);
  const bool wide_enough = d > 1.0;
  const double near = (1.0 - r) * (d / (0.0 - portable_log(wide_enough ? 0.5 : r)));
  const double t = ((x.x - 0.5) - mu) * d, least = -kFar - x.room * d;
  const double t_0 = t > kFar ? kFar : (t < least ? least : t), moved = t - t_0;
  return BayesComponent{t_0,           d, narrow, wide_enough ? 1.0 - r : near, (mu - x.x) + 0.5, moved > 0.0 ? moved : 0.0,
                        moved < 0.0 ? 0.0 - moved : 0.0};
}
FB_HD double bayes_edge(const BayesComponent& c, double k) { return c.t_0 + k * c.d; }
FB_HD double bayes_kappa(const BayesComponent& c) { return (c.d * portable_exp(0.0 - c.d)) / c.drop; }

// exp(sign (L - clamp(t, -d, d))) at the edge `middle` below the mean, at the next, before these and after.
struct BayesRatios {
  double left, middle_0, middle_1, right, middle;
};
FB_HD double bayes_ratio(const BayesRatios& r, double k) {
  const double at = k - r.middle, outer = at < 0.0 ? r.left : r.right;
  return at == 0.0 ? r.middle_0 : (at == 1.0 ? r.middle_1 : outer);
}
FB_HD double clamped_edge(const BayesComponent& c, double k) {
  const double t = bayes_edge(c, k), low = 0.0 - c.d;
  return t < low ? low : (t > c.d ? c.d : t);
}
FB_HD double whole_part(double a) { return static_cast<double>(static_cast<int32_t>(a)); }  // 0 <= a < 2^31

FB_HD BayesRatios bayes_ratios(const BayesElement& x, const BayesComponent& c, double sign) {
  const double middle = whole_part(at_most(at_least(c.centre, -1.0), x.room) + 2.0) - 2.0;
  return BayesRatios{portable_exp(sign * (x.offset + c.d)), portable_exp(sign * (x.offset - clamped_edge(c, middle))),
                     portable_exp(sign * (x.offset - clamped_edge(c, middle + 1.0))), portable_exp(sign * (x.offset - c.d)), middle};
}

// The most likely inner state n_0 of a component, but for the factors I; `up`: the ratios of sign 1.
FB_HD double likely_from(double x, double y) { return y < 1.0 ? (x * y) / (1.0 - (y < 1.0 ? y : 0.0)) : 1e300; }
FB_HD double bayes_mode(const BayesElement& x, const BayesComponent& c, const BayesRatios& up) {
  double n = at_least(likely_from(x.x, up.right), at_most(c.centre, likely_from(x.x, up.left)));
  n = at_most(at_least(n, x.first), x.last);
  n = whole_part(n > 0.0 ? n : 0.0);
  const double more = ((x.x + n) + 1.0) * bayes_ratio(up, n + 1.0), less = (x.x + n) * bayes_ratio(up, n);
  const bool rises = (more > n + 1.0) & (n < x.last), falls = (less < n) & (n > x.first);
  return rises ? n + 1.0 : (falls ? n - 1.0 : n);
}

// log(C(x + n, x) exp(n L)) but for log x!, of the logarithms of (x + n)! and n!
FB_HD double bayes_likelihood(const BayesElement& x, double n, double log_above, double log_n) {
  return (log_above - log_n) + n * x.offset;
}

// The logs of the weights that a component has at n_0 (`likelihood`: of n_0), at the state M (of R) and at the state 0, and what
// makes weights of them. base: logit - moved_up, logit - moved_down and both, each less the most of all components.
FB_HD double log_inner(const BayesElement& x, const BayesComponent& c, double base, double n_0, double likelihood) {
  const double low = bayes_edge(c, n_0), high = bayes_edge(c, n_0 + 1.0);
  const double over = positive_part(low) + (high < 0.0 ? 0.0 - high : 0.0);
  return x.inner ? base + (likelihood - over) : kNoPart;
}
FB_HD double log_most(const BayesElement& x, const BayesComponent& c, double base, double likelihood) {
  return base + (likelihood - positive_part(bayes_edge(c, x.room)));
}
FB_HD double log_zero(const BayesElement& x, const BayesComponent& c, double base) {
  const double t = bayes_edge(c, 1.0);
  return x.zero ? base - (t < 0.0 ? 0.0 - t : 0.0) : kNoPart;
}

// A walk: the state it is at, what was met so far, and the edge behind it.
struct BayesWalk {
  double n, h, t, e, inverse, sum, means, scales;
};

// Up from n_0, and down from the state below it, whose h may be too small.
FB_HD BayesWalk walk_up(const BayesComponent& c, double n_0) {
  const LogisticEdge start = edge_at(bayes_edge(c, n_0));
  return BayesWalk{n_0, 1.0, start.t, start.e, start.inverse, 0.0, 0.0, 0.0};
}
FB_HD BayesWalk walk_down(const BayesElement& x, const BayesComponent& c, const BayesRatios& down, double n_0) {
  const LogisticEdge start = edge_at(bayes_edge(c, n_0));
  const double share = 1.0 / ((1.0 + start.e) * (x.x + n_0));
  const double h = (n_0 * (share * (1.0 + start.e))) * bayes_ratio(down, n_0);
  return BayesWalk{n_0 - 1.0, h, start.t, start.e, start.inverse, 0.0, 0.0, 0.0};
}
FB_HD bool walks_down(const BayesElement& x, double n_0, double h) { return x.inner & (n_0 > x.first) & (h >= kLeastWeight); }

// The edge that a walk comes to next
FB_HD double next_edge(double n, bool up, double t_0, double d) { return t_0 + (up ? n + 1.0 : n) * d; }

// One state, to the edge t with e = edge_e(t). Where the walk ends there, h becomes 0 and n stays; so does a walk that has ended.
template <bool Slopes>
FB_HD void walk_on(BayesWalk& w, bool up, double x, double t, double e, const BayesRatios& ratios, double last, double goal) {
  const double n = w.n, next = n + 1.0, above_x = x + n, k = up ? next : n;
  const double above = up ? above_x + 1.0 : n, below = up ? next : above_x;
  const double one = 1.0 + e, share = 1.0 / (one * below), inverse = share * below;
  const double weight = (w.h * w.inverse) * inverse;
  w.sum = w.sum + weight;
  if (Slopes) {
    const double a = up ? w.t : t, b = up ? t : w.t;
    const double f_a = up ? below_edge(w.t, w.e, w.inverse) : below_edge(t, e, inverse);
    const double f_b = up ? above_edge(t, e, inverse) : above_edge(w.t, w.e, w.inverse);
    w.means = w.means + weight * (f_a - f_b);
    w.scales = w.scales + weight * (a * f_a - b * f_b);
    w.t = t;
    w.e = e;
  }
  const double h = (w.h * (above * (share * one))) * bayes_ratio(ratios, k);
  const bool go_on = (h >= kLeastWeight) & (n != last) & !(w.sum > goal);
  w.inverse = inverse;
  w.h = go_on ? h : 0.0;
  w.n = go_on ? (up ? next : n - 1.0) : n;
}

// The state of given births n as one component sees it: the log of its mass, a factor of it, and its slopes.
struct BayesSeen {
  double log_mass, factor, mean, scale;
};
FB_HD BayesSeen bayes_seen(const BayesElement& x, const BayesComponent& c, double n, double base, double base_most, double base_zero) {
  const bool is_most = n == x.room, is_zero = (n == 0.0) & x.zero;
  const LogisticEdge low = edge_at(bayes_edge(c, n)), high = edge_at(bayes_edge(c, n + 1.0));
  const double under = is_zero ? 0.0 : positive_part(low.t), over = is_most ? 0.0 : (high.t < 0.0 ? 0.0 - high.t : 0.0);
  const double from = is_most ? base_most : (is_zero ? base_zero : base);
  const double both = (low.inverse * high.inverse) * c.drop;
  const double f_a = is_zero ? 0.0 : below_edge(low.t, low.e, low.inverse), f_b = is_most ? 0.0 : above_edge(high.t, high.e, high.inverse);
  return BayesSeen{from - (under + over), is_most ? low.inverse : (is_zero ? high.inverse : both), f_a - f_b,
                   (low.t * f_a - high.t * f_b) - (is_most | is_zero ? 0.0 : bayes_kappa(c))};
}

FB_HD double bayes_loss(const BayesElement& x, double top, double total, double likelihood, double seen_top, double seen_sum) {
  const double loss = ((top - likelihood) - seen_top) + (portable_log(total) - portable_log(seen_sum));
  return (loss > 0.0) & (x.room > 0.0) ? loss : 0.0;
}

// The derivatives of -log P(n) by the mean, the log of the scale and the logit of a component: averages over the law, of which
// `inverse` is 1 over the sum of all parts, less the derivatives at n, whose weight the component has `share` of.
struct BayesWeights {
  double factor, most, zero;  // of inner states, where h is 1, and of the states M and 0
};
struct BayesSums {
  double sum, means, scales;  // of both walks
};
struct BayesSlopes {
  double mean, scale, logit;
};
FB_HD BayesSlopes bayes_slopes(const BayesElement& x, const BayesComponent& c, const BayesWeights& weights, const BayesSums& sums,
                               double inverse, double n, double share, double seen_mean, double seen_scale) {
  const bool is_most = n == x.room, is_zero = (n == 0.0) & x.zero;
  const LogisticEdge most = edge_at(bayes_edge(c, x.room)), zero = edge_at(bayes_edge(c, 1.0));
  const double factor = weights.factor * inverse, inner = factor * sums.sum;
  const double q_most = weights.most * inverse, q_zero = weights.zero * inverse;
  const double f_a = below_edge(most.t, most.e, most.inverse), f_b = above_edge(zero.t, zero.e, zero.inverse);
  const double mean = (factor * sums.means + q_most * f_a) - q_zero * f_b;
  double scale = factor * sums.scales - bayes_kappa(c) * inner;
  scale = (scale + q_most * (most.t * f_a)) - q_zero * (zero.t * f_b);
  const double moved_up = (inner + q_most) - (is_zero ? 0.0 : share), moved_down = (inner + q_zero) - (is_most ? 0.0 : share);
  scale = (scale - share * seen_scale) + (c.moved_up * moved_up + c.moved_down * moved_down);
  const double by_mean = (16.0 * c.narrow) * (mean - share * seen_mean), by_logit = ((inner + q_most) + q_zero) - share;
  return x.room > 0.0 ? BayesSlopes{by_mean, scale, by_logit} : BayesSlopes{0.0, 0.0, 0.0};
}

}  // namespace fastblackout
