// poisson: out ~ Poisson(rate), each element with its own rate
#include "cuda/element.cuh"

namespace fastblackout::cuda {
namespace {

FB_KERNEL(kThreads, 4) poisson_kernel(FB_PARAM(Poisson) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  bool wrong = false;
  const double rate = clamp_count(load_one(op.rate, place.sample, place.i), kMaxRate, wrong);
  raise(op.flag, kWrongProbability, wrong);
  if (place.i == 0) check_key(op, place.sample);
  const int64_t k = poisson_draw(rate, op.key, place, POISSON), most = op.out.dtype == kI32 ? 0x7fffffff : k;  // int32 in JAX
  store_whole(op.out, place.sample, place.i, k < most ? k : most);
}

}  // namespace

int poisson(const Poisson& op, void* stream) { return launch_elements(poisson_kernel, op, stream); }

}  // namespace fastblackout::cuda
