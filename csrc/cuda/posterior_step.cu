// posterior_step: x_s = x_t + births and the next model input, where a head gives a law of the births; a thread an element.
#include "cuda/bayes.cuh"
#include "cuda/reverse.cuh"
#include "cuda/states.cuh"
#include "fastblackout/negative_binomial_law.h"
#include "fastblackout/posterior_step.h"

namespace fastblackout {
namespace cuda {
namespace {

// The shapes of f in the law of the one family there is
FB_DEVICE StepShapes checked_shapes(const PosteriorStep& op, const Place& place) {
  int flags = 0;
  const double offset = checked_law_offset(op, place.sample, flags);
  const double head_0 = checked_head(op.head[0], place.sample, place.i, flags);
  const double head_1 = checked_head(op.head[1], place.sample, place.i, flags);
  raise(op.flag, flags, flags != 0);
  return step_shapes(beta_binomial_law(head_0, head_1, offset));
}

FB_KERNEL(kThreads, 4) posterior_step_kernel(FB_PARAM(PosteriorStep) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  if (place.i == 0) check_sample(op, place.sample, nullptr);
  const StoredKey key{op.key, place.sample};
  GammaThen<BinomialHat>& hat = own_hat<GammaThen<BinomialHat>>();
  const StepShapes shapes = checked_shapes(op, place);
  const BetaStreams streams{POSTERIOR_A, POSTERIOR_B, POSTERIOR_BOOST};
  const BetaPair f = beta_element(shapes.a, shapes.b, key, place.i, streams, hat.gamma);
  bool wrong = false;
  const PQ birth = checked_prob(op.birth, place.sample, wrong);
  const BetaPair thinned = thinned_pair(f, birth.p, birth.q);
  int flags = wrong ? kWrongProbability : 0;
  const int64_t room = op.max_count - load_count(op, place, flags);
  raise(op.flag, flags, flags != 0);
  const int64_t births = binomial_draw(room, thinned.p, thinned.q, key, place.i, POSTERIOR_ELEMENT, hat.second);
  store_element(op, place.sample, place.i, load_count(op, place, flags) + births);  // read again: registers are few
}

// The law "bayes-logistic". The slots of the law and the hat of the births, which are drawn after N, share their memory.
union BayesThenHat {
  BayesSlots<false> slots;
  BinomialHat hat;
};

FB_DEVICE uint32_t state_word(const StoredKey& key, uint32_t stream, uint32_t i) { return word_of(key.words(i >> 2, stream), i); }

FB_KERNEL(kThreads, 2) bayes_step_kernel(FB_PARAM(PosteriorStep) op) {
  __shared__ double table[kMostTabled + 1];
  const LogFactorials factorials = shared_factorials<>(op.max_count, table);
  const Place place = place_of(op);
  if (!place.inside) return;
  if (place.i == 0) check_sample(op, place.sample, nullptr);
  const StoredKey key{op.key, place.sample};
  BayesThenHat& own = own_hat<BayesThenHat>();
  int flags = 0;
  const double offset = checked_law_offset(op, place.sample, flags), most = static_cast<double>(op.max_count);
  const BayesElement x = bayes_element(most, most - static_cast<double>(load_count(op, place, flags)), offset);
  const BayesHead<PosteriorStep> head = bayes_head(op, place.sample, place.i, flags);
  const uint32_t high = state_word(key, POSTERIOR_STATE, place.i), low = state_word(key, POSTERIOR_STATE_REFINE, place.i);
  const double left = bayes_draw(x, head, factorials, uniform_from_zero(bits53(high, low)), own.slots);
  bool wrong = false;
  const PQ birth = checked_prob(op.birth, place.sample, wrong);
  if (wrong) flags |= kWrongProbability;
  raise(op.flag, flags, flags != 0);
  const int64_t births = binomial_draw(static_cast<int64_t>(left), birth.p, birth.q, key, place.i, POSTERIOR_ELEMENT, own.hat);
  store_element(op, place.sample, place.i, load_count(op, place, flags) + births);
}

// The law "negative-binomial": Poisson(theta p Gamma(size)), cut at the room
FB_KERNEL(kThreads, 4) negative_binomial_step_kernel(FB_PARAM(PosteriorStep) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  if (place.i == 0) check_sample(op, place.sample, nullptr);
  const StoredKey key{op.key, place.sample};
  GammaThen<PoissonHat>& hat = own_hat<GammaThen<PoissonHat>>();
  int flags = 0;
  bool wrong = false;
  const double most = static_cast<double>(op.max_count);
  const NegativeBinomialTime time = negative_binomial_time(checked_law_offset(op, place.sample, flags), most);
  const double head_0 = checked_head(op.head[0], place.sample, place.i, flags), head_1 = checked_head(op.head[1], place.sample, place.i, flags);
  const NegativeBinomialLaw law = negative_binomial_law(time, head_0, head_1, static_cast<double>(load_count(op, place, flags)));
  const double mean = law.theta * checked_prob(op.birth, place.sample, wrong).p;
  if (wrong) flags |= kWrongProbability;
  raise(op.flag, flags, flags != 0);
  const double rate = gamma_element(law.size, mean, key, place.i, GammaStreams{POSTERIOR_A, POSTERIOR_BOOST}, hat.gamma);
  const int64_t births = poisson_draw(rate < kMaxRate ? rate : kMaxRate, key, place.i, POSTERIOR_ELEMENT, hat.second);
  const int64_t x = load_count(op, place, flags), room = op.max_count - x;  // read again: registers are few
  store_element(op, place.sample, place.i, x + (births < room ? births : room));
}

// The laws with a logit for every state
template <bool Known>
FB_KERNEL(kThreads, Known ? 2 : 3) state_step_kernel(FB_PARAM(PosteriorStep) op) {
  __shared__ double table[Known ? kMostTabled + 1 : 1];
  const LogFactorials factorials = shared_factorials<Known>(op.max_count, table);
  const Place place = place_of(op);
  if (!place.inside) return;
  if (place.i == 0) check_sample(op, place.sample, nullptr);
  const StoredKey key{op.key, place.sample};
  BinomialHat& hat = own_hat<BinomialHat>();
  int flags = 0;
  const double offset = checked_law_offset(op, place.sample, flags), most = static_cast<double>(op.max_count);
  const StateRow<Known> row(op, place.sample, place.i, most - static_cast<double>(load_count(op, place, flags)), offset, factorials, flags);
  const uint32_t high = state_word(key, POSTERIOR_STATE, place.i), low = state_word(key, POSTERIOR_STATE_REFINE, place.i);
  const int left = row.drawn(uniform_from_zero(bits53(high, low))) - row.x;
  bool wrong = false;
  const PQ birth = checked_prob(op.birth, place.sample, wrong);
  if (wrong) flags |= kWrongProbability;
  raise(op.flag, flags, flags != 0);
  const int64_t births = binomial_draw(left, birth.p, birth.q, key, place.i, POSTERIOR_ELEMENT, hat);
  store_element(op, place.sample, place.i, load_count(op, place, flags) + births);
}

}  // namespace

int posterior_step(const PosteriorStep& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  switch (static_cast<Family>(op.family)) {
    case Family::beta_binomial: FB_LAUNCH(posterior_step_kernel, element_grid(op), kThreads, stream, op); break;
    case Family::bayes_logistic: FB_LAUNCH(bayes_step_kernel, element_grid(op), kThreads, stream, op); break;
    case Family::negative_binomial: FB_LAUNCH(negative_binomial_step_kernel, element_grid(op), kThreads, stream, op); break;
    case Family::categorical: FB_LAUNCH(state_step_kernel<false>, element_grid(op), kThreads, stream, op); break;
    case Family::bayes_categorical: FB_LAUNCH(state_step_kernel<true>, element_grid(op), kThreads, stream, op); break;
  }
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace fastblackout
