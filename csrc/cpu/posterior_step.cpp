// posterior_step: x_s = x_t + births and the next model input, in one pass, where a head gives a law of the births.
#if !defined(FB_ISA)

#include "fastblackout/posterior_step.h"

#include "cpu/support/chunks.h"

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
  check_values(op, kName, "head[0]", op.head[0], Rule::finite, 0.0);
  if (op.head[1]) check_values(op, kName, "head[1]", op.head[1], Rule::finite, 0.0);
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

static void posterior_step_chunk(const PosteriorStep& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double x[kChunk], a[kChunk], b[kChunk], p[kChunk], q[kChunk];
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
  store_input(op.input, sample, i0, count, x);
  if (op.x_s) store(op.x_s, sample, i0, count, x);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
