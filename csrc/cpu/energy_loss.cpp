// energy_loss: the distances of several draws of a network from the births and from one another, in one pass over a sample,
// and the gradient by the logits in another. Where a gradient may be asked for, the first pass leaves the exponentials of the draws in
// its memory, with the signs of their arguments, and the second one then needs no logits: it is given that memory in their place.
#if !defined(FB_ISA)

#include "fastblackout/energy_loss.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/energy_loss.cpp"
namespace fastblackout {
namespace cpu {
namespace {

struct Squares : EnergyLoss {
  float* chunk_sums;  // (samples, chunks of a sample, norms)
  std::atomic<bool>* bad;
};

bool has_exponentials(const EnergyLoss& op) { return op.logits[0].data == op.grad[0].data; }

int64_t chunks_of(const Common& op) { return (op.elements + kChunk - 1) / kChunk; }

}  // namespace
}  // namespace cpu
}  // namespace fastblackout
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout {
namespace cpu {
namespace {

constexpr const char* kName = "energy_loss";

void squares_chunk(const Squares& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, squares_chunk, op, sample, i0, count);
}

void grad_chunk(const EnergyLoss& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, grad_chunk, op, sample, i0, count);
}

}  // namespace

static_assert(kEnergyChunk == kChunk, "a chunk is summed as one tree");

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
    check_values(op, kName, "births", op.births, Rule::nonnegative, 3.4028234663852886e38);
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

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

#include "cpu/per_isa/exponentials.inc"

// Zeros at the end change nothing of a sum of squares, so a chunk that is not full takes the smallest tree that holds it.
FB_INLINE int tree_size(int count) {
  int size = 32;
  while (size < count) size *= 2;
  return size;
}

#if FB_ISA_LEVEL == 0

// Of (a[k] - b[k])^2 over tree_size elements
static float sum_of_squares(const float* a, const float* b, int size) {
  alignas(64) float v[kChunk];
  for (int k = 0; k < size; ++k) v[k] = (a[k] - b[k]) * (a[k] - b[k]);
  for (int h = size / 2; h > 0; h /= 2)
    for (int i = 0; i < h; ++i) v[i] = v[i] + v[i + h];
  return v[0];
}

#else

// The vector of a tree over vectors that the vectors First, First + Stride, .. add up to
template <int Size, int First, int Stride>
FB_INLINE FloatVector squares_node(const float* a, const float* b) {
  if constexpr (Stride == Size / kLanes) {
    const FloatVector apart = load_as<FloatVector>(a + First * kLanes) - load_as<FloatVector>(b + First * kLanes);
    return apart * apart;
  } else {
    return squares_node<Size, First, 2 * Stride>(a, b) + squares_node<Size, First + Stride, 2 * Stride>(a, b);
  }
}

template <int Size>
static float squares_of(const float* a, const float* b) {
  return sum_of_lanes(squares_node<Size, 0, 1>(a, b));
}

static float sum_of_squares(const float* a, const float* b, int size) {
  switch (size) {
    case 32: return squares_of<32>(a, b);
    case 64: return squares_of<64>(a, b);
    case 128: return squares_of<128>(a, b);
    case 256: return squares_of<256>(a, b);
    case 512: return squares_of<512>(a, b);
    default: return squares_of<1024>(a, b);
  }
}

#endif

// Of e >= 0 the sign bit is free: here it is that of an argument.
FB_INLINE FloatVector signed_by(FloatVector e, FloatVector argument) { return from_bits(bits_of(e) | (bits_of(argument) & INT32_MIN)); }
FB_INLINE FloatVector without_sign(FloatVector e) { return from_bits(bits_of(e) & INT32_MAX); }

// Where the numbers of a draw lie, or go: of a chunk the room, y, its slope and its exponentials; null where they are not asked for
struct DrawPlaces {
  const float* room;
  float *y, *slope, *keep;
};

template <bool Slopes>
FB_INLINE void store_draw(FloatVector e, FloatVector argument, int k, const DrawPlaces& to) {
  const FloatVector inverse = energy_inverse(e), free = load_as<FloatVector>(to.room + k);
  store_wide(energy_draw(free, argument, e, inverse), to.y + k);
  if (Slopes) store_wide(energy_slope(free, e, inverse), to.slope + k);
  else if (to.keep != nullptr) store_wide(signed_by(e, argument), to.keep + k);
}

#if FB_ISA_LEVEL == 2
FB_INLINE FloatVector argument_of(const float* logit, FloatVector offset) { return energy_argument(load_as<FloatVector>(logit), offset); }

// A few vectors of a draw, in registers from the logits to the end; see exponentials.inc. Returns `off` with x - x of every logit added.
template <bool Slopes, size_t... I>
FB_INLINE FloatVector several_draws(std::index_sequence<I...>, const float* logits, FloatVector offset, int k, const DrawPlaces& to,
                                    FloatVector off) {
  FloatVector whole[kExponentials], rest[kExponentials], poly[kExponentials];
  ((rest[I] = minus_abs(argument_of(logits + k + I * kLanes, offset)), whole[I] = exp_whole(rest[I])), ...);
  ((rest[I] = exp_rest(rest[I], whole[I])), ...);
  ((poly[I] = all_of<FloatVector>(ExpSeries::numbers[0])), ...);
  for (int i = 1; i < ExpSeries::size; ++i) ((poly[I] = poly[I] * rest[I] + ExpSeries::numbers[i]), ...);
  ((poly[I] = exp_of(whole[I], rest[I], poly[I])), ...);
  (store_draw<Slopes>(poly[I], argument_of(logits + k + I * kLanes, offset), k + static_cast<int>(I) * kLanes, to), ...);
  ((off = off + (load_as<FloatVector>(logits + k + I * kLanes) - load_as<FloatVector>(logits + k + I * kLanes))), ...);
  return off;
}
#endif

// What is made of a chunk. Rows do not begin at the same place of a page: a load soon after a store to such a place would wait.
struct Drawn : Exponentials {
  static constexpr int kRow = kChunk + 16;
  alignas(64) float y[kMostDraws][kRow], slope[kMostDraws][kRow];
  alignas(64) float births[kRow], room[kRow], z[kRow], x[kChunk];

  void fill_births(const EnergyLoss& op, int64_t sample, int64_t i0, int count, int end) {
    load(op.births, sample, i0, count, births);
    std::memset(births + count, 0, sizeof(float) * static_cast<size_t>(end - count));
  }

  void fill_room(const EnergyLoss& op, int64_t sample, int64_t i0, int count, int end) {
    std::memset(room, 0, sizeof(float) * static_cast<size_t>(end));
    if (op.max_count <= kExactInFloat) {
      const float most = static_cast<float>(op.max_count);
      load(op.x_t, sample, i0, count, room);
      for (int k = 0; k < count; ++k) room[k] = most - room[k];
    } else {
      const double most = static_cast<double>(op.max_count);
      alignas(64) double wide[kChunk];
      load(op.x_t, sample, i0, count, wide);
      for (int k = 0; k < count; ++k) room[k] = static_cast<float>(most - wide[k]);
    }
  }

  // y of a draw, zeros up to `end`, and its slope, or else its exponentials in op.grad, if asked for. Whether a logit is not finite.
  template <bool Slopes>
  bool fill_draw(const EnergyLoss& op, int s, int64_t sample, int64_t i0, int count, int end) {
    const View view = op.logits[s];
    const float* logits = as_vectors(floats_of(view, sample, i0, count, x), count, x);
    const int whole = whole_vectors(count);
    const FloatVector offset = all_of<FloatVector>(op.offset[sample]);
    FloatVector off = all_of<FloatVector>(0.0f);
    float *keep = nullptr, *direct = nullptr;
    if (!Slopes && op.grad[s]) {
      direct = whole == count && whole >= kTogether ? in_place<float>(op.grad[s], sample, i0) : nullptr;
      keep = direct != nullptr ? direct : slope[s];
    }
#if FB_ISA_LEVEL == 2
    const DrawPlaces to{room, y[s], Slopes ? slope[s] : nullptr, keep};
    constexpr std::make_index_sequence<kExponentials> vectors{};
    constexpr int step = kExponentials * kLanes;
    const int last = whole > step ? whole - step : 0;
    for (int k = 0; k < last; k += step) off = several_draws<Slopes>(vectors, logits, offset, k, to, off);
    off = several_draws<Slopes>(vectors, logits, offset, last, to, off);
#else
    for (int k = 0; k < whole; k += kLanes) {
      const FloatVector logit = load_as<FloatVector>(logits + k);
      off = off + (logit - logit);
      store_wide(energy_argument(logit, offset), z + k);
    }
    fill(whole, z);
    for (int k = 0; k < whole; k += kLanes)
      store_draw<Slopes>(load_as<FloatVector>(e + k), load_as<FloatVector>(z + k), k, DrawPlaces{room, y[s], slope[s], keep});
#endif
    if (keep != direct) store(op.grad[s], sample, i0, count, keep);
    if (end > whole) std::memset(y[s] + whole, 0, sizeof(float) * static_cast<size_t>(end - whole));
    alignas(64) float lanes[kLanes];
    store_wide(off, lanes);
    bool wrong = false;
    for (int lane = 0; lane < kLanes; ++lane) wrong = wrong || !(lanes[lane] == 0.0f);
    return wrong;
  }
};

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

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
