// The CPU kernels as the bindings call them. Arrays are Views with dimension 0 as samples. Values are checked before anything
// is written: a wrong one throws std::invalid_argument naming op, argument, rule, value and place. Another thread may write to
// the arrays after that: so what becomes an index is brought into its range where it is used, and the result is then anything.
#pragma once

#include "cpu/support/isa.h"
#include "cpu/support/view.h"
#include "fastblackout/ops.h"
#include "fastblackout/philox.h"
#include "fastblackout/probability.h"

namespace fastblackout {
namespace cpu {

struct Common {
  int64_t samples = 0, elements = 0;     // elements of one sample
  SampleKey key{};                       // of sample 0 of this array; the others add their row
  int threads = 1;
  Isa isa = Isa::scalar;
};

// A number for each sample, `stride` of them apart: 0 where all samples share one.
template <class T>
struct PerSample {
  const T* data = nullptr;
  int64_t stride = 0;

  explicit operator bool() const { return data != nullptr; }
  T operator[](int64_t sample) const { return data[sample * stride]; }
  // How many numbers `samples` samples have.
  int64_t distinct(int64_t samples) const { return stride == 0 && samples > 1 ? 1 : samples; }
};

struct Prob {
  PerSample<double> p, q;
};

inline bool good_pair(const Prob& prob, int64_t samples) {
  const int64_t pairs = prob.p.distinct(samples) == 1 ? prob.q.distinct(samples) : samples;
  bool good = true;
  for (int64_t i = 0; i < pairs; ++i) good = good && fastblackout::good_pair(prob.p[i], prob.q[i]);
  return good;
}

// `at` as an index below `end`, which it is unless what it was read from has changed since its check.
FB_HD int64_t index_below(int64_t end, int64_t at) { return static_cast<uint64_t>(at) < static_cast<uint64_t>(end) ? at : end - 1; }

// Matrices (K, R, S), of which sample b uses the one that its index names, the only one, or its own. The last dimension is
// contiguous.
struct Matrices {
  const char* data = nullptr;
  Dtype dtype = Dtype::f64;
  int64_t matrices = 1, rows = 0, states = 0, matrix_stride = 0, row_stride = 0;  // strides in elements

  template <class T>
  const T* row(const int64_t* index, int64_t sample, int64_t r) const {
    const int64_t k = index != nullptr ? index_below(matrices, index[sample]) : matrices == 1 ? 0 : sample;
    return reinterpret_cast<const T*>(data) + k * matrix_stride + r * row_stride;
  }
};

// Several draws of one array, the first of which is the view; the others follow it `draw_stride` elements apart.
struct Draws : View {
  int64_t draws = 0, draw_stride = 0;

  View operator[](int64_t draw) const {
    View view = *this;
    view.data += draw * draw_stride * bytes_of(dtype);
    return view;
  }
};

struct Backend {
  using Common = cpu::Common;
  using View = cpu::View;
  using Prob = cpu::Prob;
  using Matrices = cpu::Matrices;
  template <class T>
  using PerSample = cpu::PerSample<T>;
  using Counter = int64_t;
  using Weights = cpu::View;
  using Draws = cpu::Draws;
  using Rows = double*;  // in C order
  using LogProbPair = cpu::Prob;
};

#define FB_USE(Op) using Op = ops::Op<Backend>;
FB_SAME_OPS(FB_USE)
#undef FB_USE

struct BirthLoss : ops::BirthLoss<Backend> {
  PerSample<double> ahead;               // what slopes are multiplied by already, upstream * weight; null: 1

  // The loss, and in `grad` the slopes: gain * sigmoid - births * sigmoid / softplus, float32 like the logits.
  template <class Read>
  void with_slopes(Read& read) {
    inputs(read);
    read.outputs(loss, grad);
  }
  // In place, from slopes to the gradient.
  template <class Read>
  void scaling(Read& read) {
    read(weight);
    read.outputs(grad);
  }
};

using EnergyLoss = ops::EnergyLoss<Backend>;

struct LogProbs : ops::LogProbs<Backend> {
  View p, q;                             // of each element, where prob is null

  template <class Read>
  void element(Read& read) {
    law = LogProb::element;
    read(x, a, p, q);
    read.outputs(out);
  }
};

struct PowerSeries : Common {            // samples: B times, elements: S
  int64_t terms = 0, diagonals = 0;      // K, D
  const int64_t* offsets = nullptr;      // (D,)
  const double* entries = nullptr;       // (D, S): T[j - offset, j], 0 where there is no such row
  const double* start = nullptr;         // (S, S), rows x; null: I
  const double* weights = nullptr;       // (B, K)
  const int64_t* needed = nullptr;       // (B,) terms, the weights of later ones being 0
  const int64_t* places = nullptr;       // (B,): out[places[b]] is written
  double *out = nullptr, *sums = nullptr;  // (., S, S); (B, S): of its rows
};

// Outputs of the categorical ops hold anything after an error: the caller shows them only on success.
#define FB_DECLARE(name, Op, fields, kernel) void kernel(const Op& op);
FB_OPS(FB_DECLARE)
FB_CPU_OPS(FB_DECLARE)
#undef FB_DECLARE
void power_series(const PowerSeries& op);

}  // namespace cpu
}  // namespace fastblackout
