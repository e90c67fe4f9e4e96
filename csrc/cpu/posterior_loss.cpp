// posterior_loss: the sum of -log P(births) over each sample for a head that gives a law, and its gradient by the arrays of the
// head. Where a gradient will be asked for, the same pass keeps the slopes, whose steps are half those of the loss. Elements are
// computed in float64, a part of a chunk at a time, loop by loop: one loop of all steps would need more registers than there are,
// and what lies between loops stays in the first-level cache.
#if !defined(FB_ISA)

#include "fastblackout/posterior_loss.h"

#include <cstdio>

#include "cpu/support/chunks.h"
#include "cpu/support/factorials.h"
#include "fastblackout/bayes_logistic.h"
#include "fastblackout/birth_loss.h"
#include "fastblackout/negative_binomial_law.h"

#define FB_FILE "cpu/posterior_loss.cpp"
namespace fastblackout {
namespace cpu {
namespace {

struct LawSums : PosteriorLoss {
  float* chunk_sums;         // (samples, chunks of a sample)
  const double* factorials;  // log n! for n = 0..kMostTabled; null where counts may be larger
  std::atomic<bool>* bad;    // set where a value may be wrong
};

constexpr int kLawPart = 128;
constexpr double kWholeFrom = 4503599627370496.0;  // 2^52: from here on every double is whole

}  // namespace
}  // namespace cpu
}  // namespace fastblackout
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout {
namespace cpu {
namespace {

constexpr const char* kName = "posterior_loss";

void law_chunk(const LawSums& op, int64_t sample, int64_t i0, int count) { FB_CALL_ISA(op.isa, law_chunk, op, sample, i0, count); }

void law_grad_chunk(const PosteriorLoss& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, law_grad_chunk, op, sample, i0, count);
}

double one_of(const View& view, int64_t sample, int64_t i) {
  double value;
  scalar::load(view, sample, i, 1, &value);
  return value;
}

// Throws for the first births that are not whole or lie outside 0..max_count - x_t.
void check_births(const PosteriorLoss& op) {
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    for (int64_t i = 0; i < op.elements; ++i) {
      const double n = one_of(op.births, sample, i), room = static_cast<double>(op.max_count) - one_of(op.x_t, sample, i);
      if (n >= 0.0 && n <= room && static_cast<double>(static_cast<int64_t>(n)) == n) continue;
      char text[256];
      std::snprintf(text, sizeof(text), "%s: births: must be whole numbers in 0..max_count - x_t, got %.17g at sample %lld, element %lld",
                    kName, n, static_cast<long long>(sample), static_cast<long long>(i));
      throw std::invalid_argument(text);
    }
  }
}

}  // namespace

static_assert(kLossChunk == kChunk, "a loss chunk is summed as one tree");

void posterior_loss(const PosteriorLoss& op) {
  check_values(op, kName, "x_t", op.x_t, Rule::count, static_cast<double>(op.max_count));
  const int64_t chunks = (op.elements + kChunk - 1) / kChunk;
  std::vector<float> sums(static_cast<size_t>(op.samples * chunks));
  std::atomic<bool> bad{false};
  LawSums job{op, sums.data(), tabled_factorials(op.max_count), &bad};
  for_chunks(job, law_chunk, kChunk, 16);
  if (bad) {  // perhaps, seen on the way: what is written so far reaches nobody
    check_head(op, kName);
    check_births(op);
  }
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    double total = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total = total + static_cast<double>(sums[static_cast<size_t>(sample * chunks + chunk)]);
    op.loss[sample] = static_cast<float>(op.weight[sample] * total);
  }
}

void posterior_loss_gradient(const PosteriorLoss& op) { for_chunks(op, law_grad_chunk, kChunk, 16); }

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

#include "cpu/per_isa/bayes.inc"

// A part of a chunk: the head in float32, and counts brought into their ranges.
struct LawPart {
  alignas(64) float head[ops::kMostHead][kLawPart];
  alignas(64) double room[kLawPart], births[kLawPart];
  int count, heads;
  int64_t wrong;  // not 0 where some value may be

  void fill(const PosteriorLoss& op, int64_t sample, int64_t i0, int size) {
    count = size;
    heads = heads_of(op);
    for (int g = 0; g < heads; ++g) load(op.head[g], sample, i0, count, head[g]);
    load(op.x_t, sample, i0, count, room);
    load(op.births, sample, i0, count, births);
    const double most = static_cast<double>(op.max_count);
    int64_t changed = 0;
    for (int k = 0; k < count; ++k) {
      const double left = most - room[k], free = left > 0.0 ? (left < most ? left : most) : 0.0;
      const double born = births[k], inside = born > 0.0 ? (born < free ? born : free) : 0.0;
      const double whole = inside >= kWholeFrom ? inside : (inside + kWholeFrom) - kWholeFrom;
      room[k] = free;
      births[k] = whole;
      changed |= bit_cast<int64_t>(born) ^ bit_cast<int64_t>(whole);
    }
    int32_t infinite = 0;  // x - x is 0 for finite x alone
    for (int g = 0; g < heads; ++g)
      for (int k = 0; k < count; ++k) infinite |= fastblackout::bits_of(head[g][k] - head[g][k]);
    wrong = changed | infinite;
  }
};

// log C(room, n), from the table of logarithms of factorials where there is one
static void fill_chosen(const LawPart& part, const double* factorials, double* chosen) {
  if (factorials == nullptr) {
    for (int k = 0; k < part.count; ++k) chosen[k] = log_chosen(part.room[k], part.births[k]);
    return;
  }
  alignas(64) int32_t room[kLawPart], births[kLawPart];
  for (int k = 0; k < part.count; ++k) room[k] = static_cast<int32_t>(part.room[k]);
  for (int k = 0; k < part.count; ++k) births[k] = static_cast<int32_t>(part.births[k]);
  for (int k = 0; k < part.count; ++k) chosen[k] = (factorials[room[k]] - factorials[births[k]]) - factorials[room[k] - births[k]];
}

// The beta-binomial law of a part: its losses, its slopes, or both.
struct BetaBinomialPart {
  alignas(64) double mean[kLawPart], rest[kLawPart], c[kLawPart], first[kLawPart];  // first: log C(room, n) before `laws`
  alignas(64) double sum[kLawPart], above[kLawPart], below[kLawPart], slope[3][kLawPart];

  template <bool Losses>
  void laws(const LawPart& part, double offset) {
    for (int k = 0; k < part.count; ++k) {
      const BetaBinomialLaw law = beta_binomial_law(static_cast<double>(part.head[0][k]), static_cast<double>(part.head[1][k]), offset);
      mean[k] = law.mean;
      rest[k] = law.rest;
      c[k] = law.c;
      if (Losses) first[k] = beta_binomial_first(law, part.room[k], part.births[k], first[k]);
    }
  }

  // The factorial of a and the births (Which = 0), of b and the deaths, of c and the room
  template <int Which, bool Losses, bool Slopes>
  void factorials(const LawPart& part) {
    for (int k = 0; k < part.count; ++k) {
      const double x = Which == 0 ? mean[k] * c[k] : Which == 1 ? rest[k] * c[k] : c[k];
      const double n = Which == 0 ? part.births[k] : Which == 1 ? part.room[k] - part.births[k] : part.room[k];
      if (Slopes) slope[Which][k] = rising_slope(x, n);
      if (!Losses) continue;
      const Rising made = rising(x, at_least_one(n));
      sum[k] = Which == 0 ? made.sum : Which == 1 ? sum[k] + made.sum : sum[k] - made.sum;
      above[k] = Which == 0 ? made.above : above[k] * (Which == 1 ? made.above : made.below);
      below[k] = Which == 0 ? made.below : below[k] * (Which == 1 ? made.below : made.above);
    }
  }

  template <bool Losses, bool Slopes>
  void fill(const LawPart& part, double offset) {
    laws<Losses>(part, offset);
    factorials<0, Losses, Slopes>(part);
    factorials<1, Losses, Slopes>(part);
    factorials<2, Losses, Slopes>(part);
  }

  void losses(const LawPart& part, float* to) const {
    for (int k = 0; k < part.count; ++k) to[k] = static_cast<float>(beta_binomial_loss(first[k], sum[k], above[k], below[k]));
  }

  void slopes(const LawPart& part, float coefficient, float (*to)[kLawPart]) const {
    float *to_0 = to[0], *to_1 = to[1];
    for (int k = 0; k < part.count; ++k) {
      const HeadSlopes made = beta_binomial_slopes(mean[k], rest[k], clamp_is_free(static_cast<double>(part.head[1][k])),
                                                   slope[0][k], slope[1][k], slope[2][k]);
      to_0[k] = coefficient * static_cast<float>(made.of[0]);
      to_1[k] = coefficient * static_cast<float>(made.of[1]);
    }
  }
};

static_assert(kBayesPart == kLawPart, "a part of one law is a part of the other");

// The law "bayes-logistic" of a part: its losses, its slopes, or both.
struct BayesLogisticPart {
  BayesPart law;
  alignas(64) double total[kLawPart], seen_top[kLawPart], seen_sum[kLawPart], likelihood[kLawPart];
  alignas(64) double mass[kMostComponents][kLawPart], mean[kMostComponents][kLawPart], scale[kMostComponents][kLawPart];

  // The weights of the births: of each component its mass, and the sum of these, over exp(seen_top + likelihood)
  void see(const LawPart& part) {
    law.log_factorials(part.births);
    for (int k = 0; k < law.count; ++k) likelihood[k] = bayes_likelihood(law.element(k), part.births[k], law.first[k], law.second[k]);
    alignas(64) double factor[kMostComponents][kLawPart];
    for (int j = 0; j < law.components; ++j) {
      const BayesPart::Of& c = law.of[j];
      double *mass_j = mass[j], *factor_j = factor[j], *mean_j = mean[j], *scale_j = scale[j];
      for (int k = 0; k < law.count; ++k) {
        const BayesSeen seen = bayes_seen(law.element(k), c.at(k), part.births[k], c.base[k], c.base_most[k], c.base_zero[k]);
        mass_j[k] = seen.log_mass;
        factor_j[k] = seen.factor;
        mean_j[k] = seen.mean;
        scale_j[k] = seen.scale;
      }
      for (int k = 0; k < law.count; ++k) seen_top[k] = j == 0 ? mass_j[k] : at_least(seen_top[k], mass_j[k]);
    }
    for (int j = 0; j < law.components; ++j) {
      double* mass_j = mass[j];
      for (int k = 0; k < law.count; ++k) {
        mass_j[k] = portable_exp(mass_j[k] - seen_top[k]) * factor[j][k];
        seen_sum[k] = j == 0 ? mass_j[k] : seen_sum[k] + mass_j[k];
      }
    }
  }

  template <bool Slopes>
  void fill(const LawPart& part, double most, double offset, const double* factorials) {
    law.count = part.count;
    law.components = (part.heads + 1) / 3;
    law.most = most;
    law.offset = offset;
    law.factorials = factorials;
    for (int k = 0; k < part.count; ++k) law.room[k] = part.room[k];
    law.fill<Slopes>(part.head);
    law.totals(total);
    see(part);
  }

  void losses(float* to) const {
    for (int k = 0; k < law.count; ++k)
      to[k] = static_cast<float>(bayes_loss(law.element(k), law.top[k], total[k], likelihood[k], seen_top[k], seen_sum[k]));
  }

  void slopes(const LawPart& part, float coefficient, float (*to)[kLawPart]) const {
    for (int j = 0; j < law.components; ++j) {
      const BayesPart::Of& c = law.of[j];
      float *to_mean = to[j], *to_scale = to[law.components + j], *to_logit = to[2 * law.components + j];
      for (int k = 0; k < law.count; ++k) {
        const BayesWeights weights{c.factor[k], c.weight_most[k], c.weight_zero[k]};
        const BayesSums sums{c.sum[0][k] + c.sum[1][k], c.means[0][k] + c.means[1][k], c.scales[0][k] + c.scales[1][k]};
        const BayesSlopes made = bayes_slopes(law.element(k), c.at(k), weights, sums, 1.0 / total[k], part.births[k],
                                              mass[j][k] * (1.0 / seen_sum[k]), mean[j][k], scale[j][k]);
        const double wide = static_cast<double>(part.head[law.components + j][k]);
        to_mean[k] = coefficient * static_cast<float>(made.mean);
        to_scale[k] = coefficient * static_cast<float>(wide == clamped_wide(wide) ? made.scale : 0.0);
        to_logit[k] = coefficient * static_cast<float>(made.logit);
      }
    }
  }
};

static void store_slopes(const PosteriorLoss& op, int64_t sample, int64_t i0, int count, const float (*slopes)[kLawPart]) {
  for (int g = 0; g < ops::kMostHead; ++g)
    if (op.grad[g]) store(op.grad[g], sample, i0, count, slopes[g]);
}

// The slopes of the last component's logit have a place, and go nowhere.
constexpr int kSlopes = 3 * kMostComponents;

static void beta_binomial_chunk(const LawSums& op, const LawPart& part, double offset, float* losses, float (*slopes)[kLawPart]) {
  BetaBinomialPart law;
  fill_chosen(part, op.factorials, law.first);
  if (op.grad[0]) {
    law.fill<true, true>(part, offset);
    law.slopes(part, 1.0f, slopes);
  } else {
    law.fill<true, false>(part, offset);
  }
  law.losses(part, losses);
}

static void bayes_logistic_chunk(const LawSums& op, const LawPart& part, double offset, float* losses, float (*slopes)[kLawPart]) {
  BayesLogisticPart law;
  const double most = static_cast<double>(op.max_count);
  if (op.grad[0]) {
    law.fill<true>(part, most, offset, op.factorials);
    law.slopes(part, 1.0f, slopes);
  } else {
    law.fill<false>(part, most, offset, op.factorials);
  }
  law.losses(losses);
}

#include "cpu/per_isa/negative_binomial_loss.inc"

static void chunk_by(Family family, const LawSums& op, const LawPart& part, double offset, float* losses, float (*slopes)[kLawPart]) {
  switch (family) {
    case Family::bayes_logistic: return bayes_logistic_chunk(op, part, offset, losses, slopes);
    case Family::negative_binomial: return negative_binomial_chunk(op, part, offset, losses, slopes);
    default: return beta_binomial_chunk(op, part, offset, losses, slopes);
  }
}

static void law_chunk(const LawSums& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float losses[kChunk], slopes[kSlopes][kLawPart];
  LawPart part;
  int64_t wrong = 0;
  const double offset = static_cast<double>(op.offset[sample]);
  for (int at = 0; at < count; at += kLawPart) {
    part.fill(op, sample, i0 + at, count - at < kLawPart ? count - at : kLawPart);
    wrong |= part.wrong;
    chunk_by(static_cast<Family>(op.family), op, part, offset, losses + at, slopes);
    if (op.grad[0]) store_slopes(op, sample, i0 + at, part.count, slopes);
  }
  std::memset(losses + count, 0, sizeof(float) * static_cast<size_t>(kChunk - count));
  op.chunk_sums[sample * ((op.elements + kChunk - 1) / kChunk) + i0 / kChunk] = birth_loss_chunk_sum(losses);
  if (wrong != 0) *op.bad = true;
}

static void beta_binomial_grad_chunk(const PosteriorLoss& op, const LawPart& part, double offset, float coefficient, float (*slopes)[kLawPart]) {
  (void)op;
  BetaBinomialPart law;
  law.fill<false, true>(part, offset);
  law.slopes(part, coefficient, slopes);
}

static void bayes_logistic_grad_chunk(const PosteriorLoss& op, const LawPart& part, double offset, float coefficient, float (*slopes)[kLawPart]) {
  BayesLogisticPart law;
  law.fill<true>(part, static_cast<double>(op.max_count), offset, tabled_factorials(op.max_count));
  law.slopes(part, coefficient, slopes);
}

static void grad_chunk_by(Family family, const PosteriorLoss& op, const LawPart& part, double offset, float coefficient, float (*slopes)[kLawPart]) {
  switch (family) {
    case Family::bayes_logistic: return bayes_logistic_grad_chunk(op, part, offset, coefficient, slopes);
    case Family::negative_binomial: return negative_binomial_grad_chunk(op, part, offset, coefficient, slopes);
    default: return beta_binomial_grad_chunk(op, part, offset, coefficient, slopes);
  }
}

static void law_grad_chunk(const PosteriorLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float slopes[kSlopes][kLawPart];
  LawPart part;
  const double offset = static_cast<double>(op.offset[sample]);
  const float coefficient = static_cast<float>(op.weight[sample]);
  for (int at = 0; at < count; at += kLawPart) {
    part.fill(op, sample, i0 + at, count - at < kLawPart ? count - at : kLawPart);
    grad_chunk_by(static_cast<Family>(op.family), op, part, offset, coefficient, slopes);
    store_slopes(op, sample, i0 + at, part.count, slopes);
  }
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
