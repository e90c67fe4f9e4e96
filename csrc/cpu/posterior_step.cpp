// posterior_step: x_s = x_t + births and the next model input, in one pass, where a head gives a law of the births.
#if !defined(FB_ISA)

#include "fastblackout/posterior_step.h"

#include "cpu/support/chunks.h"
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
#include "cpu/per_isa/beta_binomial_births.inc"

#include "cpu/per_isa/negative_binomial_births.inc"

static void posterior_step_chunk(const PosteriorStep& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double x[kChunk];
  switch (static_cast<Family>(op.family)) {
    case Family::negative_binomial: negative_binomial_births(op, sample, i0, count, x); break;
    default: beta_binomial_births(op, sample, i0, count, x);
  }
  store_input(op.input, sample, i0, count, x);
  if (op.x_s) store(op.x_s, sample, i0, count, x);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
