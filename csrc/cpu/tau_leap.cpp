// tau_leap: x_s = x_t + min(Poisson(y factor), max_count - x_t) and the next model input, in one pass. y is the number of births
// that a network output predicts.
#if !defined(FB_ISA)

#include "cpu/support/chunks.h"
#include "fastblackout/poisson.h"
#include "fastblackout/portfloat.h"

#define FB_FILE "cpu/tau_leap.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(tau_leap_chunk, TauLeap)

void tau_leap(const TauLeap& op) {
  check_each("tau_leap_step", "step", op.factor, op.samples, Rule::nonnegative);
  check_reverse(op, "tau_leap_step");
  draw_seed(op);
  for (int64_t sample = 0; sample < op.samples; ++sample) op.overshoot[sample] = 0;
  for_chunks(op, tau_leap_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/steps.inc"

static void tau_leap_chunk(const TauLeap& op, int64_t sample, int64_t i0, int count) {
  const DrawKey key = key_of(op, sample);
  alignas(64) float y[kChunk];
  int64_t x[kChunk], births[kChunk];
  double rate[kChunk];
  expected_births(op, sample, i0, count, y);
  load(op.x_t, sample, i0, count, x);
  for (int e = 0; e < count; ++e) {
    const double r = static_cast<double>(y[e]) * op.factor[sample];
    rate[e] = r > 0.0 ? (r < kMaxRate ? r : kMaxRate) : 0.0;  // a NaN, from infinity times 0, gives no births
  }
  poisson_draws(key, TAU_LEAP, static_cast<uint32_t>(i0), count, rate, births);
  int64_t clamped = 0;
  for (int e = 0; e < count; ++e) {
    const int64_t room = op.max_count - x[e];
    clamped += births[e] > room;
    x[e] += births[e] < room ? births[e] : room;
  }
  if (clamped != 0) __atomic_fetch_add(&op.overshoot[sample], clamped, __ATOMIC_RELAXED);
  store_input(op.input, sample, i0, count, x);
  if (op.x_s) store(op.x_s, sample, i0, count, x);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
