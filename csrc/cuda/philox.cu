// philox: words of one counter and key by every version of Philox in these kernels, to be compared with its known answers.
#include "cuda/draw.cuh"

namespace fastblackout::cuda {
namespace {

// words: (threads, 3, 4). Each thread makes them three times: by philox4x32, and as the first and as the second of the two
// blocks of philox_blocks, whose keys lie in shared memory. counter: its four words, then the key's two.
FB_KERNEL(kThreads, 4) philox_kernel(FB_PARAM(PhiloxWords) op) {
  __shared__ DrawTable table;
  const auto given = [&](int w) { return static_cast<uint32_t>(op.counter[w]); };
  const SampleKey key{given(4), given(5), given(1), given(2)};
  fill_round_keys(table, key);
  if (threadIdx.x == 0) {
    table.sample = key.sample;
    table.call = key.call;
  }
  __syncthreads();
  Words made[3], blocks[2];
  made[0] = philox4x32(given(0), key.sample, key.call, given(3), key.seed_low, key.seed_high);
  philox_blocks(table, given(0), given(3), blocks);
  made[1] = blocks[0];
  philox_blocks(table, given(0) - 1u, given(3), blocks);
  made[2] = blocks[1];
#pragma unroll
  for (int by = 0; by < 3; ++by) {
#pragma unroll
    for (int w = 0; w < 4; ++w) op.words[(threadIdx.x * 3 + static_cast<unsigned>(by)) * 4 + static_cast<unsigned>(w)] = made[by].w[w];
  }
}

}  // namespace

int philox(const PhiloxWords& op, void* stream) {
  FB_LAUNCH(philox_kernel, 1, kPhiloxThreads, stream, op);
  return cudaGetLastError();
}

}  // namespace fastblackout::cuda
