// posterior_step: x_s = x_t + births and the next model input, where a head gives a law of the births; a thread an element.
#include "cuda/bayes.cuh"
#include "cuda/reverse.cuh"
#include "fastblackout/negative_binomial_law.h"
#include "fastblackout/posterior_step.h"

namespace fastblackout::cuda {
namespace {

// What differs by the law is a class: kBlocks, how many blocks are to share a multiprocessor, whether log factorials come from a
// table, and the count of an element after the step. It reads the count before it again at the end: registers are few.
template <class Law>
FB_KERNEL(kThreads, Law::kBlocks) law_step(FB_PARAM(PosteriorStep) op) {
  const LogFactorials factorials = shared_factorials<Law::kTabled>(op.max_count);
  const Place place = place_of(op);
  if (!place.inside) return;
  if (place.i == 0) check_sample(op, place.sample, nullptr);
  store_element(op, place.sample, place.i, Law::after(op, place, StoredKey{op.key, place.sample}, factorials));
}

FB_DEVICE PQ checked_birth(const PosteriorStep& op, const Place& place, int& flags) {
  bool wrong = false;
  const PQ birth = checked_prob(op.birth, place.sample, wrong);
  if (wrong) flags |= kWrongProbability;
  return birth;
}

// The shapes of f
FB_DEVICE StepShapes checked_shapes(const PosteriorStep& op, const Place& place) {
  int flags = 0;
  const double offset = checked_law_offset(op, place.sample, flags);
  const double head_0 = checked_head(op.head[0], place.sample, place.i, flags);
  const double head_1 = checked_head(op.head[1], place.sample, place.i, flags);
  raise(op.flag, flags, flags != 0);
  return step_shapes(beta_binomial_law(head_0, head_1, offset));
}

struct BetaBinomialStep {
  static constexpr int kBlocks = 4;
  static constexpr bool kTabled = false;

  static FB_DEVICE int64_t after(const PosteriorStep& op, const Place& place, const StoredKey& key, const LogFactorials&) {
    GammaThen<BinomialHat>& hat = own_hat<GammaThen<BinomialHat>>();
    const StepShapes shapes = checked_shapes(op, place);
    const BetaStreams streams{POSTERIOR_A, POSTERIOR_B, POSTERIOR_BOOST};
    const BetaPair f = beta_element(shapes.a, shapes.b, key, place.i, streams, hat.gamma);
    int flags = 0;
    const PQ birth = checked_birth(op, place, flags);
    const BetaPair thinned = thinned_pair(f, birth.p, birth.q);
    const int64_t room = op.max_count - load_count(op, place, flags);
    raise(op.flag, flags, flags != 0);
    const int64_t births = binomial_draw(room, thinned.p, thinned.q, key, place.i, POSTERIOR_ELEMENT, hat.second);
    return load_count(op, place, flags) + births;
  }
};

// Poisson(theta p Gamma(size)), cut at the room
struct NegativeBinomialStep {
  static constexpr int kBlocks = 4;
  static constexpr bool kTabled = false;

  static FB_DEVICE int64_t after(const PosteriorStep& op, const Place& place, const StoredKey& key, const LogFactorials&) {
    GammaThen<PoissonHat>& hat = own_hat<GammaThen<PoissonHat>>();
    int flags = 0;
    const double most = static_cast<double>(op.max_count);
    const NegativeBinomialTime time = negative_binomial_time(checked_law_offset(op, place.sample, flags), most);
    const double head_0 = checked_head(op.head[0], place.sample, place.i, flags), head_1 = checked_head(op.head[1], place.sample, place.i, flags);
    const NegativeBinomialLaw law = negative_binomial_law(time, head_0, head_1, static_cast<double>(load_count(op, place, flags)));
    const double mean = law.theta * checked_birth(op, place, flags).p;
    raise(op.flag, flags, flags != 0);
    const double rate = gamma_element(law.size, mean, key, place.i, GammaStreams{POSTERIOR_A, POSTERIOR_BOOST}, hat.gamma);
    const int64_t births = poisson_draw(rate < kMaxRate ? rate : kMaxRate, key, place.i, POSTERIOR_ELEMENT, hat.second);
    const int64_t x = load_count(op, place, flags), room = op.max_count - x;
    return x + (births < room ? births : room);
  }
};

FB_DEVICE double checked_room(const PosteriorStep& op, const Place& place, int& flags) {
  return static_cast<double>(op.max_count) - static_cast<double>(load_count(op, place, flags));
}

FB_DEVICE uint32_t state_word(const StoredKey& key, uint32_t stream, uint32_t i) { return word_of(key.words(i >> 2, stream), i); }

// What draws the number N of the births that are left
FB_DEVICE double state_uniform(const StoredKey& key, uint32_t i) {
  const uint32_t high = state_word(key, POSTERIOR_STATE, i), low = state_word(key, POSTERIOR_STATE_REFINE, i);
  return uniform_from_zero(bits53(high, low));
}

struct BayesStep {
  static constexpr int kBlocks = 2;
  static constexpr bool kTabled = true;

  union Own {  // the slots of the law and the hat of the births, which are drawn after N, share their memory
    BayesSlots<false> slots;
    BinomialHat hat;
  };

  static FB_DEVICE int64_t after(const PosteriorStep& op, const Place& place, const StoredKey& key, const LogFactorials& factorials) {
    Own& own = own_hat<Own>();
    int flags = 0;
    const double offset = checked_law_offset(op, place.sample, flags);
    const BayesElement x = bayes_element(static_cast<double>(op.max_count), checked_room(op, place, flags), offset);
    const BayesHead<PosteriorStep> head = bayes_head(op, place.sample, place.i, flags);
    const double n = bayes_draw(x, head, factorials, state_uniform(key, place.i), own.slots);
    const PQ birth = checked_birth(op, place, flags);
    raise(op.flag, flags, flags != 0);
    const int64_t births = binomial_draw(static_cast<int64_t>(n), birth.p, birth.q, key, place.i, POSTERIOR_ELEMENT, own.hat);
    return load_count(op, place, flags) + births;
  }
};

}  // namespace

int posterior_step(const PosteriorStep& op, void* stream) {
  switch (static_cast<Family>(op.family)) {
    case Family::bayes_logistic: return launch_elements(law_step<BayesStep>, op, stream);
    case Family::negative_binomial: return launch_elements(law_step<NegativeBinomialStep>, op, stream);
    default: return launch_elements(law_step<BetaBinomialStep>, op, stream);
  }
}

}  // namespace fastblackout::cuda
