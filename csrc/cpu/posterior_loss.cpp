// posterior_loss: the sum of -log P(births) over each sample for a head that gives a law, and its gradient by the arrays of the
// head. Where a gradient will be asked for, the same pass keeps the slopes, whose steps are half those of the loss. Elements are
// computed in float64, a part of a chunk at a time, loop by loop: one loop of all steps would need more registers than there are,
// and what lies between loops stays in the first-level cache.
#if !defined(FB_ISA)

#include "fastblackout/posterior_loss.h"

#include <cstdio>

#include "cpu/support/chunks.h"
#include "fastblackout/birth_loss.h"

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

struct Factorials {
  double log_of[kMostTabled + 1];
  Factorials() {
    for (int64_t n = 0; n <= kMostTabled; ++n) log_of[n] = log_factorial(static_cast<double>(n));
  }
};

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
  static const Factorials factorials;
  check_values(op, kName, "x_t", op.x_t, Rule::count, static_cast<double>(op.max_count));
  const int64_t chunks = (op.elements + kChunk - 1) / kChunk;
  std::vector<float> sums(static_cast<size_t>(op.samples * chunks));
  std::atomic<bool> bad{false};
  LawSums job{op, sums.data(), op.max_count <= kMostTabled ? factorials.log_of : nullptr, &bad};
  for_chunks(job, law_chunk, kChunk, 16);
  if (bad) {  // perhaps, seen on the way: what is written so far reaches nobody
    check_values(op, kName, "head[0]", op.head[0], Rule::finite, 0.0);
    if (op.head[1]) check_values(op, kName, "head[1]", op.head[1], Rule::finite, 0.0);
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

// A part of a chunk: the head in float32, and counts brought into their ranges.
struct LawPart {
  alignas(64) float head[2][kLawPart];
  alignas(64) double room[kLawPart], births[kLawPart];
  int count;
  int64_t wrong;  // not 0 where some value may be

  void fill(const PosteriorLoss& op, int64_t sample, int64_t i0, int size) {
    count = size;
    load(op.head[0], sample, i0, count, head[0]);
    if (op.head[1]) load(op.head[1], sample, i0, count, head[1]);
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
    for (int k = 0; k < count; ++k) infinite |= fastblackout::bits_of(head[0][k] - head[0][k]);
    if (op.head[1])
      for (int k = 0; k < count; ++k) infinite |= fastblackout::bits_of(head[1][k] - head[1][k]);
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

static void store_slopes(const PosteriorLoss& op, int64_t sample, int64_t i0, int count, const float (*slopes)[kLawPart]) {
  for (int g = 0; g < 2; ++g)
    if (op.grad[g]) store(op.grad[g], sample, i0, count, slopes[g]);
}

static void law_chunk(const LawSums& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float losses[kChunk], slopes[2][kLawPart];
  LawPart part;
  BetaBinomialPart law;  // of the one family there is
  int64_t wrong = 0;
  const double offset = static_cast<double>(op.offset[sample]);
  for (int at = 0; at < count; at += kLawPart) {
    part.fill(op, sample, i0 + at, count - at < kLawPart ? count - at : kLawPart);
    wrong |= part.wrong;
    fill_chosen(part, op.factorials, law.first);
    if (op.grad[0]) {
      law.fill<true, true>(part, offset);
      law.slopes(part, 1.0f, slopes);
      store_slopes(op, sample, i0 + at, part.count, slopes);
    } else {
      law.fill<true, false>(part, offset);
    }
    law.losses(part, losses + at);
  }
  std::memset(losses + count, 0, sizeof(float) * static_cast<size_t>(kChunk - count));
  op.chunk_sums[sample * ((op.elements + kChunk - 1) / kChunk) + i0 / kChunk] = birth_loss_chunk_sum(losses);
  if (wrong != 0) *op.bad = true;
}

static void law_grad_chunk(const PosteriorLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float slopes[2][kLawPart];
  LawPart part;
  BetaBinomialPart law;
  for (int at = 0; at < count; at += kLawPart) {
    part.fill(op, sample, i0 + at, count - at < kLawPart ? count - at : kLawPart);
    law.fill<false, true>(part, static_cast<double>(op.offset[sample]));
    law.slopes(part, static_cast<float>(op.weight[sample]), slopes);
    store_slopes(op, sample, i0 + at, part.count, slopes);
  }
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
