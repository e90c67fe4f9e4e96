// beta_binomial: out ~ Binomial(n, f), f ~ Beta(a, b), element by element
#include "cuda/element.cuh"

namespace fastblackout::cuda {
namespace {

FB_KERNEL(kThreads, 4) beta_binomial_kernel(FB_PARAM(BetaBinomial) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  if (place.i == 0) check_key(op, place.sample);
  const double a = load_one(op.a, place.sample, place.i), b = load_one(op.b, place.sample, place.i);
  const bool good = good_shape(a) && good_shape(b);
  raise(op.flag, kWrongNumber, !good);
  const BetaStreams streams{BETA_BINOMIAL_A, BETA_BINOMIAL_B, BETA_BINOMIAL_BOOST};
  const StoredKey key{op.key, place.sample};
  GammaThen<BinomialHat>& hat = own_hat<GammaThen<BinomialHat>>();
  const BetaPair f = beta_element(good ? a : 1.0, good ? b : 1.0, key, place.i, streams, hat.gamma);
  bool wrong = false;
  const int64_t n = checked_count(op.n, place, wrong);
  raise(op.flag, kWrongCount, wrong);
  const int64_t k = binomial_draw(n, f.p, f.q, key, place.i, BETA_BINOMIAL, hat.second);
  store_whole(op.out, place.sample, place.i, k);
}

}  // namespace

int beta_binomial(const BetaBinomial& op, void* stream) { return launch_elements(beta_binomial_kernel, op, stream); }

}  // namespace fastblackout::cuda
