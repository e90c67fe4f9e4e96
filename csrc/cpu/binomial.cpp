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

#include "cpu/element_body.h"

struct BinomialLaw {
  static constexpr int kInputs = 3, kFields = 11, kStart = 3;
  const int64_t* n;
  const double *p, *q;
  int step;  // of p and q: 0 or 1

  FB_HD bool mirrored(int e) const { return p[e * step] > 0.5; }
  FB_HD bool rejects(int e) const {
    return static_cast<double>(n[e]) * (mirrored(e) ? q[e * step] : p[e * step]) >= 10.0;
  }
  FB_HD void fill(double (*input)[kChunk], int o, int e) const {
    input[0][o] = static_cast<double>(n[e]);
    input[1][o] = mirrored(e) ? q[e * step] : p[e * step];
    input[2][o] = mirrored(e) ? p[e * step] : q[e * step];
  }
  FB_HD int64_t finish(int e, int64_t k) const { return mirrored(e) ? n[e] - k : k; }
  static FB_HD BinomialHat hat(const double (*input)[kChunk], int o) {
    return binomial_hat(input[0][o], input[1][o], input[2][o]);
  }
  static void invert(int m, const double (*input)[kChunk], const uint64_t* high, double* k);
  static FB_HD BinomialHat load(const double (*hat)[kChunk], int e) {
    BinomialHat h;
    h.count = hat[0][e];
    h.p = hat[1][e];
    h.q = hat[2][e];
    h.start = hat[3][e];
    h.fraction = hat[4][e];
    h.mean_1 = hat[5][e];
    h.mean_2 = hat[6][e];
    h.a = hat[7][e];
    h.b = hat[8][e];
    h.squeeze = hat[9][e];
    h.alpha = hat[10][e];
    return h;
  }
  static FB_HD void store(double (*hat)[kChunk], int e, const BinomialHat& h) {
    hat[0][e] = h.count;
    hat[1][e] = h.p;
    hat[2][e] = h.q;
    hat[3][e] = h.start;
    hat[4][e] = h.fraction;
    hat[5][e] = h.mean_1;
    hat[6][e] = h.mean_2;
    hat[7][e] = h.a;
    hat[8][e] = h.b;
    hat[9][e] = h.squeeze;
    hat[10][e] = h.alpha;
  }
  static FB_HD Candidate candidate(const BinomialHat& h, double u, double v) { return binomial_candidate(h, u, v); }
  static FB_HD bool accepts(const BinomialHat& h, double edge, double j, double v, double corrections) {
    return binomial_accepts(h, edge, j, v, corrections);
  }
  static FB_HD double smallest(const BinomialHat& h, double j) {
    const double x_1 = binomial_x_1(h, j), x_2 = binomial_x_2(h, j);
    return x_1 < x_2 ? x_1 : x_2;
  }
  static FB_HD double series(const BinomialHat& h, double j) {
    return stirling_series(binomial_x_1(h, j)) + stirling_series(binomial_x_2(h, j));
  }
  static FB_HD double corrections(const BinomialHat& h, double j) {
    return stirling_correction(binomial_x_1(h, j)) + stirling_correction(binomial_x_2(h, j));
  }
};

// Inversions of a dense list, eight at a time; the steps are those of binomial_inversion.
void BinomialLaw::invert(int m, const double (*input)[kChunk], const uint64_t* high, double* k) {
  const double *n = input[0], *p = input[1], *q = input[2];
  alignas(64) double odds[kChunk], mass[kChunk], u[kChunk];
  for (int e = 0; e < m; ++e) {
    odds[e] = p[e] / q[e];
    mass[e] = portable_exp(n[e] * portable_log1p(-p[e]));
    u[e] = uniform_from_zero(static_cast<int64_t>(high[e] >> 11));
  }
  for (int at = 0; at < m; at += 8) {
    const f64x8 n8 = load8(n + at), odds8 = load8(odds + at), u8 = load8(u + at);
    f64x8 mass8 = load8(mass + at), cdf8 = mass8, k8 = {};
    for (int step = 0; step < 128; ++step) {
      const i64x8 on = (u8 >= cdf8) & (mass8 >= 0x1p-54) & (k8 < n8);
      if (!any8(on)) break;
      const f64x8 mass_next = mass8 * (((n8 - k8) * odds8) / (k8 + 1.0)), cdf_next = cdf8 + mass_next, k_next = k8 + 1.0;
      mass8 = on ? mass_next : mass8;
      cdf8 = on ? cdf_next : cdf8;
      k8 = on ? k_next : k8;
    }
    std::memcpy(k + at, &k8, sizeof(k8));
  }
}

void binomial_draws(const SampleKey& key, uint32_t stream, uint32_t i0, int count, const double* p, const double* q, int step,
                    int64_t* n) {
  element_draws(BinomialLaw{n, p, q, step}, key, stream, i0, count, n);
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
