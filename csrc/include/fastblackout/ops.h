// The arguments and outputs of every op, written once for the CPU's kernels and the CUDA ones, and the list of the ops. Those on
// states are in ops_on_states.h.
//
// An op is a struct template over a backend B (cpu/ops.h, cuda/ops.h), which says what type a view of an array, a probability
// or a number for each sample has there. The op's list of fields names the arguments in the order in which fastblackout/ops
// declares them, then the outputs. Three readers go along such a list and fill the struct: from plain arrays and Python's numbers as
// a user gave them (bindings/call_reader.h), from the record of a call that Python checked (bindings/record_reader.h), or from buffers
// of a program that JAX has compiled (bindings/xla_reader.h). A reader has
//   read(fields...)                    arguments, each by its type; of a C array one after the other
//   read.elements(fields...)           arguments that broadcast to one shape
//   read.either(given, is_second)      two arguments of which one is None
//   read.head(family, arrays)          the arrays of a law, and which law it is
//   read.optional(prob)                a probability that may be left out
//   read.at_least(low, number)         a number for each sample, not below `low`, which a reader checks if nobody has yet; all others
//                                      are finite
//   read.choice(is_first, first, ...)  which of two names was given
//   read.outputs(fields...)            outputs, null where they are not asked for
//   read.scratch(op)                   memory of a loss for the sums of its chunks, which a device alone needs
// ModelInput is an op for programs of JAX alone (bindings/xla_handlers.h).
#pragma once

#include <stdint.h>

namespace fastblackout {

// The laws of `LogProbs`, in their arguments x, a and b:
//   thin    x = x_t, a = x_0: Binomial(x_0, p) at x_t
//   bridge  x = x_s, a = x_t, b = x_0: Binomial(x_0 - x_t, p) at x_s - x_t
//   element x, a = count: Binomial(count, p) at x
enum class LogProb : int { thin = 0, bridge = 1, element = 2 };

namespace ops {

template <class B>
using View = typename B::View;
template <class B>
using Prob = typename B::Prob;  // p and q = 1 - p for each sample
template <class B>
using Matrices = typename B::Matrices;
template <class B, class T>
using PerSample = typename B::template PerSample<T>;

template <class B>
struct Input {  // model_input = (x - center) * scale
  View<B> out;
  PerSample<B, float> center{}, scale{};
};

template <class B>
struct Thin : B::Common {
  View<B> x_0, x_t, births;
  Prob<B> alive;
  Input<B> input;
  int64_t max_count = 255;

  template <class Read>
  void fields(Read& read) {
    read(x_0, alive, this->key, max_count, input.center, input.scale);
    read.outputs(x_t, births, input.out);
  }
};

template <class B>
struct Reverse : B::Common {  // what both reverse steps share
  View<B> x_t, given, x_s;
  bool births = false;  // given: births, else logits
  Input<B> input;
  PerSample<B, float> gain{};
  int64_t max_count = 255;
};

template <class B>
struct Bridge : Reverse<B> {
  Prob<B> birth, attrition;  // attrition.p is null where there is no attrition (counts that die during the step)
  bool stochastic = true;

  template <class Read>
  void fields(Read& read) {
    read(this->x_t);
    read.either(this->given, this->births);
    read(birth);
    read.optional(attrition);
    read(this->key, this->max_count);
    read.at_least(0.0f, this->gain);
    read.choice(stochastic, "stochastic", "nearest");
    read(this->input.center, this->input.scale);
    read.outputs(this->x_s, this->input.out);
  }
};

template <class B>
struct TauLeap : Reverse<B> {
  PerSample<B, double> factor{};
  typename B::Counter* overshoot = nullptr;  // per sample: elements clamped to max_count

  template <class Read>
  void fields(Read& read) {
    read(this->x_t);
    read.either(this->given, this->births);
    read.at_least(0.0, factor);
    read(this->key, this->max_count);
    read.at_least(0.0f, this->gain);
    read(this->input.center, this->input.scale);
    read.outputs(this->x_s, this->input.out, overshoot);
  }
};

// The lists of a loss and of its gradient, which read the same.
#define FB_LOSS_LISTS         \
  template <class Read>       \
  void fields(Read& read) {   \
    inputs(read);             \
    read.outputs(loss);       \
  }                           \
  template <class Read>       \
  void gradient(Read& read) { \
    inputs(read);             \
    read.outputs(grad);       \
  }

template <class B>
struct BirthLoss : B::Common {
  View<B> logits, births, grad;
  PerSample<B, double> weight{};  // of the loss; of the gradient: upstream * weight
  PerSample<B, float> gain{};
  float* loss = nullptr;

  template <class Read>
  void inputs(Read& read) {
    read(logits, births, weight);
    read.at_least(1.40129846e-45f, gain);  // the smallest float32 above 0
  }
  FB_LOSS_LISTS
};

template <class B>
struct EnergyLoss : B::Common {
  View<B> x_t, births;
  typename B::Draws logits, grad;   // (S, B, ...)
  PerSample<B, double> weight{};    // of the loss; of the gradient: upstream * weight
  PerSample<B, float> offset{};
  int64_t max_count = 255;
  float* loss = nullptr;
  double* norms = nullptr;          // (B, S (S + 1) / 2), which the loss makes and the gradient reads

  template <class Read>
  void inputs(Read& read) {
    read(x_t, logits, births, weight, offset, max_count);
  }
  template <class Read>
  void fields(Read& read) {
    inputs(read);
    read.outputs(loss, norms);
  }
  template <class Read>
  void gradient(Read& read) {
    inputs(read);
    read(norms);
    read.outputs(grad);
  }
};

constexpr int kMostHead = 8;  // arrays of a head, MOST_HEAD of call/head.py

template <class B>
struct PosteriorLoss : B::Common {
  View<B> x_t, births;
  View<B> head[kMostHead], grad[kMostHead];  // of head and grad those that the family has, the others null
  int64_t family = 0;
  PerSample<B, double> weight{};    // of the loss; of the gradient: upstream * weight
  PerSample<B, float> offset{};
  int64_t max_count = 255;
  float* loss = nullptr;

  template <class Read>
  void inputs(Read& read) {
    read(x_t);
    read.head(family, head);
    read(births, weight, offset, max_count);
  }
  FB_LOSS_LISTS
};

template <class B>
struct PosteriorStep : B::Common {
  View<B> x_t, x_s;
  View<B> head[kMostHead];  // of head those that the family has, the others null
  int64_t family = 0;
  Prob<B> birth;
  PerSample<B, float> offset{};
  Input<B> input;
  int64_t max_count = 255;

  template <class Read>
  void fields(Read& read) {
    read(x_t);
    read.head(family, head);
    read(birth, offset, this->key, max_count, input.center, input.scale);
    read.outputs(x_s, input.out);
  }
};

// An element-wise draw, whose parameters are arrays of its own elements.
#define FB_DRAW(NAME, ...)                    \
  template <class B>                          \
  struct NAME : B::Common {                   \
    View<B> __VA_ARGS__, out;                 \
                                              \
    template <class Read>                     \
    void fields(Read& read) {                 \
      read.elements(__VA_ARGS__);             \
      read(this->key);                        \
      read.outputs(out);                      \
    }                                         \
  };
FB_DRAW(Binomial, count, p, q)
FB_DRAW(Poisson, rate)
FB_DRAW(Normal, mean, deviation)
FB_DRAW(Gamma, shape, scale)
FB_DRAW(Beta, a, b)
FB_DRAW(BetaBinomial, n, a, b)
FB_DRAW(NegativeBinomial, r, mean)
FB_DRAW(Hypergeometric, good, bad, draws)
FB_DRAW(Bessel, order, argument)
#undef FB_DRAW

template <class B>
struct LogProbs : B::Common {
  LogProb law = LogProb::thin;
  View<B> x, a, b, out;
  typename B::LogProbPair prob;

  template <class Read>
  void thin(Read& read) {
    law = LogProb::thin;
    read(x, a, prob);
    read.outputs(out);
  }
  template <class Read>
  void bridge(Read& read) {
    law = LogProb::bridge;
    read(x, a, b, prob);
    read.outputs(out);
  }
};

template <class B>
struct ModelInput : B::Common {  // of counts that stay as they are, since a mask leaves them out: (x - center) * scale
  View<B> x;
  Input<B> input;

  template <class Read>
  void fields(Read& read) {
    read(x, input.center, input.scale);
    read.outputs(input.out);
  }
};

}  // namespace ops
}  // namespace fastblackout

#include "fastblackout/ops_on_states.h"

// The structs that are the same on both backends; each has a BirthLoss, an EnergyLoss, a PosteriorLoss and a LogProbs of its own.
#define FB_SAME_OPS(OP)                                                           \
  OP(Input) OP(Thin) OP(Reverse) OP(Bridge) OP(TauLeap) OP(PosteriorStep)         \
  OP(Binomial) OP(Poisson) OP(Normal) OP(Gamma) OP(Beta)                          \
  OP(BetaBinomial) OP(NegativeBinomial) OP(Hypergeometric) OP(Bessel)             \
  OP(Categorical) OP(CategoricalTable) OP(CategoricalBridge) OP(TransitionRows)   \
  OP(ModelInput)

// The functions that both backends have, as OP(its name in Python, its struct, its list of fields, its kernel).
#define FB_OPS(OP) FB_PLAIN_OPS(OP) FB_LOG_PROBS(OP) FB_LOSSES(OP) FB_OPS_ON_STATES(OP)

// Those whose plain calls go by bindings/call_reader.h.
#define FB_PLAIN_OPS(OP)                                                          \
  OP(thin, Thin, fields, thin)                                                    \
  OP(bridge_step, Bridge, fields, bridge)                                         \
  OP(tau_leap_step, TauLeap, fields, tau_leap)                                    \
  OP(posterior_step, PosteriorStep, fields, posterior_step)                       \
  OP(birth_loss_backward, BirthLoss, gradient, birth_loss_gradient)               \
  OP(energy_loss_backward, EnergyLoss, gradient, energy_loss_gradient)            \
  OP(posterior_loss_backward, PosteriorLoss, gradient, posterior_loss_gradient)   \
  OP(binomial, Binomial, fields, binomial)                                        \
  OP(poisson, Poisson, fields, poisson)                                           \
  OP(normal, Normal, fields, normal)                                              \
  OP(gamma, Gamma, fields, gamma)                                                 \
  OP(beta, Beta, fields, beta)                                                    \
  OP(beta_binomial, BetaBinomial, fields, beta_binomial)                          \
  OP(negative_binomial, NegativeBinomial, fields, negative_binomial)              \
  OP(hypergeometric, Hypergeometric, fields, hypergeometric)                      \
  OP(bessel, Bessel, fields, bessel)

// Of these, calls of arrays of the host.
#define FB_LOG_PROBS(OP)                                                          \
  OP(thin_log_prob, LogProbs, thin, log_prob)                                     \
  OP(bridge_log_prob, LogProbs, bridge, log_prob)

// And of these, which have derivatives, calls of plain tensors, too.
#define FB_LOSSES(OP)                                                             \
  OP(birth_loss, BirthLoss, fields, birth_loss)                                   \
  OP(energy_loss, EnergyLoss, fields, energy_loss)                                \
  OP(posterior_loss, PosteriorLoss, fields, posterior_loss)

#define FB_OPS_ON_STATES(OP)                                                      \
  OP(categorical, Categorical, fields, categorical)                               \
  OP(categorical_table, Categorical, from_table, categorical_from_table)          \
  OP(build_categorical_table, CategoricalTable, fields, build_categorical_table)  \
  OP(categorical_bridge, CategoricalBridge, fields, categorical_bridge)           \
  OP(transition_rows, TransitionRows, fields, transition_rows)

// The functions that the CPU alone has, and those that devices alone have.
#define FB_CPU_OPS(OP)                                                            \
  OP(birth_loss_each, EachLoss, each, birth_loss_each)                            \
  OP(birth_loss_each_backward, EachLoss, each_gradient, birth_loss_each_gradient) \
  OP(binomial_log_prob, LogProbs, element, log_prob)                              \
  OP(redraw, Redraw, fields, redraw)                                              \
  OP(categorical_rows, CategoricalRows, fields, categorical_rows)                 \
  OP(power_series, PowerSeries, fields, power_series)

#define FB_DEVICE_OPS(OP) OP(philox, PhiloxWords, fields, philox)
