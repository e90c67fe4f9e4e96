// The CPU kernels as the bindings call them. Arrays are Views whose dimension 0 is the samples. Values are checked
// before anything is written: a wrong one throws std::invalid_argument with op, argument, rule, value and place. Since another
// thread may write to the arrays after the check, every value that becomes an index is brought into its range where it is
// used; the result is then arbitrary, but no other memory is touched.
#pragma once

#include "cpu/support/draw.h"
#include "cpu/support/isa.h"
#include "cpu/support/view.h"
#include "fastblackout/ops.h"
#include "fastblackout/philox.h"
#include "fastblackout/probability.h"

namespace fastblackout::cpu {

// Where the seed of a call that came without a key is drawn. It may throw.
class SeedSource {
 public:
  virtual uint64_t draw() const = 0;

 protected:
  ~SeedSource() = default;
};

struct Common {
  int64_t samples = 0, elements = 0;     // elements of one sample
  uint32_t row = 0;                      // not 0: what is one sample here are samples of so many elements (rows_as_one, chunks.h)
  mutable SampleKey key{};               // the key of sample 0 of this array; the other samples add their number to it
  mutable const SeedSource* unseeded = nullptr;  // not null where the seed of the key is yet to be drawn
  int threads = 1;
  Isa isa = Isa::scalar;
};

// Draws the seed of a call that came without a key. Every kernel that draws asks for it after all checks, so that a call that is
// refused draws none.
inline void draw_seed(const Common& op) {
  if (op.unseeded == nullptr) return;
  const uint64_t seed = op.unseeded->draw();
  op.key.seed_low = static_cast<uint32_t>(seed);
  op.key.seed_high = static_cast<uint32_t>(seed >> 32);
  op.unseeded = nullptr;
}

// Runs a kernel that finds some wrong values only while it draws: first for these alone, where the seed is yet to be drawn.
template <class Op>
void draw_checked(const Op& op, void (*draw)(const Op&)) {
  if (op.unseeded != nullptr) draw(op);
  draw_seed(op);
  draw(op);
}

// The key of a sample's draws.
inline DrawKey key_of(const Common& op, int64_t sample) {
  DrawKey key{op.key, op.row};
  key.sample += static_cast<uint32_t>(sample);
  return key;
}

// A number for each sample, `stride` apart in memory; the stride is 0 where all samples share one number.
template <class T>
struct PerSample {
  const T* data = nullptr;
  int64_t stride = 0;

  explicit operator bool() const { return data != nullptr; }
  T operator[](int64_t sample) const { return data[sample * stride]; }
  // How many different places the numbers of `samples` samples have.
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

// `at` as an index below `end`. It is one already, unless the array it was read from has changed since its check.
FB_HD int64_t index_below(int64_t end, int64_t at) { return static_cast<uint64_t>(at) < static_cast<uint64_t>(end) ? at : end - 1; }

// K matrices of R rows and S states, of which a sample uses the one that its index names or, without an index, the only one or
// its own. The last dimension is contiguous.
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

// Where a loss is given `grad`, it leaves there what the gradient is made of, float32 like what the network gave: energy_loss the
// exponentials of the draws, the others the slopes, as gain * sigmoid - births * sigmoid / softplus. birth_loss_scale turns slopes
// into the gradient, in place.
using BirthLoss = ops::BirthLoss<Backend>;
using EnergyLoss = ops::EnergyLoss<Backend>;
using PosteriorLoss = ops::PosteriorLoss<Backend>;

struct EachLoss : BirthLoss {            // with numbers of each element
  View weights, gains;                   // the kernel sets `weight`: the largest magnitude of a sample's weights
  PerSample<double> upstream;            // the gradient by the losses

  template <class Read>
  void each(Read& read) {
    read(logits, births, weights, gains);
    read.outputs(loss);
  }
  template <class Read>
  void each_gradient(Read& read) {
    read(logits, births, weights, gains, upstream);
    read.outputs(grad);
  }
};

struct LogProbs : ops::LogProbs<Backend> {
  View p, q;                             // a probability for each element, where prob is null

  template <class Read>
  void element(Read& read) {
    law = LogProb::element;
    read(x, a, p, q);
    read.outputs(out);
  }
};

struct Redraw : Common {
  View x_0, x_t, out;             // x_t is null for the state at a time, else the state between x_0 and x_t is drawn
  View before, after;             // the time from x_0 to the state that is drawn, and from there to x_t
  const int64_t* thresholds = nullptr;  // of another law: C(j) of fastblackout/categorical.h, (S,)
  View inverse;                   // and 1 / law(x_t)
  int64_t states = 0, mask = -1;  // mask: the state that the law is of; -1: all states alike, or another law

  template <class Read>
  void fields(Read& read) {
    read(x_0, x_t, before, after, thresholds, inverse, states, mask, this->key);
    read.outputs(out);
  }
};

struct CategoricalRows : Common {
  View weights, out;              // (B, ..., S) and (B, ...)
  int64_t states = 0;             // S
  bool is_logits = false;

  template <class Read>
  void fields(Read& read) {
    read(weights, is_logits, states, this->key);
    read.outputs(out);
  }
};

struct PowerSeries : Common {            // `samples` counts the times, B, and `elements` the states, S
  int64_t terms = 0, diagonals = 0;      // K, D
  const int64_t* offsets = nullptr;      // (D,)
  const double* entries = nullptr;       // (D, S): T[j - offset, j], 0 where there is no such row
  const double* start = nullptr;         // (S, S): the rows x; null: the identity
  const double* weights = nullptr;       // (B, K)
  const int64_t* needed = nullptr;       // (B,): how many terms are needed; the weights of later ones are 0
  const int64_t* places = nullptr;       // (B,): out[places[b]] is written
  double *out = nullptr, *sums = nullptr;  // out: (., S, S); sums: (B, S), the sums of its rows

  template <class Read>
  void fields(Read& read) {
    read(terms, diagonals, offsets, entries, start, weights, needed, places, out, sums);
  }
};

// The categorical ops check while they draw, so that after an error their outputs hold anything: callers then drop them.
#define FB_DECLARE(name, Op, fields, kernel) void kernel(const Op& op);
FB_OPS(FB_DECLARE)
FB_CPU_OPS(FB_DECLARE)
#undef FB_DECLARE
void birth_loss_scale(const BirthLoss& op);

}  // namespace fastblackout::cpu
