// binomial: out ~ Binomial(count, p), each element with its own count and p
#include "cuda/element.cuh"

namespace fastblackout::cuda {
namespace {

FB_KERNEL(kThreads, 4) binomial_kernel(FB_PARAM(Binomial) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  bool wrong_prob = false, wrong_count = false;
  const int64_t n = checked_count(op.count, place, wrong_count);
  const double p = load_one(op.p, place.sample, place.i);
  const PQ prob = op.q.data == nullptr ? checked_pair(p, wrong_prob) : checked_pair(p, load_one(op.q, place.sample, place.i), wrong_prob);
  raise(op.flag, (wrong_prob ? kWrongProbability : 0) | (wrong_count ? kWrongCount : 0), wrong_prob || wrong_count);
  if (place.i == 0) check_key(op, place.sample);
  const int64_t k = binomial_draw(n, prob.p, prob.q, op.key, place, BINOMIAL);
  store_whole(op.out, place.sample, place.i, k);
}

}  // namespace

int binomial(const Binomial& op, void* stream) { return launch_elements(binomial_kernel, op, stream); }

}  // namespace fastblackout::cuda
