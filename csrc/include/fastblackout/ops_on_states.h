// The arguments and outputs of the ops on states, a part of ops.h, which says how they are read.
#pragma once

namespace fastblackout::ops {

template <class B>
struct Categorical : B::Common {  // draws from probs, or from the thresholds (int64) and the guide (uint16) of a table
  View<B> state, out;
  Matrices<B> probs, thresholds, guide;
  const int64_t* index = nullptr;  // which matrix a sample uses; null: all use the only one, or each its own

  template <class Read>
  void fields(Read& read) {
    read(state, probs, index, this->key);
    read.outputs(out);
  }
  template <class Read>
  void from_table(Read& read) {
    read(state, thresholds, guide, index, this->key);
    read.outputs(out);
  }
};

template <class B>
struct CategoricalTable : B::Common {  // `samples` counts the K matrices, `elements` the R rows of each
  Matrices<B> probs;
  int64_t* thresholds = nullptr;  // (K, R, S)
  uint16_t* guide = nullptr;      // (K, R, 256)

  template <class Read>
  void fields(Read& read) {
    read(probs);
    read.outputs(thresholds, guide);
  }
};

template <class B>
struct CategoricalBridge : B::Common {
  View<B> x_t, x_0, x_s;  // one of x_0 and weights is given, the other is null
  typename B::Weights weights;  // (B, ..., S): logits or probabilities
  bool is_logits = false;
  Matrices<B> before, after;
  const int64_t* index = nullptr;

  template <class Read>
  void fields(Read& read) {
    read(x_t, x_0, weights, is_logits, before, after, index, this->key);
    read.outputs(x_s);
  }
};

template <class B>
struct TransitionRows : B::Common {
  Prob<B> prob;
  int64_t states = 0;  // S
  typename B::Rows out{};  // (B, S, S)

  template <class Read>
  void fields(Read& read) {
    read(prob, states);
    read.outputs(out);
  }
};

}  // namespace fastblackout::ops
