// negative_binomial: out ~ Poisson(mean / r Gamma(r)), element by element
#if !defined(FB_ISA)

#include "fastblackout/gamma.h"
#include "fastblackout/poisson.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/negative_binomial.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(negative_binomial_chunk, NegativeBinomial)

void negative_binomial(const NegativeBinomial& op) {
  check_given(op, "negative_binomial", "r", op.r, Rule::positive, kMostShape);
  check_given(op, "negative_binomial", "mean", op.mean, Rule::nonnegative, kMaxRate);
  draw_seed(op);
  for_chunks(rows_as_one(op), negative_binomial_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/normal.inc"
#include "cpu/per_isa/gamma.inc"

static void negative_binomial_chunk(const NegativeBinomial& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double r[kChunk], rate[kChunk], m[kChunk], exponent[kChunk];
  alignas(64) int64_t drawn[kChunk];
  GammaScratch& s = gamma_scratch();
  const DrawKey key = key_of(op, sample);
  const uint32_t from = static_cast<uint32_t>(i0);
  load_given(op.r, sample, i0, count, r);
  load_given(op.mean, sample, i0, count, rate);
  gamma_magnitudes(s, key, NEGATIVE_BINOMIAL_GAMMA, from, nullptr, count, r, is_one(op.r), m);
  gamma_exponents(s, key, NEGATIVE_BINOMIAL_BOOST, 0, from, nullptr, count, r, exponent);
  for (int e = 0; e < count; ++e) {
    const double x = gamma_scaled(rate[e], m[e], exponent[e]) / r[e];
    rate[e] = x < kMaxRate ? x : kMaxRate;
  }
  poisson_draws(key, NEGATIVE_BINOMIAL, from, count, rate, drawn);
  store(op.out, sample, i0, count, drawn);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
