// Tiny kernels that the tests of the shim run (tests/backends/test_simt_shim.py): some are right, others wrong on purpose, to
// test what the shim must catch.
#include "simt/selftest.h"

#include "cuda/launch.h"

namespace fastblackout::simt_test {
namespace {

constexpr int kSize = 64;

// Reads a neighbour's value, with or without the barrier between write and read.
template <bool Barrier>
__global__ void rotate(int* out) {
  __shared__ int values[kSize];
  values[threadIdx.x] = -1;
  __syncthreads();
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (Barrier) __syncthreads();
  out[blockIdx.x * kSize + threadIdx.x] = values[(threadIdx.x + 1) % kSize];
}

__global__ void divergent(int*) {
  if (threadIdx.x < 40) __syncthreads();
}

__global__ void two_barriers(int*) {
  if (threadIdx.x < 40) __syncthreads();
  else __syncthreads();
}

__global__ void missing_lane(int* out) {
  if (threadIdx.x != 5) out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, static_cast<int>(threadIdx.x), 1);
}

__global__ void outside_mask(int* out) { out[threadIdx.x] = static_cast<int>(__ballot_sync(0xffu, threadIdx.x % 2 == 0)); }

// Half a warp waits for the block, the other half for the warp: neither can go on.
__global__ void crossed(int*) {
  if (threadIdx.x % 2 == 0) __syncthreads();
  else __syncwarp();
}

__global__ void warp_sum(int* out) {
  int sum = static_cast<int>(threadIdx.x);
  for (int h = 16; h > 0; h /= 2) sum += __shfl_down_sync(0xffffffffu, sum, h);
  const int first = __shfl_sync(0xffffffffu, sum, 0);
  const unsigned odd = __ballot_sync(0xffffffffu, threadIdx.x % 2 == 1);
  out[threadIdx.x] = first + (odd == 0xaaaaaaaau ? 0 : 1000000) + (__any_sync(0xffffffffu, threadIdx.x == 7) ? 100000 : 0);
}

__global__ void count(int* out) { atomicAdd(out, 1); }

}  // namespace

bool run(const char* name, int* out) {
  struct Named {
    const char* name;
    void (*kernel)(int*);
    unsigned blocks;
  };
  const Named all[] = {{"rotate", rotate<true>, 4}, {"rotate_without_barrier", rotate<false>, 1}, {"divergent", divergent, 1},
                       {"two_barriers", two_barriers, 1}, {"missing_lane", missing_lane, 1}, {"outside_mask", outside_mask, 1},
                       {"crossed", crossed, 1}, {"warp_sum", warp_sum, 1}, {"count", count, 100}};
  for (const Named& one : all) {
    if (std::strcmp(name, one.name) != 0) continue;
    FB_LAUNCH(one.kernel, one.blocks, kSize, nullptr, out);
    return true;
  }
  return false;
}

}  // namespace fastblackout::simt_test
