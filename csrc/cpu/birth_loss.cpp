// birth_loss: the sum of y - births log y over each sample, and its gradient by the logits. Where a gradient will be asked
// for, the same pass keeps the slope of every element; the gradient is the slope times the sample's coefficient, which is
// multiplied in that pass already if it can be foreseen (bindings/quick.cpp). Samples of one element each, as which a loss with a
// gain or a weight for each element comes (ops/spread_loss.py), go through the vectors together.
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

bool is_singles(const Common& op) { return op.elements == 1 && op.samples > 1; }

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

void singles_loss_chunk(const Sums& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, singles_loss_chunk, op, sample, i0, count);
}

void singles_grad_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, singles_grad_chunk, op, sample, i0, count);
}

void singles_scale_chunk(const BirthLoss& op, int64_t sample, int64_t i0, int count) {
  FB_CALL_ISA(op.isa, singles_scale_chunk, op, sample, i0, count);
}

// Samples of one element each as one sample. Its loss, weights and gains are those of each element.
BirthLoss joined(const BirthLoss& op) {
  BirthLoss one = op;
  for (View* view : {&one.logits, &one.births, &one.grad}) {
    view->dims = 1;
    view->sizes[0] = op.samples;
    view->strides[0] = view->sample_stride;
    view->sample_stride = 0;
  }
  one.elements = op.samples;
  one.samples = 1;
  return one;
}

void check_inputs(const BirthLoss& op) {
  check_values(op, "birth_loss", "logits", op.logits, Rule::finite, 0.0);
  check_values(op, "birth_loss", "births", op.births, Rule::nonnegative, kMostBirths);
}

}  // namespace

static_assert(kLossChunk == kChunk, "a loss chunk is summed as one tree");

void birth_loss(const BirthLoss& op) {
  std::atomic<bool> bad{false};
  if (is_singles(op)) {
    const Sums job{joined(op), nullptr, &bad};
    for_chunks(job, singles_loss_chunk);
    if (bad) check_inputs(op);
    return;
  }
  const int64_t chunks = chunks_of(op);
  std::vector<float> several(static_cast<size_t>(chunks > 1 ? op.samples * chunks : 0));
  float* const sums = chunks > 1 ? several.data() : op.loss;  // where a sample is one chunk, its sum lies where its loss will
  Sums job{op, sums, &bad};
  for_chunks(job, loss_chunk);
  if (bad) check_inputs(op);  // only now is every value checked; what has been written reaches nobody if a check throws
  for (int64_t sample = 0; sample < op.samples; ++sample) {
    double total = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total = total + static_cast<double>(sums[sample * chunks + chunk]);
    op.loss[sample] = static_cast<float>(op.weight[sample] * total);
  }
}

void birth_loss_gradient(const BirthLoss& op) {
  if (is_singles(op)) return for_chunks(joined(op), singles_grad_chunk);
  for_chunks(op, grad_chunk);
}

void birth_loss_scale(const BirthLoss& op) {
  if (is_singles(op)) return for_chunks(joined(op), singles_scale_chunk);
  for_chunks(op, scale_chunk);
}

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

// The gain and the coefficient of a chunk's elements: of one sample, all the same.
template <bool UnitGain>
struct Shared {
  float gain, log_gain, coefficient;

  FloatVector births(int, FloatVector soft) const { return UnitGain ? soft : gain * soft; }
  FloatVector log_births(int, FloatVector log_soft) const { return UnitGain ? log_soft : log_gain + log_soft; }
  FloatVector slope(int, FloatVector by_logit) const { return coefficient * by_logit; }
};

// The same of samples of one element each, kept for a chunk.
struct Own {
  alignas(64) float gain[kChunk], log_gain[kChunk], coefficient[kChunk];

  FloatVector births(int k, FloatVector soft) const { return load_as<FloatVector>(gain + k) * soft; }
  FloatVector log_births(int k, FloatVector log_soft) const { return load_as<FloatVector>(log_gain + k) + log_soft; }
  FloatVector slope(int k, FloatVector by_logit) const { return load_as<FloatVector>(coefficient + k) * by_logit; }
};

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
  template <bool Losses, bool Slopes, class Births, class Numbers>
  void finish(int count, const float* x, const Births* births, const Numbers& numbers, float* slopes) {
    for (int k = 0; k < count; k += kLanes) {
      const FloatVector logit = load_as<FloatVector>(x + k), born = floats_at(births + k), over = load_as<FloatVector>(g + k);
      const FloatVector product = load_as<FloatVector>(e + k) * over, soft = softplus_from(logit, over, product);
      const FloatVector y = numbers.births(k, soft);
      if (on_intel) {
        fetch_next(x, k);
        fetch_next(births, k);
        if (Slopes) fetch_next(slopes, k);
      }
      if (Slopes) store_wide(numbers.slope(k, birth_loss_slope_of(born, y, over, product)), slopes + k);
      if (!Losses) continue;
      const FloatVector log = log_of(log_power(over), load_as<FloatVector>(f + k), load_as<FloatVector>(n + k));
      store_wide(birth_loss_of(born, y, numbers.log_births(k, log_softplus_of(logit, log))), n + k);
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
  if (gain == 1.0f) {
    parts.finish<Losses, Slopes>(whole, x, births, Shared<true>{1.0f, 0.0f, coefficient}, slopes);
  } else {
    parts.finish<Losses, Slopes>(whole, x, births, Shared<false>{gain, Losses ? log_gain_of(gain) : 0.0f, coefficient}, slopes);
  }
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

// The same of a chunk of samples of one element each, made one sample (joined).
template <bool Losses, bool Slopes>
static bool singles_chunk(const BirthLoss& op, int64_t i0, int count, const PerSample<double>& coefficient) {
  alignas(64) float x_buffer[kChunk], births_buffer[kChunk], slopes[kChunk];
  const float* x = as_vectors(floats_of(op.logits, 0, i0, count, x_buffer), count, x_buffer);
  const float* births = as_vectors(floats_of(op.births, 0, i0, count, births_buffer), count, births_buffer);
  const int whole = whole_vectors(count);
  Own own;
  const float log_gain = Losses ? log_gain_of(op.gain[0]) : 0.0f;
  for (int k = 0; k < whole; ++k) {
    own.gain[k] = k < count ? op.gain[i0 + k] : 1.0f;
    if (Losses) own.log_gain[k] = op.gain.stride == 0 ? log_gain : log_gain_of(own.gain[k]);
    if (Slopes) own.coefficient[k] = k < count && coefficient ? static_cast<float>(coefficient[i0 + k]) : 1.0f;
  }
  Parts parts;
  parts.softplus<Losses>(whole, x);
  parts.finish<Losses, Slopes>(whole, x, births, own, slopes);
  if (Slopes) store(op.grad, 0, i0, count, slopes);
  if (!Losses) return true;
  float differences = 0.0f;  // NaN as soon as one loss is not finite
  for (int k = 0; k < count; ++k) {
    const float sum = parts.n[k] + 0.0f;  // of the tree, whose other elements are 0
    op.loss[i0 + k] = static_cast<float>(op.weight[i0 + k] * (0.0 + static_cast<double>(sum)));
    differences += sum - sum;
  }
  return differences == 0.0f && !any_negative(births, count);
}

static void singles_loss_chunk(const Sums& op, int64_t, int64_t i0, int count) {
  const bool good = op.grad ? singles_chunk<true, true>(op, i0, count, op.ahead)
                            : singles_chunk<true, false>(op, i0, count, op.ahead);
  if (good) return;
#if FB_ISA_LEVEL == 2
  scalar::singles_loss_chunk(op, 0, i0, count);  // the scalar set's log_power is finite for every float
#else
  *op.bad = true;
#endif
}

static void singles_grad_chunk(const BirthLoss& op, int64_t, int64_t i0, int count) {
  singles_chunk<false, true>(op, i0, count, op.weight);
}

static void singles_scale_chunk(const BirthLoss& op, int64_t, int64_t i0, int count) {
  alignas(64) float grad[kChunk];
  load(op.grad, 0, i0, count, grad);
  for (int k = 0; k < count; ++k) grad[k] = static_cast<float>(op.weight[i0 + k]) * grad[k];
  store(op.grad, 0, i0, count, grad);
}

}  // namespace FB_ISA
}  // namespace cpu
}  // namespace fastblackout

#endif
