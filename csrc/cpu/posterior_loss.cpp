// posterior_loss: the sum of -log P(births) over each sample for a head that gives a law, and its gradient by the arrays of the
// head. Where a gradient will be asked for, the same pass keeps the slopes, whose steps are half of the loss's. Elements are
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
namespace fastblackout::cpu {
namespace {

struct LawSums : PosteriorLoss {
  float* chunk_sums;         // (samples, chunks of a sample)
  const double* factorials;  // log n! for n = 0..kMostTabled; null where counts may be larger
  std::atomic<bool>* bad;    // set where a value may be wrong
};

constexpr int kLawPart = 128;
constexpr double kWholeFrom = 4503599627370496.0;  // 2^52: from here on every double is whole

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

constexpr const char* kName = "posterior_loss";

FB_CHUNK(law_chunk, LawSums)

FB_CHUNK(law_grad_chunk, PosteriorLoss)

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

void posterior_loss_gradient(const PosteriorLoss& op) {
  for_chunks(op, law_grad_chunk, kChunk, 16);
}

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/wide.inc"
#include "cpu/per_isa/double_parts.inc"
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

// What rising factorials of a part are made of (portfloat.h), the logarithm of `ratio` in a loop of its own.
struct RisingPart {
  alignas(64) double d[kLawPart], w[kLawPart], from[kLawPart], to[kLawPart], ratio[kLawPart], log_w[kLawPart];

  RisingPlaces at(int k) const { return RisingPlaces{d[k], w[k], from[k], to[k], ratio[k]}; }

  template <bool Losses>
  void fill(int count, const double* x, const double* n) {
    for (int k = 0; k < count; ++k) {
      const RisingPlaces made = rising_places_before_log(x[k], at_least_one(n[k]));
      d[k] = made.d;
      w[k] = made.w;
      from[k] = made.from;
      to[k] = made.to;
      ratio[k] = made.ratio;
    }
    logarithms<LogOf::one_plus_a>(count, ratio, ratio);
    if (Losses) logarithms<LogOf::a>(count, w, log_w);
  }
};

static void store_slopes(const PosteriorLoss& op, int64_t sample, int64_t i0, int count, const float (*slopes)[kLawPart]) {
  for (int g = 0; g < ops::kMostHead; ++g)
    if (op.grad[g]) store(op.grad[g], sample, i0, count, slopes[g]);
}

// The slopes of the last component's logit have a place, and go nowhere.
constexpr int kSlopes = 3 * kMostComponents;

#include "cpu/per_isa/bayes_logistic_loss.inc"
#include "cpu/per_isa/beta_binomial_loss.inc"
#include "cpu/per_isa/negative_binomial_loss.inc"

// The losses of a part by the law of a family, and its slopes where a gradient will be asked for
template <class Law>
static void losses_by(const LawSums& op, const LawPart& part, double offset, float* losses, float (*slopes)[kLawPart]) {
  Law law;
  const double most = static_cast<double>(op.max_count);
  if (op.grad[0]) {
    law.template fill<true, true>(part, most, offset, op.factorials);
    law.slopes(part, 1.0f, slopes);
  } else {
    law.template fill<true, false>(part, most, offset, op.factorials);
  }
  law.losses(part, losses);
}

template <class Law>
static void slopes_by(const PosteriorLoss& op, const LawPart& part, double offset, float coefficient, float (*slopes)[kLawPart]) {
  Law law;
  law.template fill<false, true>(part, static_cast<double>(op.max_count), offset, tabled_factorials(op.max_count));
  law.slopes(part, coefficient, slopes);
}

// The sum of the losses of a chunk, and a word of wrong values
static void finish_chunk(const LawSums& op, int64_t sample, int64_t i0, int count, float* losses, bool wrong) {
  std::memset(losses + count, 0, sizeof(float) * static_cast<size_t>(kChunk - count));
  op.chunk_sums[sample * ((op.elements + kChunk - 1) / kChunk) + i0 / kChunk] = birth_loss_chunk_sum(losses);
  if (wrong) *op.bad = true;
}

static void law_chunk(const LawSums& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float losses[kChunk], slopes[kSlopes][kLawPart];
  LawPart part;
  int64_t wrong = 0;
  const double offset = static_cast<double>(op.offset[sample]);
  for (int at = 0; at < count; at += kLawPart) {
    part.fill(op, sample, i0 + at, count - at < kLawPart ? count - at : kLawPart);
    wrong |= part.wrong;
    switch (static_cast<Family>(op.family)) {
      case Family::bayes_logistic: losses_by<BayesLogisticPart>(op, part, offset, losses + at, slopes); break;
      case Family::negative_binomial: losses_by<NegativeBinomialPart>(op, part, offset, losses + at, slopes); break;
      default: losses_by<BetaBinomialPart>(op, part, offset, losses + at, slopes);
    }
    if (op.grad[0]) store_slopes(op, sample, i0 + at, part.count, slopes);
  }
  finish_chunk(op, sample, i0, count, losses, wrong != 0);
}

static void law_grad_chunk(const PosteriorLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float slopes[kSlopes][kLawPart];
  LawPart part;
  const double offset = static_cast<double>(op.offset[sample]);
  const float coefficient = static_cast<float>(op.weight[sample]);
  for (int at = 0; at < count; at += kLawPart) {
    part.fill(op, sample, i0 + at, count - at < kLawPart ? count - at : kLawPart);
    switch (static_cast<Family>(op.family)) {
      case Family::bayes_logistic: slopes_by<BayesLogisticPart>(op, part, offset, coefficient, slopes); break;
      case Family::negative_binomial: slopes_by<NegativeBinomialPart>(op, part, offset, coefficient, slopes); break;
      default: slopes_by<BetaBinomialPart>(op, part, offset, coefficient, slopes);
    }
    store_slopes(op, sample, i0 + at, part.count, slopes);
  }
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
