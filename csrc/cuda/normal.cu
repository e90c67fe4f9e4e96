// normal: out = mean + std z, element by element, z standard normal
#include "cuda/element.cuh"
#include "fastblackout/normal.h"

namespace fastblackout::cuda {
namespace {

// Word i % 4 of block i / 4: neighbours make the same block, which takes fewer steps than to share it.
FB_DEVICE uint32_t stream_word(const SampleKey& key, uint32_t stream, uint32_t i) { return word_of(key.words(i >> 2, stream), i); }

FB_KERNEL(kThreads, 4) normal_kernel(FB_PARAM(Normal) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  const double mean = load_one(op.mean, place.sample, place.i), deviation = load_one(op.deviation, place.sample, place.i);
  if (place.i == 0) check_key(op, place.sample);
  const SampleKey key = key_of(op.key, place.sample);
  const uint32_t high = stream_word(key, NORMAL, place.i), low = stream_word(key, NORMAL_REFINE, place.i);
  store_one(op.out, place.sample, place.i, mean + deviation * standard_normal(high, low));
  raise(op.flag, kWrongNumber, !(mean - mean == 0.0) || !(deviation >= 0.0 && deviation - deviation == 0.0));
}

}  // namespace

int normal(const Normal& op, void* stream) { return launch_elements(normal_kernel, op, stream); }

}  // namespace fastblackout::cuda
