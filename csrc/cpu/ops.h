// The CPU kernels as the bindings call them. Arrays are Views with dimension 0 as samples. Values are checked before anything
// is written: a wrong one throws std::invalid_argument naming op, argument, rule, value and place. Another thread may write to
// the arrays after that: so what becomes an index is brought into its range where it is used, and the result is then anything.
#pragma once

#include "cpu/isa.h"
#include "cpu/view.h"
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

struct Input {                           // model_input = (x - center) * scale
  View out;
  PerSample<float> center, scale;
};

struct Thin : Common {
  View x_0, x_t, births;
  Input input;
  Prob alive;
  int64_t max_count = 255;
};

struct Reverse : Common {                // what both reverse steps share
  View x_t, logits, births, x_s;         // logits or births: the other is null
  Input input;
  PerSample<float> gain;
  int64_t max_count = 255;
};

struct Bridge : Reverse {
  Prob birth, attrition;                 // attrition.p null: none
  bool stochastic = true;
};

struct TauLeap : Reverse {
  PerSample<double> factor;
  int64_t* overshoot = nullptr;          // per sample: elements clamped to max_count
};

struct BirthLoss : Common {
  View logits, births, grad;             // grad: of the loss, gets the slopes, unless null; of the scaling, holds them
  PerSample<float> gain;
  PerSample<double> weight;              // of the loss; of the gradient: upstream * weight
  float* loss = nullptr;
  PerSample<double> ahead;               // of the loss: what its slopes are multiplied by already, upstream * weight; null: 1
};

struct Element : Common {                // binomial: count, p, q; poisson: p is the rate
  View count, p, q, out;
};

inline bool good_pair(const Prob& prob, int64_t samples) {
  const int64_t pairs = prob.p.distinct(samples) == 1 ? prob.q.distinct(samples) : samples;
  bool good = true;
  for (int64_t i = 0; i < pairs; ++i) good = good && fastblackout::good_pair(prob.p[i], prob.q[i]);
  return good;
}

// `at` as an index below `end`, which it is unless what it was read from has changed since its check.
FB_HD int64_t index_below(int64_t end, int64_t at) { return static_cast<uint64_t>(at) < static_cast<uint64_t>(end) ? at : end - 1; }

// Matrices (K, R, S), of which sample b uses index[b], the only one, or its own. The last dimension is contiguous.
struct Matrices {
  const char* data = nullptr;
  Dtype dtype = Dtype::f64;
  int64_t matrices = 1, rows = 0, states = 0, matrix_stride = 0, row_stride = 0;  // strides in elements
  const int64_t* index = nullptr;

  template <class T>
  const T* row(int64_t sample, int64_t r) const {
    const int64_t k = index != nullptr ? index_below(matrices, index[sample]) : matrices == 1 ? 0 : sample;
    return reinterpret_cast<const T*>(data) + k * matrix_stride + r * row_stride;
  }
};

struct Categorical : Common {            // probs, or thresholds (int64) and guide (uint16) made by categorical_table
  View state, out;
  Matrices probs, thresholds, guide;
  double tolerance = 0.0;                // of the sum of a row of probs from 1
};

struct CategoricalTable : Common {       // samples: K, elements: R
  Matrices probs;
  double tolerance = 0.0;
  int64_t* thresholds = nullptr;         // (K, R, S)
  uint16_t* guide = nullptr;             // (K, R, 256)
};

struct CategoricalBridge : Common {      // x_0, or weights (B, ..., S): logits or probabilities
  View x_t, x_0, weights, x_s;
  bool is_logits = false;
  double tolerance = 0.0;                // of the sum of an element's probabilities from 1
  Matrices before, after;
};

struct TransitionRows : Common {         // samples: B, elements: S
  Prob prob;
  double* out = nullptr;                 // (B, S, S)
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

struct LogProbs : Common {               // see LogProb in transition.h; prob for each sample, or p and q for each element
  const char* name = nullptr;            // of the op, for errors
  int kind = 0;
  View x, a, b, p, q, out;
  Prob prob;
};

// Outputs of the categorical ops hold anything after an error: the caller shows them only on success.
void categorical(const Categorical& op);
void categorical_table(const CategoricalTable& op);
void categorical_bridge(const CategoricalBridge& op);
void transition_rows(const TransitionRows& op);
void power_series(const PowerSeries& op);
void log_prob(const LogProbs& op);
void thin(const Thin& op);
void bridge(const Bridge& op);
void tau_leap(const TauLeap& op);
void birth_loss(const BirthLoss& op);
void birth_loss_grad(const BirthLoss& op);
void birth_loss_scale(const BirthLoss& op);
void binomial(const Element& op);
void poisson(const Element& op);

}  // namespace cpu
}  // namespace fastblackout
