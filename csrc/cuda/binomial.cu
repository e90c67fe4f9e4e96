// binomial: out ~ Binomial(count, p), each element with its own count and p
#include "cuda/element.cuh"

namespace fastblackout {
namespace cuda {
namespace {

FB_KERNEL(kThreads, 4) binomial_kernel(FB_PARAM(Element) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  bool wrong_prob = false, wrong_count = false;
  const double count = load_one(op.count, place.sample, place.i);
  const int64_t n = static_cast<int64_t>(clamp_count(count, static_cast<double>(kMaxCount), wrong_count));
  wrong_count = wrong_count || static_cast<double>(n) != count;
  const double p = clamp_prob(load_one(op.p, place.sample, place.i), wrong_prob);
  double q = 1.0 - p;
  if (op.q.data != nullptr) q = clamp_prob(load_one(op.q, place.sample, place.i), wrong_prob);
  if (wrong_prob) q = 1.0 - p;
  const int64_t k = binomial_draw(n, p, q, op.key, place, BINOMIAL);
  store_one(op.out, place.sample, place.i, static_cast<double>(k));
  raise(op.flag, (wrong_prob ? kWrongProbability : 0) | (wrong_count ? kWrongCount : 0), wrong_prob || wrong_count);
}

}  // namespace

int binomial(const Element& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return 0;
  FB_LAUNCH(binomial_kernel, element_grid(op), kThreads, stream, op);
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace fastblackout
