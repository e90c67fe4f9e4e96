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

#if FB_ISA_LEVEL > 0
#include "cpu/element_fast.h"
#endif
#include "cpu/element_body.h"

// given: counts, p and q
struct BinomialLaw {
  static constexpr int kInputs = 3, kFields = 11, kStart = 3;

  static FB_HD bool mirrored(const double* const* given, int e) { return given[1][e] > 0.5; }
  static FB_HD bool rejects(const double* const* given, int e) {
    return given[0][e] * (mirrored(given, e) ? given[2][e] : given[1][e]) >= 10.0;
  }
  static FB_HD void fill(double (*input)[kChunk], int o, const double* const* given, int e) {
    input[0][o] = given[0][e];
    input[1][o] = mirrored(given, e) ? given[2][e] : given[1][e];
    input[2][o] = mirrored(given, e) ? given[1][e] : given[2][e];
  }
  static FB_HD double finish(const double* const* given, int e, double k) { return mirrored(given, e) ? given[0][e] - k : k; }
#if FB_ISA_LEVEL > 0
  static void fast_trials(int m, const double* const* given, const uint32_t* u, const uint32_t* v, double* k, int32_t* state);
  static void fast_inversions(int m, const double* const* given, const uint32_t* u, double* k, int32_t* state);
#endif
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

#if FB_ISA_LEVEL > 0
// q comes from p: no more than the float32 rounding of it separates them
void BinomialLaw::fast_trials(int m, const double* const* given, const uint32_t* u, const uint32_t* v, double* k, int32_t* state) {
  const double *n = given[0], *p = given[1], *q = given[2];
  alignas(64) float fraction[kChunk], start[kChunk], count[kChunk], small[kChunk];
  for (int e = 0; e < m; ++e) {
    const double less = p[e] > 0.5 ? q[e] : p[e], mean = n[e] * less, whole = mean >= 10.0 ? __builtin_trunc(mean) : 0.0;
    fraction[e] = static_cast<float>(mean - whole);
    start[e] = static_cast<float>(whole);  // 0 of an inversion
    count[e] = static_cast<float>(n[e]);
    small[e] = static_cast<float>(less);
  }
  for (int e = 0; e < m; e += kWide) {
    const Floats part = load_wide<Floats>(fraction + e), from = load_wide<Floats>(start + e), number = load_wide<Floats>(count + e);
    const Floats p_1 = load_wide<Floats>(small + e), q_1 = 1.0f - p_1, mean = from + part, variance = mean * q_1;
    const Ints fits = variance < kFastVariance, inverted = from <= 0.0f;
    const Floats deviation = sqrt_of(select(fits, variance, all(kFastVariance)));
    const Floats b = fma(deviation, 2.53f, 1.15f), a = fma(p_1, 0.01f, fma(b, 0.0248f, -0.0873f));
    const FastTrial t = fast_candidate(load_wide<Ints>(u + e), load_wide<Ints>(v + e), a, b, part + 0.5f);
    const Floats x_1 = (from + t.j) + 1.0f, x_2 = ((number - from) - t.j) + 1.0f, both = x_1 * x_2;
    const Floats mean_1 = fma(p_1, 2.0f, mean), mean_2 = (number + 2.0f) * q_1, d = (t.j - part) + fma(p_1, -2.0f, 1.0f);
    const Floats sum_1 = x_1 + mean_1, sum_2 = x_2 + mean_2, shared = d / (sum_1 * sum_2);
    const Floats v_1 = shared * sum_2, v_2 = shared * sum_1, z_1 = v_1 * v_1, z_2 = v_2 * v_2;  // v_2: that of -d, negated
    const Floats tails = (x_1 * (v_1 * z_1)) * atanh_tail(z_1) - (x_2 * (v_2 * z_2)) * atanh_tail(z_2);
    const Floats inverse = 1.0f / (both * b), inverse_both = inverse * b, inverse_b = inverse * both;
    const Floats stirling = fast_stirling(inverse_both * x_2) + fast_stirling(inverse_both * x_1);
    const Floats level = fma(tails, 2.0f, fma(d, v_1 + v_2, stirling));
    const Floats square = t.edge * t.edge, hat = fma(b, square, a), alpha = deviation * fma(inverse_b, 5.1f, 2.83f), scale = alpha * square;
    const Ints outcome = fast_outcome(t, level, (scale * scale) * (mean_1 * mean_2), (hat * hat) * both, select(x_1 < x_2, x_1, x_2),
                                      (z_1 <= 0.5f) & (z_2 <= 0.5f));
    const Ints known = select(inverted, constant(kInverted), select(fits, outcome, constant(kUnsure)));
    const Floats drawn = from + t.j;
    std::memcpy(state + e, &known, sizeof(known));
    std::memcpy(start + e, &drawn, sizeof(drawn));
  }
  for (int e = 0; e < m; ++e) k[e] = p[e] > 0.5 ? n[e] - start[e] : start[e];
}

void BinomialLaw::fast_inversions(int m, const double* const* given, const uint32_t* u, double* k, int32_t* state) {
  const double *n = given[0], *p = given[1], *q = given[2];
  alignas(64) float count[kChunk], small[kChunk];
  alignas(64) int32_t counted[kChunk];
  for (int e = 0; e < m; ++e) {
    count[e] = static_cast<float>(n[e]);
    small[e] = static_cast<float>(p[e] > 0.5 ? q[e] : p[e]);
  }
  cpu::FB_ISA::fast_inversions<true>(m, count, small, u, counted, state);
  for (int e = 0; e < m; ++e) k[e] = p[e] > 0.5 ? n[e] - counted[e] : counted[e];
}
#endif

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
  alignas(64) double given[3][kChunk], out[kChunk];
  for (int e = 0; e < padded(count); ++e) {
    const int from = e < count ? e : 0;
    given[0][e] = static_cast<double>(n[from]);
    given[1][e] = p[from * step];
    given[2][e] = q[from * step];
  }
  const double* const inputs[3] = {given[0], given[1], given[2]};
  element_draws<BinomialLaw>(inputs, key, stream, i0, count, out);
  for (int e = 0; e < count; ++e) n[e] = static_cast<int64_t>(out[e]);
}

static void binomial_chunk(const Element& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double n[kChunk], p[kChunk], q[kChunk], out[kChunk];
  load(op.count, sample, i0, count, n);
  load(op.p, sample, i0, count, p);
  if (op.q) load(op.q, sample, i0, count, q);
  for (int e = count; e < padded(count); ++e) n[e] = p[e] = q[e] = 0.0;
  if (!op.q)
    for (int e = 0; e < padded(count); ++e) q[e] = 1.0 - p[e];
  SampleKey key = op.key;
  key.sample += static_cast<uint32_t>(sample);
  const double* const given[3] = {n, p, q};
  element_draws<BinomialLaw>(given, key, BINOMIAL, static_cast<uint32_t>(i0), count, out);
  store(op.out, sample, i0, count, out);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
