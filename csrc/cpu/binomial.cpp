// binomial: out ~ Binomial(count, p), element by element
#if !defined(FB_ISA)

#include "fastblackout/binomial.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/binomial.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(binomial_chunk, Binomial)

void binomial(const Binomial& op) {
  check_values(op, "binomial", "count", op.count, Rule::count, exact_counts(op.count.dtype));
  check_values(op, "binomial", "prob", op.p, Rule::probability, 1.0);
  if (op.q) {
    check_values(op, "binomial", "prob", op.q, Rule::probability, 1.0);
    check_pairs(op, "binomial", "prob", op.p, op.q);
  }
  draw_seed(op);
  for_chunks(rows_as_one(op), binomial_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#if FB_ISA_LEVEL > 0
#include "cpu/per_isa/wide.inc"
#include "cpu/per_isa/element_fast.inc"
#endif
#include "cpu/per_isa/element.inc"

// The law of out as element.inc describes a Law. given: counts, p and q.
using BinomialFields = HatFields<BinomialHat, &BinomialHat::count, &BinomialHat::p, &BinomialHat::q,
                                 &BinomialHat::start, &BinomialHat::fraction, &BinomialHat::mean_1,
                                 &BinomialHat::mean_2, &BinomialHat::a, &BinomialHat::b, &BinomialHat::squeeze,
                                 &BinomialHat::alpha>;
struct BinomialLaw : BinomialFields {
  static constexpr int kInputs = 3, kFast = 4, kStart = 3;

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
  static void prepare(int m, const double* const* given, Field* field);
  static void finish_all(int m, const double* const* given, const float* __restrict k, double* __restrict out);
  template <bool Rough = false>
  static void fast_trials(int m, const Field* field, const uint32_t* u, const uint32_t* v, float* k, int32_t* state);
  static void fast_inversions(int m, const Field* field, const uint32_t* u, float* k, int32_t* state);
#endif
  static FB_HD BinomialHat hat(const double (*input)[kChunk], int o) {
    return binomial_hat(input[0][o], input[1][o], input[2][o]);
  }
  static void invert(int m, const double (*input)[kChunk], const uint64_t* high, double* k);
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
// The float32 fields: fraction and whole part of the mean, the count, and the smaller of p and q.
void BinomialLaw::prepare(int m, const double* const* given, Field* field) {
  const double *__restrict n = given[0], *__restrict p = given[1], *__restrict q = given[2];
  float *__restrict part = field[0], *__restrict from = field[1], *__restrict number = field[2], *__restrict small = field[3];
  for (int e = 0; e < m; ++e) {
    const double less = p[e] > 0.5 ? q[e] : p[e], mean = n[e] * less, whole = mean >= 10.0 ? __builtin_trunc(mean) : 0.0;
    part[e] = static_cast<float>(mean - whole);
    from[e] = static_cast<float>(whole);  // 0 marks an element that is to be inverted
    number[e] = static_cast<float>(n[e]);
    small[e] = static_cast<float>(less);
  }
}

void BinomialLaw::finish_all(int m, const double* const* given, const float* __restrict k, double* __restrict out) {
  const double *__restrict n = given[0], *__restrict p = given[1];
  for (int e = 0; e < m; ++e) out[e] = p[e] > 0.5 ? n[e] - k[e] : k[e];
}

// Rough: the mean may be off by field[4] times itself.
template <bool Rough>
void BinomialLaw::fast_trials(int m, const Field* field, const uint32_t* u, const uint32_t* v, float* k, int32_t* state) {
  for (int e = 0; e < m; e += kTwo) {
    const Floats part = load_as<Floats>(field[0] + e), from = load_as<Floats>(field[1] + e), n = load_as<Floats>(field[2] + e);
    const Floats p = load_as<Floats>(field[3] + e), variance = (from + part) * (1.0f - p);
    const Ints fits = variance < kFastVariance, inverted = from <= 0.0f, word_u = load_as<Ints>(u + e), word_v = load_as<Ints>(v + e);
    FastDraw draw;
    if constexpr (Rough) draw = fast_binomial_trial(from, part, n, p, word_u, word_v, load_as<Floats>(field[4] + e));
    else draw = fast_binomial_trial(from, part, n, p, word_u, word_v);
    store_wide(draw.k, k + e);
    store_wide(select(inverted, constant(kInverted), select(fits, outcome_of(draw), constant(kUnsure))), state + e);
  }
}

void BinomialLaw::fast_inversions(int m, const Field* field, const uint32_t* u, float* k, int32_t* state) {
  fast_sums<true>(m, field[2], field[3], nullptr, u, k, state);
}

// The law where the float32 fields are all that is known at first: a fifth one says how well.
struct RoughBinomialLaw : BinomialLaw {
  static constexpr int kFast = 5;
  static void fast_trials(int m, const Field* field, const uint32_t* u, const uint32_t* v, float* k, int32_t* state) {
    BinomialLaw::fast_trials<true>(m, field, u, v, k, state);
  }
  static void fast_inversions(int m, const Field* field, const uint32_t* u, float* k, int32_t* state) {
    fast_sums<true>(m, field[2], field[3], field[4], u, k, state);
  }
};

RoughDraws rough_binomials() {
  Scratch<RoughBinomialLaw>& s = scratch_of<RoughBinomialLaw>();
  return RoughDraws{s.field[0], s.field[1], s.field[2], s.field[3], s.field[4], s.drawn, s.open};
}

int rough_binomial_draws(const DrawKey& key, uint32_t stream, uint32_t i0, int count) {
  return fast_draws(scratch_of<RoughBinomialLaw>(), key, stream, i0, count);
}

void binomial_at(const DrawKey& key, uint32_t stream, uint32_t i0, const int* at, int m, const double* n, const double* p, const double* q,
                 double* out) {
  const double* const given[3] = {n, p, q};
  exact_draws(scratch_of<RoughBinomialLaw>(), given, key, stream, i0, at, m, out);
}
#endif

// Inverts a dense list, eight elements at a time, by the steps of binomial_inversion.
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

// Draws the elements at[0..m) alone, the only ones with counts above 0.
static void sparse_draws(const double* const* given, const DrawKey& key, uint32_t stream, uint32_t i0, uint32_t* at, int m, double* out) {
  alignas(64) double dense[3][kChunk], drawn[kChunk];
  alignas(64) uint32_t index[kChunk + 16];
  for (int e = m; e < padded(m); ++e) at[e] = at[0];
  for (int e = 0; e < padded(m); ++e) {
    for (int f = 0; f < 3; ++f) dense[f][e] = given[f][at[e]];
    index[e] = i0 + at[e];
  }
  DrawKey listed = key;
  listed.index = index;
  const double* const inputs[3] = {dense[0], dense[1], dense[2]};
  element_draws<BinomialLaw>(inputs, listed, stream, 0, m, drawn);
  for (int e = 0; e < m; ++e) out[at[e]] = drawn[e];
}

void binomial_each(const DrawKey& key, uint32_t stream, uint32_t i0, int count, const double* n, const double* p,
                   const double* q, double* out) {
  const double* const given[3] = {n, p, q};
  alignas(64) uint32_t index[kChunk + 16];
  int m = 0;
  for (int e = 0; e < count; ++e) {
    index[m] = static_cast<uint32_t>(e);
    m += n[e] > 0.0;
  }
  if (4 * m > 3 * count || key.index != nullptr) return element_draws<BinomialLaw>(given, key, stream, i0, count, out);
  std::memset(out, 0, sizeof(double) * static_cast<size_t>(count));
  if (m > 0) sparse_draws(given, key, stream, i0, index, m, out);
}

void binomial_draws(const DrawKey& key, uint32_t stream, uint32_t i0, int count, double p, double q, int64_t* n) {
  alignas(64) double given[3][kChunk], out[kChunk];
  for (int e = 0; e < padded(count); ++e) {
    given[0][e] = static_cast<double>(n[e < count ? e : 0]);
    given[1][e] = p;
    given[2][e] = q;
  }
  binomial_each(key, stream, i0, count, given[0], given[1], given[2], out);
  for (int e = 0; e < count; ++e) n[e] = static_cast<int64_t>(out[e]);
}

static void binomial_chunk(const Binomial& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double n[kChunk], p[kChunk], q[kChunk], out[kChunk];
  load(op.count, sample, i0, count, n);
  load(op.p, sample, i0, count, p);
  if (op.q) load(op.q, sample, i0, count, q);
  for (int e = count; e < padded(count); ++e) n[e] = p[e] = q[e] = 0.0;
  if (!op.q)
    for (int e = 0; e < padded(count); ++e) q[e] = 1.0 - p[e];
  const DrawKey key = key_of(op, sample);
  binomial_each(key, BINOMIAL, static_cast<uint32_t>(i0), count, n, p, q, out);
  store(op.out, sample, i0, count, out);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
