// What programs of JAX need beside the ops' kernels: numbers of samples made into what those read, and the model input of counts that a
// mask leaves out.
#include "cuda/element.cuh"

namespace fastblackout::cuda {
namespace {

FB_DEVICE double number_of(const Numbers& numbers, int64_t i) { return xla::number_at(numbers.type, numbers.data, numbers.shared ? 0 : i); }

FB_DEVICE void make(const Conversion& each, int64_t i) {
  switch (each.made) {
    case Made::zeros: static_cast<uint32_t*>(each.to)[i] = 0u; break;
    case Made::float32: static_cast<float*>(each.to)[i] = static_cast<float>(number_of(each.from, i)); break;
    case Made::float64: {
      const double number = number_of(each.from, i);
      static_cast<double*>(each.to)[i] = each.by.data == nullptr ? number : number * number_of(each.by, i);
      break;
    }
    case Made::complement: static_cast<double*>(each.to)[i] = 1.0 - number_of(each.from, i); break;
    case Made::int32: {
      const uint64_t whole = reinterpret_cast<const uint64_t*>(each.from.data)[i];
      static_cast<int32_t*>(each.to)[i] = static_cast<int32_t>(whole < 0x7fffffffu ? whole : 0x7fffffffu);
    }
  }
}

// Each block takes part of one conversion.
FB_KERNEL(kThreads, 4) convert_kernel(FB_PARAM(Conversions) all) {
  const uint32_t count = static_cast<uint32_t>(all.count), part = blockIdx.x / count, parts = gridDim.x / count;
  const Conversion& each = all.each[blockIdx.x - part * count];
#pragma unroll 1
  for (int64_t i = static_cast<int64_t>(part) * kThreads + threadIdx.x; i < each.count; i += static_cast<int64_t>(parts) * kThreads) make(each, i);
}

FB_KERNEL(kThreads, 4) model_input_kernel(FB_PARAM(ModelInput) op) {
  const Place place = place_of(op);
  if (!place.inside) return;
  int64_t x = 0;
  load_whole(op.x, offset_of(op.x, place.sample, place.i), x);
  const float made = (static_cast<float>(x) - op.input.center[place.sample]) * op.input.scale[place.sample];
  store_one(op.input.out, place.sample, place.i, static_cast<double>(made));
}

}  // namespace

int convert(const Conversions& all, void* stream) {
  int64_t most = 0;
  for (int c = 0; c < all.count; ++c) most = all.each[c].count > most ? all.each[c].count : most;
  const int64_t parts = (most + kThreads - 1) / kThreads, limit = 4096 / kMostConversions;
  if (parts == 0) return 0;
  FB_LAUNCH(convert_kernel, static_cast<unsigned>((parts < limit ? parts : limit) * all.count), kThreads, stream, all);
  return cudaGetLastError();
}

int model_input(const ModelInput& op, void* stream) { return launch_elements(model_input_kernel, op, stream); }

}  // namespace fastblackout::cuda
