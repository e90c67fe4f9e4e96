// birth_loss: the sum of y - births log y over each sample, and its gradient by the logits. Where a gradient will be asked
// for, the same pass keeps the slope of every element; the gradient is the slope times the sample's coefficient, which is
// multiplied in that pass already if it can be foreseen (bindings/quick.cpp).
#if !defined(FB_ISA)

#include "fastblackout/birth_loss.h"

#include "cpu/support/chunks.h"

#define FB_FILE "cpu/birth_loss.cpp"
namespace fastblackout {
namespace cpu {
namespace {

struct Sums : BirthLoss {
  float* chunk_sums;  // (samples, chunks of a sample)
  std::atomic<bool>* bad;  // set where a value may be wrong
};

constexpr double kMostBirths = 3.4028234663852886e38;  // the largest float32

int64_t chunks_of(const Common& op) { return (op.elements + kChunk - 1) / kChunk; }

}  // namespace
}  // namespace cpu
}  // namespace fastblackout
#include "cpu/per_isa/for_each_isa.inc"

namespace fastblackout {
namespace cpu {
namespace {

void loss_chunk(const Sums& op, int64_t sample, int64_t i0, int count) { FB_CALL_ISA(op.isa, loss_chunk, op, sample, i0, count); }

void grad_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, grad_chunk, op, sample, i0, count);
}

void scale_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, scale_chunk, op, sample, i0, count);
}

}  // namespace

static_assert(kLossChunk == kChunk, "a loss chunk is summed as one tree");

void birth_loss(const BirthLoss& op) {
  const int64_t chunks = chunks_of(op);
  std::vector<float> several(static_cast<size_t>(chunks > 1 ? op.samples * chunks : 0));
  float* const sums = chunks > 1 ? several.data() : op.loss;  // where a sample is one chunk, its sum lies where its loss will
  std::atomic<bool> bad{false};
  Sums job{op, sums, &bad};
  for_chunks(job, loss_chunk);
  if (bad) {  // only now is every value checked; what has been written reaches nobody if a check throws
    check_values(op, "birth_loss", "logits", op.logits, Rule::finite, 0.0);
    check_values(op, "birth_loss", "births", op.births, Rule::nonnegative, kMostBirths);
  }
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    double total = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total = total + static_cast<double>(sums[sample * chunks + chunk]);
    op.loss[sample] = static_cast<float>(op.weight[sample] * total);
  }
}

void birth_loss_gradient(const BirthLoss& op) { for_chunks(op, grad_chunk); }

void birth_loss_scale(const BirthLoss& op) { for_chunks(op, scale_chunk); }

}  // namespace cpu
}  // namespace fastblackout

#else

namespace fastblackout {
namespace cpu {
namespace FB_ISA {

#include "cpu/per_isa/exponentials.inc"

// What becomes of polynomials, as in exponentials.inc.
template <bool Losses>
struct KeepSoftplus {  // keeps softplus_over and, for losses, the fraction that its logarithm begins with
  const float *x, *e;
  float *over, *fraction;
};
template <bool Losses>
FB_INLINE void take(const KeepSoftplus<Losses>& then, int k, FloatVector poly) {
  const FloatVector over = softplus_over(load_as<FloatVector>(then.x + k), load_as<FloatVector>(then.e + k), poly);
  store_wide(over, then.over + k);
  if (Losses) store_wide(log_fraction(over), then.fraction + k);
}

struct Keep {
  float* to;
};
FB_INLINE void take(const Keep& then, int k, FloatVector poly) { store_wide(poly, then.to + k); }

// Prefetches the cache line at element k of the next chunk, if a line begins there. Intel's own prefetchers stop at the end of a
// page, and a chunk of 1,024 floats is a page: so on Emerald Rapids the kernel takes 2% to 9% less time, the more the busier the
// other cores are.
template <class T>
FB_INLINE void fetch_next(const T* from, int k) {
  if (k * static_cast<int>(sizeof(T)) % 64 == 0) __builtin_prefetch(from + k + kChunk);
}

// What is computed from a chunk of logits. Loops are short, so that a processor works on several elements at once, and arrays
// are used again for other values, so that all stay in the first-level cache.
struct Parts : Exponentials {
  alignas(64) float g[kChunk];  // softplus_over

  template <bool Losses>
  void softplus(int count, const float* x) {
    const FlushSubnormals flush;
    fill(count, x);
    polynomials<Log1pSeries>(e, count, KeepSoftplus<Losses>{x, e, g, f});
    if (Losses) polynomials<LogSeries>(f, count, Keep{n});
  }

  // Losses, which take the place of the series in n, and the coefficient times slopes; both in whole vectors. Values that are
  // computed again faster than kept are not kept: some processors store only half a vector a clock.
  template <bool Losses, bool Slopes, bool UnitGain, class Births>
  void finish(int count, const float* x, const Births* births, float gain, float log_gain, float coefficient, float* slopes) {
    for (int k = 0; k < count; k += kLanes) {
      const FloatVector logit = load_as<FloatVector>(x + k), born = floats_at(births + k), over = load_as<FloatVector>(g + k);
      const FloatVector product = load_as<FloatVector>(e + k) * over, soft = softplus_from(logit, over, product);
      const FloatVector y = UnitGain ? soft : gain * soft;
      if (on_intel) {
        fetch_next(x, k);
        fetch_next(births, k);
        if (Slopes) fetch_next(slopes, k);
      }
      if (Slopes) store_wide(coefficient * birth_loss_slope_of(born, y, over, product), slopes + k);
      if (!Losses) continue;
      const FloatVector log = log_of(log_power(over), load_as<FloatVector>(f + k), load_as<FloatVector>(n + k));
      const FloatVector log_soft = log_softplus_of(logit, log);
      store_wide(birth_loss_of(born, y, UnitGain ? log_soft : log_gain + log_soft), n + k);
    }
  }
};

// Whether a value lies below 0, or is -0.
static inline bool any_negative(const float* births, int count) {
  int32_t bits = 0;
#pragma GCC unroll 4
  for (int k = 0; k < count; ++k) bits |= fastblackout::bits_of(births[k]);
  return bits < 0;
}

#if FB_ISA_LEVEL == 0
static inline float halving_sum(float* loss) { return birth_loss_chunk_sum(loss); }
#else
// birth_loss_chunk_sum in registers: the node of its tree that adds up the vectors First, First + Stride, ...
template <int First, int Stride>
static inline FloatVector node(const float* loss) {
  if constexpr (Stride == kChunk / kLanes) {
    return load_as<FloatVector>(loss + First * kLanes);
  } else {
    return node<First, 2 * Stride>(loss) + node<First + Stride, 2 * Stride>(loss);
  }
}

static inline float halving_sum(const float* loss) {
  return sum_of_lanes(node<0, 1>(loss));
}
#endif

// Where in `room` to put an object half a page apart from `to`, counted within pages. A load soon after a store to the same
// place in another page waits for that store: with parts and slopes at the same place, finish would take up to four times
// as long.
constexpr uintptr_t kPage = 4096;
static inline char* half_a_page_from(const void* to, char* room) {
  const uintptr_t from = reinterpret_cast<uintptr_t>(to) / 64 * 64 + kPage / 2;
  return room + (from - reinterpret_cast<uintptr_t>(room)) % kPage;
}

// Returns the sum of a chunk's losses, and stores the coefficient times its slopes, each if asked for.
template <bool Losses, bool Slopes, class Births>
static float chunk_of(const BirthLoss& op, int64_t sample, int64_t i0, int count, const Births* given, float coefficient) {
  alignas(64) float x_buffer[kChunk], slope_buffer[kChunk];
  alignas(64) Births births_buffer[kChunk];
  const float* x = as_vectors(floats_of(op.logits, sample, i0, count, x_buffer), count, x_buffer);
  const Births* births = as_vectors(given, count, births_buffer);
  const int whole = whole_vectors(count);
  const float gain = op.gain[sample];
  float* direct = Slopes && whole == count ? in_place<float>(op.grad, sample, i0) : nullptr;
  float* slopes = direct != nullptr ? direct : slope_buffer;
  alignas(64) char room[sizeof(Parts) + kPage];
  Parts& parts = *new (half_a_page_from(slopes, room)) Parts;
  parts.softplus<Losses>(whole, x);
  if (gain == 1.0f) parts.finish<Losses, Slopes, true>(whole, x, births, 1.0f, 0.0f, coefficient, slopes);
  else parts.finish<Losses, Slopes, false>(whole, x, births, gain, Losses ? log_gain_of(gain) : 0.0f, coefficient, slopes);
  if (Slopes && direct == nullptr) store(op.grad, sample, i0, count, slope_buffer);
  if (!Losses) return 0.0f;
  std::memset(parts.n + count, 0, sizeof(float) * static_cast<size_t>(kChunk - count));
  return halving_sum(parts.n);
}

template <bool Losses, bool Slopes>
static inline float any_chunk_of(const BirthLoss& op, int64_t sample, int64_t i0, int count, float coefficient, bool& bad) {
  const uint8_t* bytes = in_place<uint8_t>(op.births, sample, i0);
  if (bytes != nullptr) return chunk_of<Losses, Slopes>(op, sample, i0, count, bytes, coefficient);
  alignas(64) float buffer[kChunk];
  const float* births = floats_of(op.births, sample, i0, count, buffer);
  bad = Losses && any_negative(births, count);
  return chunk_of<Losses, Slopes>(op, sample, i0, count, births, coefficient);
}

static void loss_chunk(const Sums& op, int64_t sample, int64_t i0, int count) {
  bool bad = false;
  const float coefficient = op.ahead ? static_cast<float>(op.ahead[sample]) : 1.0f;
  const float sum = op.grad ? any_chunk_of<true, true>(op, sample, i0, count, coefficient, bad)
                            : any_chunk_of<true, false>(op, sample, i0, count, coefficient, bad);
  const bool finite = sum - sum == 0.0f;
#if FB_ISA_LEVEL == 2
  if (!finite) return scalar::loss_chunk(op, sample, i0, count);  // the scalar set's log_power is finite for every float
#endif
  op.chunk_sums[sample * chunks_of(op) + i0 / kChunk] = sum;
  if (bad || !finite) *op.bad = true;  // logits or births that are not finite make a loss that is not finite
}

static void grad_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  bool bad = false;
  any_chunk_of<false, true>(op, sample, i0, count, static_cast<float>(op.weight[sample]), bad);
}

// In place: grad holds the slopes and gets the gradient.
static void scale_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  alignas(64) float buffer[kChunk];
  float* direct = in_place<float>(op.grad, sample, i0);
  float* grad = direct != nullptr ? direct : buffer;
  const float coefficient = static_cast<float>(op.weight[sample]);
  if (direct == nullptr) load(op.grad, sample, i0, count, buffer);
  for (int k = 0; k < count; ++k) grad[k] = coefficient * grad[k];
  if (direct == nullptr) store(op.grad, sample, i0, count, buffer);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
