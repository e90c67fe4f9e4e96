// poisson: out ~ Poisson(rate), element by element
#if !defined(FB_ISA)

#include "fastblackout/poisson.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/poisson.cpp"
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {

FB_CHUNK(poisson_chunk, Poisson)

void poisson(const Poisson& op) {
  check_values(op, "poisson", "rate", op.rate, Rule::nonnegative, kMaxRate);
  draw_seed(op);
  for_chunks(rows_as_one(op), poisson_chunk);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#if FB_ISA_LEVEL > 0
#include "cpu/per_isa/wide.inc"
#include "cpu/per_isa/element_fast.inc"
#endif
#include "cpu/per_isa/element.inc"

// The law of out as element.inc describes a Law. given: rates.
using PoissonFields = HatFields<PoissonHat, &PoissonHat::rate, &PoissonHat::start, &PoissonHat::fraction,
                                &PoissonHat::a, &PoissonHat::b, &PoissonHat::squeeze, &PoissonHat::inverse_alpha>;
struct PoissonLaw : PoissonFields {
  static constexpr int kInputs = 1, kFast = 2, kStart = 1;

  static FB_HD bool rejects(const double* const* given, int e) { return given[0][e] >= 10.0; }
  static FB_HD void fill(double (*input)[kChunk], int o, const double* const* given, int e) { input[0][o] = given[0][e]; }
  static FB_HD double finish(const double* const*, int, double k) { return k; }
#if FB_ISA_LEVEL > 0
  static void prepare(int m, const double* const* given, Field* field);
  static void finish_all(int m, const double* const* given, const float* __restrict k, double* __restrict out);
  template <bool Rough = false>
  static void fast_trials(int m, const Field* field, const uint32_t* u, const uint32_t* v, float* k, int32_t* state);
  static void fast_inversions(int m, const Field* field, const uint32_t* u, float* k, int32_t* state);
#endif
  static FB_HD PoissonHat hat(const double (*input)[kChunk], int o) { return poisson_hat(input[0][o]); }
  static void invert(int m, const double (*input)[kChunk], const uint64_t* high, double* k);
  static FB_HD Candidate candidate(const PoissonHat& h, double u, double v) { return poisson_candidate(h, u, v); }
  static FB_HD bool accepts(const PoissonHat& h, double edge, double j, double v, double corrections) {
    return poisson_accepts(h, edge, j, v, corrections);
  }
  static FB_HD double smallest(const PoissonHat& h, double j) { return poisson_x(h, j); }
  static FB_HD double series(const PoissonHat& h, double j) { return stirling_series(poisson_x(h, j)); }
  static FB_HD double corrections(const PoissonHat& h, double j) { return stirling_correction(poisson_x(h, j)); }
};

#if FB_ISA_LEVEL > 0
// The float32 fields: fraction and whole part of the rate.
void PoissonLaw::prepare(int m, const double* const* given, Field* field) {
  const double* __restrict rate = given[0];
  float *__restrict part = field[0], *__restrict from = field[1];
  for (int e = 0; e < m; ++e) {
    const double whole = rate[e] >= 10.0 ? __builtin_trunc(rate[e]) : 0.0;
    part[e] = static_cast<float>(rate[e] - whole);
    from[e] = static_cast<float>(whole);  // 0 marks an element that is to be inverted
  }
}

void PoissonLaw::finish_all(int m, const double* const*, const float* __restrict k, double* __restrict out) {
  for (int e = 0; e < m; ++e) out[e] = k[e];
}

// Rough: the rate may be off by field[2] times itself.
template <bool Rough>
void PoissonLaw::fast_trials(int m, const Field* field, const uint32_t* u, const uint32_t* v, float* k, int32_t* state) {
  for (int e = 0; e < m; e += kTwo) {
    const Floats part = load_as<Floats>(field[0] + e), from = load_as<Floats>(field[1] + e);
    const Ints fits = from + part < kFastVariance, inverted = from <= 0.0f, word_u = load_as<Ints>(u + e), word_v = load_as<Ints>(v + e);
    FastDraw draw;
    if constexpr (Rough) draw = fast_poisson_trial(from, part, word_u, word_v, load_as<Floats>(field[2] + e));
    else draw = fast_poisson_trial(from, part, word_u, word_v);
    store_wide(draw.k, k + e);
    store_wide(select(inverted, constant(kInverted), select(fits, outcome_of(draw), constant(kUnsure))), state + e);
  }
}

void PoissonLaw::fast_inversions(int m, const Field* field, const uint32_t* u, float* k, int32_t* state) {
  fast_sums<false>(m, nullptr, field[0], nullptr, u, k, state);
}

// The law where the float32 fields are all that is known at first: a third one says how well.
struct RoughPoissonLaw : PoissonLaw {
  static constexpr int kFast = 3;
  static void fast_trials(int m, const Field* field, const uint32_t* u, const uint32_t* v, float* k, int32_t* state) {
    PoissonLaw::fast_trials<true>(m, field, u, v, k, state);
  }
  static void fast_inversions(int m, const Field* field, const uint32_t* u, float* k, int32_t* state) {
    fast_sums<false>(m, nullptr, field[0], field[2], u, k, state);
  }
};

RoughDraws rough_poissons() {
  Scratch<RoughPoissonLaw>& s = scratch_of<RoughPoissonLaw>();
  return RoughDraws{s.field[0], s.field[1], nullptr, nullptr, s.field[2], s.drawn, s.open};
}

int rough_poisson_draws(const DrawKey& key, uint32_t stream, uint32_t i0, int count) {
  return fast_draws(scratch_of<RoughPoissonLaw>(), key, stream, i0, count);
}

void poisson_at(const DrawKey& key, uint32_t stream, uint32_t i0, const int* at, int m, const double* rate, double* out) {
  const double* const given[1] = {rate};
  exact_draws(scratch_of<RoughPoissonLaw>(), given, key, stream, i0, at, m, out);
}
#endif

// Inverts a dense list, eight elements at a time, by the steps of poisson_inversion.
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

void poisson_draws(const DrawKey& key, uint32_t stream, uint32_t i0, int count, const double* rate, int64_t* x) {
  alignas(64) double given[kChunk], out[kChunk];
  for (int e = 0; e < padded(count); ++e) given[e] = rate[e < count ? e : 0];
  const double* const inputs[1] = {given};
  element_draws<PoissonLaw>(inputs, key, stream, i0, count, out);
  for (int e = 0; e < count; ++e) x[e] = static_cast<int64_t>(out[e]);
}

static void poisson_chunk(const Poisson& op, int64_t sample, int64_t i0, int count) {
  alignas(64) double rate[kChunk], out[kChunk];
  load(op.rate, sample, i0, count, rate);
  for (int e = count; e < padded(count); ++e) rate[e] = 0.0;
  const DrawKey key = key_of(op, sample);
  const double* const given[1] = {rate};
  element_draws<PoissonLaw>(given, key, POISSON, static_cast<uint32_t>(i0), count, out);
  store(op.out, sample, i0, count, out);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
