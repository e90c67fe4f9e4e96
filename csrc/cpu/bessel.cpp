// bessel: the smaller of two Poisson numbers whose difference is the order, element by element
#if !defined(FB_ISA)

#include "fastblackout/bessel.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/bessel.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(bessel_chunk, Bessel)

void bessel(const Bessel& op) {
  const double most = exact_counts(op.order.dtype);
  check_values(op, "bessel", "order", op.order, Rule::count, most < kMaxRate ? most : kMaxRate);
  check_values(op, "bessel", "argument", op.argument, Rule::nonnegative, kMaxRate);
  draw_seed(op);
  for_chunks(op, bessel_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

// The first attempts of a chunk are drawn together, by vectors; what they leave open, one by one.
static void bessel_chunk(const Bessel& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double order[kChunk], argument[kChunk], rate[kChunk];
  alignas(64) int64_t k[kChunk];
  const auto key = key_of(op, sample);
  load(op.order, sample, i0, count, order);
  load(op.argument, sample, i0, count, argument);
  for (int e = 0; e < count; ++e) rate[e] = argument[e] < kLeastArgument ? 0.0 : poisson_pair(order[e], argument[e]).rate_2;
  poisson_draws(key, BESSEL, static_cast<uint32_t>(i0), count, rate, k);
  PoissonHat hat;
  for (int e = 0; e < count; ++e) {
    if (argument[e] < kLeastArgument) continue;  // k is 0
    PoissonPair pair = poisson_pair(order[e], argument[e]);
    pair_top(pair);
    k[e] = bessel_draw<true>(pair, key, static_cast<uint32_t>(i0 + e), k[e], hat);
  }
  store(op.out, sample, i0, count, k);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
