// energy_loss: the distances of several draws of a network from the births and from one another, in one pass over a sample,
// and the gradient by the logits in another. Where a gradient may be asked for, the first pass leaves the exponentials of the draws in
// its memory, with the signs of their arguments, and the second one then needs no logits: it is given that memory in their place.
#if !defined(FB_ISA)

#include "fastblackout/energy_loss.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/energy_loss.cpp"
namespace fastblackout::cpu {
namespace {

struct Squares : EnergyLoss {
  float* chunk_sums;  // (samples, chunks of a sample, norms)
  std::atomic<bool>* bad;
};

bool has_exponentials(const EnergyLoss& op) { return op.logits[0].data == op.grad[0].data; }

int64_t chunks_of(const Common& op) { return (op.elements + kChunk - 1) / kChunk; }

}  // namespace
}  // namespace fastblackout::cpu
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout::cpu {
namespace {

constexpr const char* kName = "energy_loss";

FB_CHUNK(squares_chunk, Squares)
FB_CHUNK(grad_chunk, EnergyLoss)

}  // namespace

static_assert(kLossChunk == kChunk, "a chunk is summed as one tree");

void energy_loss(const EnergyLoss& op) {
  check_values(op, kName, "x_t", op.x_t, Rule::count, static_cast<double>(op.max_count));
  const int draws = static_cast<int>(op.logits.draws), norms = norms_of(draws);
  const int64_t chunks = chunks_of(op);
  std::vector<float> sums(static_cast<size_t>(op.samples * chunks * norms));
  std::atomic<bool> bad{false};
  Squares job{op, sums.data(), &bad};
  for_chunks(job, squares_chunk, kChunk, draws);
  if (bad) {  // perhaps, seen on the way: what is written so far reaches nobody
    for (int s = 0; s < draws; ++s) check_values(op, kName, "logits", op.logits[s], Rule::finite, 0.0);
    check_values(op, kName, "births", op.births, Rule::nonnegative, kLargestFloat32);
  }
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    double* const norm = op.norms + sample * norms;
    for (int k = 0; k < norms; ++k) {
      double total = 0.0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) total = total + static_cast<double>(sums[static_cast<size_t>((sample * chunks + chunk) * norms + k)]);
      norm[k] = portable_sqrt(total);
    }
    op.loss[sample] = energy_loss_of(norm, draws, op.weight[sample]);
  }
}

void energy_loss_gradient(const EnergyLoss& op) { for_chunks(op, grad_chunk, kChunk, op.logits.draws); }

}  // namespace fastblackout::cpu

#else

namespace fastblackout::cpu::FB_ISA {

#include "cpu/per_isa/energy_draws.inc"

static void squares_chunk(const Squares& op, int64_t sample, int64_t i0, int count) {
  Drawn drawn;
  const int draws = static_cast<int>(op.logits.draws), end = tree_size(count);
  drawn.fill_births(op, sample, i0, count, end);
  drawn.fill_room(op, sample, i0, count, end);
  bool bad = false;
  for (int s = 0; s < draws; ++s) bad |= drawn.fill_draw<false>(op, s, sample, i0, count, end);
  int32_t signs = 0;
  for (int k = 0; k < count; ++k) signs |= fastblackout::bits_of(drawn.births[k]);
  float* const sums = op.chunk_sums + (sample * chunks_of(op) + i0 / kChunk) * norms_of(draws);
  int norm = 0;
  for (int s = 0; s < draws; ++s) sums[norm++] = sum_of_squares(drawn.y[s], drawn.births, end);
  for (int s = 0; s < draws; ++s)
    for (int r = s + 1; r < draws; ++r) sums[norm++] = sum_of_squares(drawn.y[s], drawn.y[r], end);
  for (int k = 0; k < norm; ++k) bad = bad || !(sums[k] - sums[k] == 0.0f);  // births that are not finite have such sums
  if (bad || signs < 0) *op.bad = true;
}

// The gradients of all draws from y and the slopes, or from the exponentials that squares_chunk left; of either they may take the place.
template <int Draws, bool Kept>
static void gradients(const EnergyLoss& op, int64_t sample, int count, const Drawn& drawn, float* const* to) {
  const double* const norms = op.norms + sample * norms_of(Draws);
  const double coefficient = op.weight[sample];
  float away[Draws], apart[Draws][Draws];
  for (int s = 0; s < Draws; ++s) {
    away[s] = energy_factor_away(norms, Draws, s, coefficient);
    for (int r = 0; r < Draws; ++r) apart[s][r] = s == r ? 0.0f : energy_factor_apart(norms, Draws, s, r, coefficient);
  }
  for (int k = 0; k < count; k += kLanes) {
    const FloatVector births = load_as<FloatVector>(drawn.births + k);
    const FloatVector room = load_as<FloatVector>(drawn.room + k);
    FloatVector y[Draws], slope[Draws];
    for (int s = 0; s < Draws; ++s) {
      if (Kept) {
        const FloatVector with_sign = load_as<FloatVector>(to[s] + k), e = without_sign(with_sign), inverse = energy_inverse(e);
        y[s] = energy_draw(room, with_sign, e, inverse);
        slope[s] = energy_slope(room, e, inverse);
      } else {
        y[s] = load_as<FloatVector>(drawn.y[s] + k);
        slope[s] = load_as<FloatVector>(drawn.slope[s] + k);
      }
    }
    for (int s = 0; s < Draws; ++s) {
      FloatVector pull = away[s] * (y[s] - births);
      for (int r = 0; r < Draws; ++r)
        if (r != s) pull = pull - apart[s][r] * (y[s] - y[r]);
      store_wide(pull * slope[s], to[s] + k);
    }
  }
}

template <int Draws>
static void gradients_by(bool kept, const EnergyLoss& op, int64_t sample, int count, const Drawn& drawn, float* const* to) {
  if (kept) gradients<Draws, true>(op, sample, count, drawn, to);
  else gradients<Draws, false>(op, sample, count, drawn, to);
}

static void grad_chunk(const EnergyLoss& op, int64_t sample, int64_t i0, int count) {
  Drawn drawn;
  const int draws = static_cast<int>(op.logits.draws), whole = whole_vectors(count);
  drawn.fill_births(op, sample, i0, count, whole);
  drawn.fill_room(op, sample, i0, count, whole);
  float* to[kMostDraws];
  const bool kept = has_exponentials(op);
  for (int s = 0; s < draws; ++s) {
    float* const direct = whole == count ? in_place<float>(op.grad[s], sample, i0) : nullptr;
    to[s] = direct != nullptr ? direct : drawn.slope[s];
    if (!kept) drawn.fill_draw<true>(op, s, sample, i0, count, whole);
    else if (direct == nullptr) load(op.logits[s], sample, i0, count, to[s]);
  }
  switch (draws) {
    case 2: gradients_by<2>(kept, op, sample, whole, drawn, to); break;
    case 3: gradients_by<3>(kept, op, sample, whole, drawn, to); break;
    case 4: gradients_by<4>(kept, op, sample, whole, drawn, to); break;
    case 5: gradients_by<5>(kept, op, sample, whole, drawn, to); break;
    case 6: gradients_by<6>(kept, op, sample, whole, drawn, to); break;
    case 7: gradients_by<7>(kept, op, sample, whole, drawn, to); break;
    default: gradients_by<8>(kept, op, sample, whole, drawn, to);
  }
  for (int s = 0; s < draws; ++s)
    if (to[s] == drawn.slope[s]) store(op.grad[s], sample, i0, count, drawn.slope[s]);
}

}  // namespace fastblackout::cpu::FB_ISA

#endif
