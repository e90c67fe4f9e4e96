// beta_binomial: out ~ Binomial(n, f), f ~ Beta(a, b), element by element
#if !defined(FB_ISA)

#include "fastblackout/gamma.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/beta_binomial.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(beta_binomial_chunk, BetaBinomial)

void beta_binomial(const BetaBinomial& op) {
  check_values(op, "beta_binomial", "n", op.n, Rule::count, exact_counts(op.n.dtype));
  check_given(op, "beta_binomial", "a", op.a, Rule::positive, kMostShape);
  check_given(op, "beta_binomial", "b", op.b, Rule::positive, kMostShape);
  draw_seed(op);
  for_chunks(rows_as_one(op), beta_binomial_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/normal.inc"
#include "cpu/per_isa/gamma.inc"
#include "cpu/per_isa/beta.inc"

static void beta_binomial_chunk(const BetaBinomial& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double n[kChunk], a[kChunk], b[kChunk], p[kChunk], q[kChunk];
  const DrawKey key = key_of(op, sample);
  const uint32_t from = static_cast<uint32_t>(i0);
  load_given(op.a, sample, i0, count, a);
  load_given(op.b, sample, i0, count, b);
  const BetaStreams streams{BETA_BINOMIAL_A, BETA_BINOMIAL_B, BETA_BINOMIAL_BOOST};
  beta_pairs(BetaShapes{a, b, is_one(op.a), is_one(op.b)}, key, streams, from, nullptr, count, p, q);
  load_given(op.n, sample, i0, count, n);
  for (int e = count; e < ((count + 31) & ~31); ++e) n[e] = p[e] = q[e] = 0.0;
  binomial_each(key, BETA_BINOMIAL, from, count, n, p, q, a);
  store(op.out, sample, i0, count, a);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
