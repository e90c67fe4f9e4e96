// The tables that the CUDA kernels keep, few of them, for the test of how they are kept (tests/backends/test_cuda_tables.py).
#include "simt/kept.h"

#define FB_KEPT_TABLES 4
#include "cuda/table.cuh"

namespace fastblackout::simt_test {
namespace {

using namespace cuda;

constexpr int64_t kWords = 4 * kTableWords;

__global__ void build_kernel(const double* p, const double* q, const int64_t* max_count, uint32_t* words, uint8_t* actions) {
  __shared__ DrawTable table;
  __shared__ Queue queue;
  static const int64_t key[3] = {};
  build_table(table, queue, PQ{p[blockIdx.x], q[blockIdx.x]}, key, 0, static_cast<int>(max_count[blockIdx.x]));
  for (int64_t at = threadIdx.x; at < kWords; at += kThreads) words[blockIdx.x * kWords + at] = table.words()[at / 4].v[at % 4];
  if (threadIdx.x == 0) actions[blockIdx.x] = table.kept.action;
}

}  // namespace

int64_t table_words() { return kWords; }

void forget_tables() { std::memset(static_cast<void*>(&kept()), 0, sizeof(Kept)); }

void build_tables(const double* p, const double* q, const int64_t* max_count, int64_t size, uint32_t* words, uint8_t* actions) {
  FB_LAUNCH(build_kernel, static_cast<unsigned>(size), kThreads, nullptr, p, q, max_count, words, actions);
}

}  // namespace fastblackout::simt_test
