// hypergeometric: how many of `draws` balls are good, drawn from good and bad ones without putting any back
#if !defined(FB_ISA)

#include "fastblackout/hypergeometric.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/hypergeometric.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(hypergeometric_chunk, Hypergeometric)

void hypergeometric(const Hypergeometric& op) {
  check_values(op, "hypergeometric", "good", op.good, Rule::count, exact_counts(op.good.dtype));
  check_values(op, "hypergeometric", "bad", op.bad, Rule::count, exact_counts(op.bad.dtype));
  check_values(op, "hypergeometric", "draws", op.draws, Rule::count, exact_counts(op.draws.dtype));
  check_urns(op, "hypergeometric", op.good, op.bad, op.draws);
  draw_seed(op);
  for_chunks(op, hypergeometric_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

// The first attempts of a chunk are drawn together, by vectors; what they leave open, one by one.
static void hypergeometric_chunk(const Hypergeometric& op, int64_t sample, int64_t i0, int count) {
  alignas(64) int64_t good[kChunk], bad[kChunk], draws[kChunk];
  alignas(64) double n[kChunk], p[kChunk], q[kChunk], k[kChunk];
  const auto key = key_of(op, sample);
  load(op.good, sample, i0, count, good);
  load(op.bad, sample, i0, count, bad);
  load(op.draws, sample, i0, count, draws);
  for (int e = 0; e < ((count + 31) & ~31); ++e) {
    n[e] = p[e] = q[e] = 0.0;
    if (e >= count || good[e] == 0 || bad[e] == 0) continue;
    const Urn urn = urn_of(good[e], bad[e], draws[e]);
    n[e] = static_cast<double>(urn.small);
    p[e] = urn.p;
    q[e] = urn.q;
  }
  binomial_each(key, HYPERGEOMETRIC, static_cast<uint32_t>(i0), count, n, p, q, k);
  BinomialHat hat;
  for (int e = 0; e < count; ++e) {
    Urn urn = urn_of(good[e], bad[e], draws[e]);
    if (urn.small == 0) {
      good[e] = urn.start;
      continue;
    }
    urn_top(urn);
    good[e] = urn_draw<true>(urn, key, static_cast<uint32_t>(i0 + e), static_cast<int64_t>(k[e]), hat);
  }
  store(op.out, sample, i0, count, good);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
