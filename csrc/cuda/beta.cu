// beta: out ~ Beta(a, b), element by element
#include "cuda/element.cuh"

namespace fastblackout::cuda {
namespace {

FB_KERNEL(kThreads, 4) beta_kernel(FB_PARAM(Beta) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  const double a = load_one(op.a, place.sample, place.i), b = load_one(op.b, place.sample, place.i);
  if (place.i == 0) check_key(op, place.sample);
  const bool good = good_shape(a) && good_shape(b);
  const StoredKey key{op.key, place.sample};
  const BetaStreams streams{BETA_A, BETA_B, BETA_BOOST};
  const BetaPair pair = beta_element(good ? a : 1.0, good ? b : 1.0, key, place.i, streams, own_hat<GammaHat>());
  store_one(op.out, place.sample, place.i, good ? pair.p : not_a_number());
  raise(op.flag, kWrongNumber, !good);
}

}  // namespace

int beta(const Beta& op, void* stream) { return launch_elements(beta_kernel, op, stream); }

}  // namespace fastblackout::cuda
