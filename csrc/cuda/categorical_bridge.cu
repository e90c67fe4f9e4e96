// categorical_bridge: draws x_s with the products before[x_0, .] after[., x_t] as weights, one thread an element. x_0 is known,
// or drawn first from a network's output.
#include "cuda/categorical.cuh"

namespace fastblackout::cuda {
namespace {

enum class X0 { known, logits, probs };

// The weights of x_0 of one element, `stride` apart.
struct GivenWeight {
  const View& view;
  int64_t at, stride;

  FB_DEVICE double operator()(int j, bool& wrong) const { return checked_weight(value_at(view, at + j * stride), wrong); }
};

struct LogitWeight {
  const View& view;
  int64_t at, stride;
  float largest;

  FB_DEVICE float logit(int j) const { return static_cast<float>(value_at(view, at + j * stride)); }
  FB_DEVICE double operator()(int j, bool& wrong) const {
    const float x = logit(j);
    wrong = wrong || !is_logit(x);
    return logit_weight(x, largest);
  }
};

struct PathWeight {
  const char *before, *after;
  int64_t before_at, after_at, before_stride, after_stride;
  bool before_single, after_single;

  FB_DEVICE double operator()(int j, bool& wrong) const {
    const double first = checked_weight(entry_of(before, before_single, before_at + j * before_stride), wrong);
    const double second = checked_weight(entry_of(after, after_single, after_at + j * after_stride), wrong);
    return first * second;
  }
};

constexpr double kAnySum = 1.0;  // the tolerance that stands for weights that need not sum to 1

template <class Weight>
FB_DEVICE int drawn_from(const Weight& weight, int states, int fallback, const Marks& marks, const SampleKey& key, uint32_t i,
                         uint32_t stream, uint32_t stream_refine, double tolerance, bool& wrong) {
  const RowSum sum = add_up(weight, states, fallback, marks, wrong);
  wrong = wrong || !is_drawable(sum.total);
  if (tolerance < kAnySum) wrong = wrong || !sums_to_one(sum.total, tolerance);
  return search(weight, sum, marks, states, word_of(key.words(i >> 2, stream), i), key, i, stream_refine);
}

template <X0 Source>
FB_KERNEL(kThreads, 4) categorical_bridge_kernel(FB_PARAM(CategoricalBridge) op) {
  __shared__ double shared[kMarks * kThreads];
  const Place place = place_of(op);
  if (place.sample >= op.samples) return;
  if (place.i == 0) check_key(op, place.sample);
  const int states = static_cast<int>(op.before.rows);
  const SampleKey key = key_of(op.key, place.sample);
  const Marks marks = own_marks(shared, states);
  int flags = 0;
  const int x_t = load_state(op.x_t, place.sample, place.i, states, flags);
  int x_0;
  if constexpr (Source == X0::known) {
    x_0 = load_state(op.x_0, place.sample, place.i, states, flags);
  } else {
    const int64_t at = offset_of(op.weights, place.sample, place.i);
    bool wrong = false;
    if constexpr (Source == X0::logits) {
      LogitWeight weight{op.weights, at, op.weights.class_stride, bit_cast<float>(0xff800000u)};
#pragma unroll 4
      for (int j = 0; j < states; ++j) {
        const float x = weight.logit(j);
        weight.largest = is_logit(x) && x > weight.largest ? x : weight.largest;
      }
      x_0 = drawn_from(weight, states, x_t, marks, key, place.i, CATEGORICAL_X0, CATEGORICAL_X0_REFINE, kAnySum, wrong);
      if (wrong) flags |= kWrongLogit;
    } else {
      const GivenWeight weight{op.weights, at, op.weights.class_stride};
      const double tolerance = op.weights.dtype == kF64 ? kRowTolerance : kSingleRowTolerance;
      x_0 = drawn_from(weight, states, x_t, marks, key, place.i, CATEGORICAL_X0, CATEGORICAL_X0_REFINE, tolerance, wrong);
      if (wrong) flags |= kWrongProbability;
    }
  }
  int64_t k;
  const char *before = matrix_of(op.before, op.index, place.sample, k, flags),
             *after = matrix_of(op.after, op.index, place.sample, k, flags);
  const PathWeight weight{before, after, x_0 * op.before.row_stride, x_t * op.after.column_stride, op.before.column_stride,
                          op.after.row_stride, op.before.single, op.after.single};
  bool wrong = false;
  const int x_s =
      drawn_from(weight, states, x_t, marks, key, place.i, CATEGORICAL_BRIDGE, CATEGORICAL_BRIDGE_REFINE, kAnySum, wrong);
  if (wrong) flags |= kWrongProbability;
  store_one(op.x_s, place.sample, place.i, static_cast<double>(x_s));
  raise(op.flag, flags, flags != 0);
}

}  // namespace

int categorical_bridge(const CategoricalBridge& op, void* stream) {
  if (op.x_0.data != nullptr) return launch_elements(categorical_bridge_kernel<X0::known>, op, stream);
  return launch_elements(op.is_logits ? categorical_bridge_kernel<X0::logits> : categorical_bridge_kernel<X0::probs>, op, stream);
}

}  // namespace fastblackout::cuda
