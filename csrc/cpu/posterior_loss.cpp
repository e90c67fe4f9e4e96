// posterior_loss: the sum of -log P(births) over each sample for a head that gives a law, and its gradient by the arrays of the
// head. Elements are computed in float64, a part of a chunk at a time, so that what lies between loops stays in the first-level
// cache.
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

constexpr int kLawPart = 256;
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
  int64_t wrong;  // not 0 where some value may be

  void fill(const PosteriorLoss& op, int64_t sample, int64_t i0, int count) {
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
static void fill_chosen(const LawPart& part, const double* factorials, int count, double* chosen) {
  const double *room = part.room, *births = part.births;
  if (factorials == nullptr) {
    for (int k = 0; k < count; ++k) chosen[k] = log_chosen(room[k], births[k]);
    return;
  }
  for (int k = 0; k < count; ++k) {
    const int32_t r = static_cast<int32_t>(room[k]), n = static_cast<int32_t>(births[k]);
    chosen[k] = (factorials[r] - factorials[n]) - factorials[r - n];
  }
}

static void beta_binomial_losses(const LawPart& part, double offset, const double* chosen, int count, float* to) {
  const float *head_0 = part.head[0], *head_1 = part.head[1];
  const double *room = part.room, *births = part.births;
  for (int k = 0; k < count; ++k) {
    const BetaBinomial law = beta_binomial_law(static_cast<double>(head_0[k]), static_cast<double>(head_1[k]), offset);
    const double first = beta_binomial_first(law, room[k], births[k], chosen[k]);
    const Rising a = rising(law.mean * law.c, at_least_one(births[k]));
    const Rising b = rising(law.rest * law.c, at_least_one(room[k] - births[k]));
    const Rising c = rising(law.c, at_least_one(room[k]));
    const double above = (a.above * b.above) * c.below, below = (a.below * b.below) * c.above;
    to[k] = static_cast<float>(beta_binomial_loss(first, (a.sum + b.sum) - c.sum, above, below));
  }
}

static void beta_binomial_grads(const LawPart& part, double offset, double coefficient, int count, float (*to)[kLawPart]) {
  const float *head_0 = part.head[0], *head_1 = part.head[1];
  const double *room = part.room, *births = part.births;
  float *to_0 = to[0], *to_1 = to[1];
  for (int k = 0; k < count; ++k) {
    const BetaBinomial law = beta_binomial_law(static_cast<double>(head_0[k]), static_cast<double>(head_1[k]), offset);
    const double a = rising_slope(law.mean * law.c, births[k]), b = rising_slope(law.rest * law.c, room[k] - births[k]);
    const HeadSlopes slopes = beta_binomial_slopes(law, a, b, rising_slope(law.c, room[k]));
    to_0[k] = static_cast<float>(coefficient * slopes.of[0]);
    to_1[k] = static_cast<float>(coefficient * slopes.of[1]);
  }
}

static void law_chunk(const LawSums& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float losses[kChunk];
  alignas(64) double chosen[kLawPart];
  LawPart part;
  int64_t wrong = 0;
  const double offset = static_cast<double>(op.offset[sample]);
  for (int at = 0; at < count; at += kLawPart) {
    const int size = count - at < kLawPart ? count - at : kLawPart;
    part.fill(op, sample, i0 + at, size);
    wrong |= part.wrong;
    fill_chosen(part, op.factorials, size, chosen);
    beta_binomial_losses(part, offset, chosen, size, losses + at);  // the one family there is
  }
  std::memset(losses + count, 0, sizeof(float) * static_cast<size_t>(kChunk - count));
  op.chunk_sums[sample * ((op.elements + kChunk - 1) / kChunk) + i0 / kChunk] = birth_loss_chunk_sum(losses);
  if (wrong != 0) *op.bad = true;
}

static void law_grad_chunk(const PosteriorLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float grads[2][kLawPart];
  LawPart part;
  const double offset = static_cast<double>(op.offset[sample]), coefficient = op.weight[sample];
  for (int at = 0; at < count; at += kLawPart) {
    const int size = count - at < kLawPart ? count - at : kLawPart;
    part.fill(op, sample, i0 + at, size);
    beta_binomial_grads(part, offset, coefficient, size, grads);
    for (int g = 0; g < 2; ++g)
      if (op.grad[g]) store(op.grad[g], sample, i0 + at, size, grads[g]);
  }
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
