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

#include "cpu/element_body.h"

struct PoissonLaw {
  static constexpr int kInputs = 1, kFields = 7, kStart = 1;
  const double* rate;

  FB_HD bool rejects(int e) const { return rate[e] >= 10.0; }
  FB_HD void fill(double (*input)[kChunk], int o, int e) const { input[0][o] = rate[e]; }
  FB_HD int64_t finish(int, int64_t k) const { return k; }
  static FB_HD PoissonHat hat(const double (*input)[kChunk], int o) { return poisson_hat(input[0][o]); }
  static void invert(int m, const double (*input)[kChunk], const uint64_t* high, double* k);
  static FB_HD PoissonHat load(const double (*hat)[kChunk], int e) {
    PoissonHat h;
    h.rate = hat[0][e];
    h.start = hat[1][e];
    h.fraction = hat[2][e];
    h.a = hat[3][e];
    h.b = hat[4][e];
    h.squeeze = hat[5][e];
    h.inverse_alpha = hat[6][e];
    return h;
  }
  static FB_HD void store(double (*hat)[kChunk], int e, const PoissonHat& h) {
    hat[0][e] = h.rate;
    hat[1][e] = h.start;
    hat[2][e] = h.fraction;
    hat[3][e] = h.a;
    hat[4][e] = h.b;
    hat[5][e] = h.squeeze;
    hat[6][e] = h.inverse_alpha;
  }
  static FB_HD Candidate candidate(const PoissonHat& h, double u, double v) { return poisson_candidate(h, u, v); }
  static FB_HD bool accepts(const PoissonHat& h, double edge, double j, double v, double corrections) {
    return poisson_accepts(h, edge, j, v, corrections);
  }
  static FB_HD double smallest(const PoissonHat& h, double j) { return poisson_x(h, j); }
  static FB_HD double series(const PoissonHat& h, double j) { return stirling_series(poisson_x(h, j)); }
  static FB_HD double corrections(const PoissonHat& h, double j) { return stirling_correction(poisson_x(h, j)); }
};

// Inversions of a dense list, eight at a time; the steps are those of poisson_inversion.
void PoissonLaw::invert(int m, const double (*input)[kChunk], const uint64_t* high, double* k) {
  const double* rate = input[0];
  alignas(64) double mass[kChunk], u[kChunk];
  for (int e = 0; e < m; ++e) {
    mass[e] = portable_exp(-rate[e]);
    u[e] = uniform_from_zero(static_cast<int64_t>(high[e] >> 11));
  }
  for (int at = 0; at < m; at += 8) {
    const f64x8 rate8 = load8(rate + at), u8 = load8(u + at);
    f64x8 mass8 = load8(mass + at), cdf8 = mass8, k8 = {};
    for (int step = 0; step < 128; ++step) {
      const i64x8 on = (u8 >= cdf8) & (mass8 >= 0x1p-54);
      if (!any8(on)) break;
      const f64x8 mass_next = mass8 * (rate8 / (k8 + 1.0)), cdf_next = cdf8 + mass_next, k_next = k8 + 1.0;
      mass8 = on ? mass_next : mass8;
      cdf8 = on ? cdf_next : cdf8;
      k8 = on ? k_next : k8;
    }
    std::memcpy(k + at, &k8, sizeof(k8));
  }
}

void poisson_draws(const SampleKey& key, uint32_t stream, uint32_t i0, int count, const double* rate, int64_t* x) {
  element_draws(PoissonLaw{rate}, key, stream, i0, count, x);
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
