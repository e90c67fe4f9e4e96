// binomial: out ~ Binomial(count, p), element by element
#if !defined(FB_ISA)

#include "fastblackout/binomial.h"

#include "cpu/chunks.h"

#define FB_FILE "cpu/binomial.cpp"
#include "cpu/for_each_isa.h"

namespace fastblackout {
namespace cpu {
namespace {

void binomial_chunk(const Element& op, int64_t sample, int64_t i0, int count) { FB_CALL_ISA(op.isa, binomial_chunk, op, sample, i0, count); }

}  // namespace

void binomial(const Element& op) {
  check_values(op, "binomial", "count", op.count, Rule::count, static_cast<double>(kMaxCount));
  check_values(op, "binomial", "prob", op.p, Rule::probability, 1.0);
  if (op.q) check_values(op, "binomial", "prob", op.q, Rule::probability, 1.0);
  for_chunks(op, binomial_chunk);
}

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

void binomial_draws(const SampleKey& key, uint32_t stream, uint32_t i0, int count, const double* p, const double* q, int step,
                    int64_t* n) {
  for (int k = 0; k < count; ++k)
    n[k] = binomial_element(n[k], p[k * step], q[k * step], key.seed_low, key.seed_high, i0 + static_cast<uint32_t>(k),
                            key.sample, key.call, stream);
}

static void binomial_chunk(const Element& op, int64_t sample, int64_t i0, int count) {
  int64_t n[kChunk];
  double p[kChunk], q[kChunk];
  load(op.count, sample, i0, count, n);
  load(op.p, sample, i0, count, p);
  if (op.q) load(op.q, sample, i0, count, q);
  else
    for (int k = 0; k < count; ++k) q[k] = 1.0 - p[k];
  SampleKey key = op.key;
  key.sample += static_cast<uint32_t>(sample);
  binomial_draws(key, BINOMIAL, static_cast<uint32_t>(i0), count, p, q, 1, n);
  store(op.out, sample, i0, count, n);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
