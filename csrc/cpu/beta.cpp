// beta: out ~ Beta(a, b), element by element
#if !defined(FB_ISA)

#include "fastblackout/gamma.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/beta.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(beta_chunk, Beta)

void beta(const Beta& op) {
  check_given(op, "beta", "a", op.a, Rule::positive, kMostShape);
  check_given(op, "beta", "b", op.b, Rule::positive, kMostShape);
  draw_seed(op);
  for_chunks(rows_as_one(op), beta_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/normal.inc"
#include "cpu/per_isa/gamma.inc"
#include "cpu/per_isa/beta.inc"

static void beta_chunk(const Beta& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double a[kChunk], b[kChunk], p[kChunk], q[kChunk];
  load_given(op.a, sample, i0, count, a);
  load_given(op.b, sample, i0, count, b);
  const BetaShapes shapes{a, b, is_one(op.a), is_one(op.b)};
  beta_pairs(shapes, key_of(op, sample), BetaStreams{BETA_A, BETA_B, BETA_BOOST}, static_cast<uint32_t>(i0), nullptr, count, p, q);
  store(op.out, sample, i0, count, p);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
