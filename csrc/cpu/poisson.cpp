// poisson: out ~ Poisson(rate), element by element
#if !defined(FB_ISA)

#include "fastblackout/poisson.h"

#include "cpu/chunks.h"

#define FB_FILE "cpu/poisson.cpp"
#include "cpu/for_each_isa.h"

namespace fastblackout {
namespace cpu {
namespace {

void poisson_chunk(const Element& op, int64_t sample, int64_t i0, int count) { FB_CALL_ISA(op.isa, poisson_chunk, op, sample, i0, count); }

}  // namespace

void poisson(const Element& op) {
  check_values(op, "poisson", "rate", op.p, Rule::nonnegative, kMaxRate);
  for_chunks(op, poisson_chunk);
}

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

void poisson_draws(const SampleKey& key, uint32_t stream, uint32_t i0, int count, const double* rate, int64_t* x) {
  for (int k = 0; k < count; ++k)
    x[k] = poisson_element(rate[k], key.seed_low, key.seed_high, i0 + static_cast<uint32_t>(k), key.sample, key.call, stream);
}

static void poisson_chunk(const Element& op, int64_t sample, int64_t i0, int count) {
  int64_t x[kChunk];
  double rate[kChunk];
  load(op.p, sample, i0, count, rate);
  SampleKey key = op.key;
  key.sample += static_cast<uint32_t>(sample);
  poisson_draws(key, POISSON, static_cast<uint32_t>(i0), count, rate, x);
  store(op.out, sample, i0, count, x);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
