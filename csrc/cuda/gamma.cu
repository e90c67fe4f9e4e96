// gamma: out ~ scale Gamma(shape), element by element
#include "cuda/element.cuh"

namespace fastblackout::cuda {
namespace {

FB_KERNEL(kThreads, 4) gamma_kernel(FB_PARAM(Gamma) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  const double shape = load_one(op.shape, place.sample, place.i), scale = load_one(op.scale, place.sample, place.i);
  if (place.i == 0) check_key(op, place.sample);
  const bool good = good_shape(shape);
  const StoredKey key{op.key, place.sample};
  const double x = gamma_element(good ? shape : 1.0, scale, key, place.i, GammaStreams{GAMMA, GAMMA_BOOST}, own_hat<GammaHat>());
  store_one(op.out, place.sample, place.i, good ? x : not_a_number());
  raise(op.flag, kWrongNumber, !good || !(scale >= 0.0 && scale - scale == 0.0));
}

}  // namespace

int gamma(const Gamma& op, void* stream) { return launch_elements(gamma_kernel, op, stream); }

}  // namespace fastblackout::cuda
