// hypergeometric: how many of `draws` balls are good, drawn from good and bad ones without putting any back
#include "cuda/element.cuh"
#include "fastblackout/hypergeometric.h"

namespace fastblackout::cuda {
namespace {

// Of a thread, in shared memory; padded to an odd number of float64, as hats are.
struct UrnAndHat {
  Urn urn;
  BinomialHat hat;
  double unused;
};

// Brings the three numbers into the range that urn_of takes.
FB_DEVICE bool clamp_urn(int64_t good, int64_t& bad, int64_t& draws) {
  const bool many = bad > kMaxCount - good;
  if (many) bad = kMaxCount - good;
  const bool more = draws > good + bad;
  if (more) draws = good + bad;
  return many || more;
}

FB_KERNEL(kThreads, 4) hypergeometric_kernel(FB_PARAM(Hypergeometric) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  if (place.i == 0) check_key(op, place.sample);
  bool wrong = false;
  const int64_t good = checked_count(op.good, place, wrong);
  int64_t bad = checked_count(op.bad, place, wrong), draws = checked_count(op.draws, place, wrong);
  wrong = clamp_urn(good, bad, draws) || wrong;
  raise(op.flag, kWrongCount, wrong);
  UrnAndHat& own = own_hat<UrnAndHat>();
  own.urn = urn_of(good, bad, draws);
  int64_t k = own.urn.start;
  if (own.urn.small > 0) {
    urn_top(own.urn);
    k = urn_draw<false>(own.urn, StoredKey{op.key, place.sample}, place.i, 0, own.hat);
  }
  store_one(op.out, place.sample, place.i, static_cast<double>(k));
}

}  // namespace

int hypergeometric(const Hypergeometric& op, void* stream) { return launch_elements(hypergeometric_kernel, op, stream); }

}  // namespace fastblackout::cuda
