// negative_binomial: out ~ Poisson(mean / r Gamma(r)), element by element
#include "cuda/element.cuh"

namespace fastblackout::cuda {
namespace {

FB_KERNEL(kThreads, 4) negative_binomial_kernel(FB_PARAM(NegativeBinomial) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  if (place.i == 0) check_key(op, place.sample);
  bool wrong = false;
  const double given = load_one(op.r, place.sample, place.i);
  const double mean = clamp_count(load_one(op.mean, place.sample, place.i), kMaxRate, wrong);
  raise(op.flag, (good_shape(given) ? 0 : kWrongNumber) | (wrong ? kWrongProbability : 0), wrong || !good_shape(given));
  const double r = good_shape(given) ? given : 1.0;
  const StoredKey key{op.key, place.sample};
  const GammaStreams streams{NEGATIVE_BINOMIAL_GAMMA, NEGATIVE_BINOMIAL_BOOST};
  GammaThen<PoissonHat>& hat = own_hat<GammaThen<PoissonHat>>();
  const double x = gamma_element(r, mean, key, place.i, streams, hat.gamma) / r;
  const int64_t k = poisson_draw(x < kMaxRate ? x : kMaxRate, key, place.i, NEGATIVE_BINOMIAL, hat.second);
  store_whole(op.out, place.sample, place.i, k);
}

}  // namespace

int negative_binomial(const NegativeBinomial& op, void* stream) { return launch_elements(negative_binomial_kernel, op, stream); }

}  // namespace fastblackout::cuda
