// bessel: the smaller of two Poisson numbers whose difference is the order, element by element
#include "cuda/element.cuh"
#include "fastblackout/bessel.h"

namespace fastblackout::cuda {
namespace {

// Of a thread, in shared memory; padded to an odd number of float64, as hats are.
struct PairAndHat {
  PoissonPair pair;
  PoissonHat hat;
  double unused;
};

FB_KERNEL(kThreads, 4) bessel_kernel(FB_PARAM(Bessel) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  if (place.i == 0) check_key(op, place.sample);
  bool wrong_order = false, wrong_argument = false;
  int64_t order = checked_count(op.order, place, wrong_order);
  if (order > static_cast<int64_t>(kMaxRate)) {
    order = static_cast<int64_t>(kMaxRate);
    wrong_order = true;
  }
  const double argument = clamp_count(load_one(op.argument, place.sample, place.i), kMaxRate, wrong_argument);
  raise(op.flag, (wrong_order ? kWrongCount : 0) | (wrong_argument ? kWrongProbability : 0), wrong_order || wrong_argument);
  PairAndHat& own = own_hat<PairAndHat>();
  int64_t k = 0;
  if (argument >= kLeastArgument) {
    own.pair = poisson_pair(static_cast<double>(order), argument);
    pair_top(own.pair);
    k = bessel_draw<false>(own.pair, StoredKey{op.key, place.sample}, place.i, 0, own.hat);
  }
  store_one(op.out, place.sample, place.i, static_cast<double>(k));
}

}  // namespace

int bessel(const Bessel& op, void* stream) { return launch_elements(bessel_kernel, op, stream); }

}  // namespace fastblackout::cuda
