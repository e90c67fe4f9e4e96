// tau_leap: x_s = x_t + min(Poisson(y factor), max_count - x_t) and the next model input. y is the number of births that a
// network output predicts.
#include "cuda/reverse.cuh"

namespace fastblackout::cuda {
namespace {

FB_KERNEL(kThreads, 4) tau_leap_kernel(FB_PARAM(TauLeap) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  int flags = 0;
  bool wrong = false;
  if (place.i == 0) check_sample(op, place.sample, &op.gain);
  const int64_t x = load_count(op, place, flags);
  const float y = expected_births(op, place.sample, place.i, flags);
  const double factor = clamp_count(op.factor[place.sample], 1.7976931348623157e308, wrong);
  if (wrong) flags |= kWrongProbability;
  const double rate = static_cast<double>(y) * factor;
  const double capped = rate > 0.0 ? (rate < kMaxRate ? rate : kMaxRate) : 0.0;  // a NaN, infinity times 0, gives no births
  const int64_t births = poisson_draw(capped, op.key, place, TAU_LEAP);
  const int64_t room = op.max_count - x;
  if (births > room) atomicAdd(op.overshoot + place.sample, 1ull);
  store_element(op, place.sample, place.i, x + (births < room ? births : room));
  raise(op.flag, flags, flags != 0);
}

}  // namespace

int tau_leap(const TauLeap& op, void* stream) { return launch_elements(tau_leap_kernel, op, stream); }

}  // namespace fastblackout::cuda
