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

namespace fastblackout::cpu {
namespace {

constexpr const char* kName = "posterior_step";

FB_CHUNK(posterior_step_chunk, PosteriorStep)

}  // namespace

void posterior_step(const PosteriorStep& op) {
  check_each(kName, "step", op.birth.p, op.samples, Rule::probability);
  check_each(kName, "step", op.birth.q, op.samples, Rule::probability);
  check_values(op, kName, "x_t", op.x_t, Rule::count, static_cast<double>(op.max_count));
  check_head(op, kName);
  draw_seed(op);
  for_chunks(op, posterior_step_chunk, kChunk, 16);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/steps.inc"
#include "cpu/per_isa/normal.inc"
#include "cpu/per_isa/gamma.inc"
#include "cpu/per_isa/beta.inc"
#include "cpu/per_isa/double_parts.inc"
#include "cpu/per_isa/bayes.inc"
#include "cpu/per_isa/beta_binomial_births.inc"

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

// A uniform of 53 bits for each element of a chunk, by which N is drawn
static void uniforms(const PosteriorStep& op, int64_t sample, int64_t i0, int count, double* __restrict to) {
  alignas(64) uint32_t high[kChunk], low[kChunk];
  const DrawKey key = key_of(op, sample);
  stream_words(key, POSTERIOR_STATE, static_cast<uint32_t>(i0), count, high);
  stream_words(key, POSTERIOR_STATE_REFINE, static_cast<uint32_t>(i0), count, low);
  for (int e = 0; e < count; ++e) to[e] = uniform_from_zero(bits53(high[e], low[e]));
}

// Adds births ~ Binomial(left, p) to x; `left` has room for a whole chunk.
static void add_births(const PosteriorStep& op, int64_t sample, int64_t i0, int count, double* left, double* __restrict x) {
  alignas(64) double p[kChunk], q[kChunk], births[kChunk];
  const double born = op.birth.p[sample], unborn = op.birth.q[sample];
  for (int e = 0; e < count; ++e) p[e] = born, q[e] = unborn;
  for (int e = count; e < ((count + 31) & ~31); ++e) left[e] = p[e] = q[e] = 0.0;
  binomial_each(key_of(op, sample), POSTERIOR_ELEMENT, static_cast<uint32_t>(i0), count, left, p, q, births);
  for (int e = 0; e < count; ++e) x[e] += births[e];
}

static void bayes_logistic_births(const PosteriorStep& op, int64_t sample, int64_t i0, int count, double* __restrict x) {
  alignas(64) double uniform[kChunk], left[kChunk];
  alignas(64) float head[ops::kMostHead][kBayesPart];
  uniforms(op, sample, i0, count, uniform);
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
  add_births(op, sample, i0, count, left, x);
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

}  // namespace fastblackout::cpu::FB_ISA

#endif
