// posterior_step: x_s = x_t + births and the next model input, in one pass, where a head gives a law of the births.
#if !defined(FB_ISA)

#include "fastblackout/posterior_step.h"

#include "cpu/support/chunks.h"
#include "cpu/support/factorials.h"
#include "fastblackout/bayes_logistic.h"
#include "fastblackout/negative_binomial_law.h"
#include "fastblackout/poisson.h"

#define FB_FILE "cpu/posterior_step.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout {
namespace cpu {
namespace {

constexpr const char* kName = "posterior_step";

void posterior_step_chunk(const PosteriorStep& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, posterior_step_chunk, op, sample, i0, count);
}

}  // namespace

void posterior_step(const PosteriorStep& op) {
  check_each(kName, "step", op.birth.p, op.samples, Rule::probability);
  check_each(kName, "step", op.birth.q, op.samples, Rule::probability);
  check_values(op, kName, "x_t", op.x_t, Rule::count, static_cast<double>(op.max_count));
  check_head(op, kName);
  for_chunks(op, posterior_step_chunk, kChunk, 16);
}

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

#include "cpu/per_isa/steps.inc"
#include "cpu/per_isa/normal.inc"
#include "cpu/per_isa/gamma.inc"
#include "cpu/per_isa/beta.inc"
#include "cpu/per_isa/bayes.inc"

// The shapes of f in the law of the one family there is
static void step_shapes_of(const PosteriorStep& op, int64_t sample, int64_t i0, int count, double* __restrict a, double* __restrict b) {
  alignas(64) float mean[kChunk], concentration[kChunk];
  load(op.head[0], sample, i0, count, mean);
  load(op.head[1], sample, i0, count, concentration);
  const double offset = static_cast<double>(op.offset[sample]);
  for (int e = 0; e < count; ++e) {
    const StepShapes shapes =
        step_shapes(beta_binomial_law(static_cast<double>(mean[e]), static_cast<double>(concentration[e]), offset));
    a[e] = shapes.a;
    b[e] = shapes.b;
  }
}

// x + births for the elements of a chunk, x as loaded
static void beta_binomial_births(const PosteriorStep& op, int64_t sample, int64_t i0, int count, double* __restrict x) {
  alignas(64) double a[kChunk], b[kChunk], p[kChunk], q[kChunk];
  const SampleKey key = key_of(op, sample);
  const uint32_t from = static_cast<uint32_t>(i0);
  step_shapes_of(op, sample, i0, count, a, b);
  beta_pairs(BetaShapes{a, b, false, false}, key, BetaStreams{POSTERIOR_A, POSTERIOR_B, POSTERIOR_BOOST}, from, count, p, q);
  load(op.x_t, sample, i0, count, x);  // float64 holds every count that is allowed
  double *room = a, *births = b;
  const double born = op.birth.p[sample], unborn = op.birth.q[sample], most = static_cast<double>(op.max_count);
  for (int e = 0; e < count; ++e) {
    const BetaPair pair = thinned_pair(BetaPair{p[e], q[e]}, born, unborn);
    p[e] = pair.p;
    q[e] = pair.q;
    room[e] = most - x[e];
  }
  for (int e = count; e < ((count + 31) & ~31); ++e) room[e] = p[e] = q[e] = 0.0;
  binomial_each(key, POSTERIOR_ELEMENT, from, count, room, p, q, births);
  for (int e = 0; e < count; ++e) x[e] += births[e];
}

// A draw of N from the law of a part: the part of the sum that holds it, then the walk to it.
struct BayesDraw {
  BayesPart law;
  alignas(64) double total[kBayesPart], goal[kBayesPart], up[kBayesPart], n[kBayesPart], h[kBayesPart], inverse[kBayesPart];
  int component[kBayesPart];
  BayesPart::Of chosen;  // of the components that are walked: t_0, d, centre and n_0
  BayesPart::Ratios ratios;

  // The state 0 or M, or the component and the way of a walk
  void choose(const double* uniform) {
    for (int k = 0; k < law.count; ++k) {
      const double target = uniform[k] * total[k];
      double sum = law.sum_of(k, true);
      component[k] = -1;
      n[k] = target < sum ? 0.0 : law.room[k];
      for (int part = 0; part < 2 * law.components && !(target < sum); ++part) {
        const BayesPart::Of& c = law.of[part >> 1];
        const double before = sum;
        sum = sum + c.factor[k] * c.sum[part & 1][k];
        if (!(target < sum)) continue;
        component[k] = part >> 1;
        up[k] = (part & 1) == 0 ? 1.0 : -1.0;
        goal[k] = (target - before) / c.factor[k];
      }
    }
  }

  void walk() {
    for (int k = 0; k < law.count; ++k) {
      const BayesPart::Of& c = law.of[component[k] < 0 ? 0 : component[k]];
      chosen.t_0[k] = c.t_0[k];
      chosen.d[k] = c.d[k];
      chosen.centre[k] = c.centre[k];
      chosen.n_0[k] = c.n_0[k];
      chosen.narrow[k] = chosen.drop[k] = chosen.moved_up[k] = chosen.moved_down[k] = 0.0;
      if (component[k] < 0) up[k] = 1.0;
    }
    for (int k = 0; k < law.count; ++k) ratios.put(k, bayes_ratios(law.element(k), chosen.at(k), up[k]));
    alignas(64) double from[kBayesPart];
    for (int k = 0; k < law.count; ++k) {
      const BayesWalk w = walk_down(law.element(k), chosen.at(k), ratios.at(k), chosen.n_0[k]);
      from[k] = up[k] > 0.0 ? chosen.n_0[k] : w.n;
      h[k] = up[k] > 0.0 ? 1.0 : w.h;
      inverse[k] = w.inverse;
    }
    int live = 0;
    for (int k = 0; k < law.count; ++k) {
      if (component[k] < 0) continue;
      const BayesElement x = law.element(k);
      law.put_lane(live, ratios, BayesWalk{from[k], h[k], 0.0, 0.0, inverse[k], 0.0, 0.0, 0.0}, chosen, k, up[k] > 0.0 ? x.last : x.first);
      law.lanes.goal[live] = goal[k];
      law.lanes.up[live] = up[k];
      ++live;
    }
    law.lanes.live = live;
    walk_lanes<false, 0>(law.lanes, BayesResults{nullptr, nullptr, nullptr, n});
  }
};

static void bayes_logistic_births(const PosteriorStep& op, int64_t sample, int64_t i0, int count, double* __restrict x) {
  alignas(64) double uniform[kChunk], left[kChunk], p[kChunk], q[kChunk];
  alignas(64) uint32_t high[kChunk], low[kChunk];
  alignas(64) float head[ops::kMostHead][kBayesPart];
  const SampleKey key = key_of(op, sample);
  const uint32_t from = static_cast<uint32_t>(i0);
  stream_words(key, POSTERIOR_STATE, from, count, high);
  stream_words(key, POSTERIOR_STATE_REFINE, from, count, low);
  for (int e = 0; e < count; ++e) uniform[e] = uniform_from_zero(bits53(high[e], low[e]));
  load(op.x_t, sample, i0, count, x);
  BayesDraw draw;
  const int heads = heads_of(op);
  draw.law.components = (heads + 1) / 3;
  draw.law.most = static_cast<double>(op.max_count);
  draw.law.offset = static_cast<double>(op.offset[sample]);
  draw.law.factorials = tabled_factorials(op.max_count);
  for (int at = 0; at < count; at += kBayesPart) {
    draw.law.count = count - at < kBayesPart ? count - at : kBayesPart;
    for (int g = 0; g < heads; ++g) load(op.head[g], sample, i0 + at, draw.law.count, head[g]);
    for (int k = 0; k < draw.law.count; ++k) draw.law.room[k] = at_least(at_most(draw.law.most - x[at + k], draw.law.most), 0.0);
    draw.law.fill<false>(head);
    draw.law.totals(draw.total);
    draw.choose(uniform + at);
    draw.walk();
    for (int k = 0; k < draw.law.count; ++k) left[at + k] = draw.n[k];
  }
  const double born = op.birth.p[sample], unborn = op.birth.q[sample];
  for (int e = 0; e < count; ++e) p[e] = born, q[e] = unborn;
  for (int e = count; e < ((count + 31) & ~31); ++e) left[e] = p[e] = q[e] = 0.0;
  binomial_each(key, POSTERIOR_ELEMENT, from, count, left, p, q, uniform);
  for (int e = 0; e < count; ++e) x[e] += uniform[e];
}

#include "cpu/per_isa/negative_binomial_births.inc"

static void posterior_step_chunk(const PosteriorStep& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double x[kChunk];
  switch (static_cast<Family>(op.family)) {
    case Family::bayes_logistic: bayes_logistic_births(op, sample, i0, count, x); break;
    case Family::negative_binomial: negative_binomial_births(op, sample, i0, count, x); break;
    default: beta_binomial_births(op, sample, i0, count, x);
  }
  store_input(op.input, sample, i0, count, x);
  if (op.x_s) store(op.x_s, sample, i0, count, x);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
