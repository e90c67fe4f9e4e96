// Draws from rows of weights (fastblackout/categorical.h) in two passes: the first adds the row up and leaves marks, the sums
// so far at some states; the second finds the last mark that the uniform passes and goes on from there. Both
// passes make the same sums, as their order is the same.
#pragma once

#include "cuda/element.cuh"
#include "fastblackout/categorical.h"

namespace fastblackout::cuda {
namespace {

constexpr int kMarks = 8;  // marks of a row that a thread adds up for itself

// The matrix of a sample, and its number k; an index out of range is clamped.
FB_DEVICE const char* matrix_of(const Matrices& m, const int64_t* index, int64_t sample, int64_t& k, int& flags) {
  k = m.matrices == 1 ? 0 : sample;
  if (index != nullptr) {
    k = index[sample];
    const int64_t inside = k < 0 ? 0 : (k < m.matrices ? k : m.matrices - 1);
    if (inside != k) flags |= kWrongCount;
    k = inside;
  }
  return m.data + k * m.matrix_stride * (m.single ? 4 : 8);
}

FB_DEVICE double entry_of(const char* matrix, bool single, int64_t offset) {
  return single ? reinterpret_cast<const float*>(matrix)[offset] : reinterpret_cast<const double*>(matrix)[offset];
}

// A weight, or 0 for a number that is none, which sets `wrong`.
FB_DEVICE double checked_weight(double w, bool& wrong) {
  wrong = wrong || !is_weight(w);
  return weight_or_zero(w);
}

FB_DEVICE int load_state(const View& view, int64_t sample, uint32_t i, int64_t states, int& flags) {
  bool wrong = false;
  const double x = clamp_count(load_one(view, sample, i), static_cast<double>(states - 1), wrong);
  if (wrong) flags |= kWrongCount;
  return static_cast<int>(x);
}

// What the first pass finds. A row that is not drawable has the factor 0, which makes all thresholds 0, so that it gives `last`.
struct RowSum {
  double factor, total;
  int last;
};

struct Marks {
  double* at;  // mark c, the sum before state c * step, lies at c * stride; mark 0 is 0 and not kept
  int stride, count, step;
};

FB_DEVICE Marks own_marks(double* shared, int states) {  // a thread's marks; shared has kMarks * kThreads
  return Marks{shared + threadIdx.x, kThreads, kMarks, (states + kMarks - 1) / kMarks};
}

// The first pass.
template <class Weight>
FB_DEVICE RowSum add_up(const Weight& weight, int states, int fallback, const Marks& marks, bool& wrong) {
  RowSum sum{0.0, 0.0, 0};
  for (int c = 0, j = 0; c < marks.count && j < states; ++c) {
    if (c > 0) marks.at[c * marks.stride] = sum.total;
    const int end = states - j < marks.step ? states : j + marks.step;
#pragma unroll 4
    for (; j < end; ++j) {
      const double w = weight(j, wrong);
      sum.total = sum.total + w;
      sum.last = w > 0.0 ? j : sum.last;
    }
  }
  if (is_drawable(sum.total)) {
    sum.factor = threshold_factor(sum.total);
  } else {
    sum.last = fallback;
  }
  return sum;
}

// The second pass: #{j : C(j) <= V} for V = v << 16 | its low 16 bits, which are made only where they decide.
template <class Weight>
FB_DEVICE int search(const Weight& weight, const RowSum& sum, const Marks& marks, int states, uint32_t v, const SampleKey& key,
                     uint32_t i, uint32_t stream_refine) {
  uint64_t u = static_cast<uint64_t>(v) << 16;
  int low = 0, high = (states - 1) / marks.step + 1;  // the last mark at or below u is in low..high - 1
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    const bool below = scaled_threshold(marks.at[middle * marks.stride], sum.factor) <= u;
    low = below ? middle : low;
    high = below ? high : middle;
  }
  int state = low * marks.step;
  double cum = low == 0 ? 0.0 : marks.at[low * marks.stride];
  bool refined = false, unused = false;
  for (; state < sum.last; ++state) {
    cum = cum + weight(state, unused);
    const uint64_t c = scaled_threshold(cum, sum.factor);
    if (c <= u) continue;
    if (refined || c >> 16 != v) break;
    u = category_bits(key, i, v, stream_refine);
    refined = true;
    if (c > u) break;
  }
  return state < sum.last ? state : sum.last;
}

}  // namespace
}  // namespace fastblackout::cuda
