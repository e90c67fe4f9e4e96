// gamma: out ~ scale Gamma(shape), element by element
#if !defined(FB_ISA)

#include "fastblackout/gamma.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/gamma.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(gamma_chunk, Gamma)

void gamma(const Gamma& op) {
  check_given(op, "gamma", "shape", op.shape, Rule::positive, kMostShape);
  check_given(op, "gamma", "scale", op.scale, Rule::nonnegative, kLargest);
  draw_seed(op);
  for_chunks(rows_as_one(op), gamma_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/normal.inc"
#include "cpu/per_isa/gamma.inc"

static void gamma_chunk(const Gamma& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double shape[kChunk], scale[kChunk], m[kChunk], exponent[kChunk];
  GammaScratch& s = gamma_scratch();
  const DrawKey key = key_of(op, sample);
  const uint32_t from = static_cast<uint32_t>(i0);
  load_given(op.shape, sample, i0, count, shape);
  load_given(op.scale, sample, i0, count, scale);
  gamma_magnitudes(s, key, GAMMA, from, nullptr, count, shape, is_one(op.shape), m);
  if (gamma_exponents(s, key, GAMMA_BOOST, 0, from, nullptr, count, shape, exponent))
    for (int e = 0; e < count; ++e) m[e] = gamma_scaled(scale[e], m[e], exponent[e]);
  else
    for (int e = 0; e < count; ++e) m[e] = scale[e] * m[e];
  store(op.out, sample, i0, count, m);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
