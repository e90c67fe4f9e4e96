// thin on CUDA: a block builds the thresholds of its sample in shared memory, then each thread draws 8 elements at a time
// from two Philox blocks. The rare exact comparison with 48 bits is off the hot path. The grid does not touch the result.
#include "cuda/thin.h"
#include "fastblackout/draw.h"
#include "fastblackout/streams.h"

namespace fastblackout {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 8;                                  // two Philox blocks
constexpr int64_t kElementsPerBlock = 16 * kThreads * kPerThread;   // amortises the thresholds

// Row n = 16 a starts at 8 a (a - 1), row n = b at b (b - 1) / 2.
constexpr int kUpper = 16 * 15 * 16 / 2, kLower = 15 * 16 / 2;

struct Tables {
  uint64_t c_upper[kUpper], c_lower[kLower];
};

__device__ void build_row(uint64_t* row, int n, double start, double odds) {
  double pm = start, cdf = start;
  for (int j = 0; j < n; ++j) {
    row[j] = threshold(cdf);
    pm = pm * (static_cast<double>(n - j) * (odds / static_cast<double>(j + 1)));
    cdf = cdf + pm;
  }
}

__device__ __forceinline__ uint32_t high16(uint64_t c) {
  const uint64_t h = c >> 32;
  return h < 65535u ? static_cast<uint32_t>(h) : 65535u;
}

// #{j < n : min(C >> 32, 65535) < u}; `tie` is set when the next threshold equals u.
__device__ __forceinline__ int search(const uint64_t* row, int n, uint32_t u, bool& tie) {
  int low = 0, high = n;
  while (low < high) {
    const int middle = (low + high) >> 1;
    if (high16(row[middle]) < u) low = middle + 1;
    else high = middle;
  }
  tie = tie || (low < n && high16(row[low]) == u);
  return low;
}

__device__ __noinline__ int exact(const Tables& t, int a, int b, Uniforms u) {
  int k1 = 0, k2 = 0;
  for (const uint64_t* row = t.c_upper + 8 * a * (a - 1); k1 < 16 * a && row[k1] <= u.u1;) ++k1;
  for (const uint64_t* row = t.c_lower + b * (b - 1) / 2; k2 < b && row[k2] <= u.u2;) ++k2;
  return k1 + k2;
}

__global__ void __launch_bounds__(kThreads) thin_kernel(Thin op) {
  __shared__ Tables tables;
  const int64_t sample = blockIdx.y;
  SampleKey key = op.key;
  key.sample += static_cast<uint32_t>(sample);
  const SharedProb prob = shared_prob(op.p[sample], op.q[sample]);
  if (!prob.trivial) {
    const double odds = prob.p / prob.q, step = power16(prob.q);
    const int row = threadIdx.x;
    if (row > 0 && row < 16 && 16 * row <= op.max_count) build_row(tables.c_upper + 8 * row * (row - 1), 16 * row, row_start(step, row), odds);
    if (row > 32 && row < 48) build_row(tables.c_lower + (row - 32) * (row - 33) / 2, row - 32, row_start(prob.q, row - 32), odds);
  }
  __syncthreads();

  const float center = op.center[sample], scale = op.scale[sample];
  const int64_t base = sample * op.elements;
  const int64_t end = (blockIdx.x + 1) * kElementsPerBlock < op.elements ? (blockIdx.x + 1) * kElementsPerBlock : op.elements;
  const bool aligned = op.elements % kPerThread == 0;
  for (int64_t i = blockIdx.x * kElementsPerBlock + threadIdx.x * kPerThread; i < end; i += kThreads * kPerThread) {
    const int count = static_cast<int>(end - i < kPerThread ? end - i : kPerThread);
    alignas(8) uint8_t n[kPerThread] = {}, k[kPerThread];
    if (aligned) *reinterpret_cast<uint2*>(n) = *reinterpret_cast<const uint2*>(op.x_0 + base + i);
    else
      for (int j = 0; j < count; ++j) n[j] = op.x_0[base + i + j];
    const uint32_t block = static_cast<uint32_t>(i >> 2);
    const Words r0 = key.words(block, THIN_DRAW), r1 = key.words(block + 1, THIN_DRAW);
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
      const Words& r = (j & 1) == 0 ? r0 : r1;
      const uint32_t x = j < 4 ? r.w[1] : r.w[0], y = j < 4 ? r.w[3] : r.w[2];
      const Primary u = (j & 2) == 0 ? Primary{x & 0xffffu, y & 0xffffu} : Primary{x >> 16, y >> 16};
      const int count_0 = n[j] < op.max_count ? n[j] : op.max_count;
      const int a = count_0 >> 4, b = count_0 & 15;
      int drawn = 0;
      if (!prob.trivial) {
        bool tie = false;
        drawn = search(tables.c_upper + 8 * a * (a - 1), 16 * a, u.u1, tie) + search(tables.c_lower + b * (b - 1) / 2, b, u.u2, tie);
        if (tie) drawn = exact(tables, a, b, refine(key, static_cast<uint32_t>(i) + j, THIN_REFINE, u));
      }
      k[j] = static_cast<uint8_t>(prob.mirrored ? count_0 - drawn : drawn);
      n[j] = static_cast<uint8_t>(count_0);
    }
    for (int j = 0; op.model_input != nullptr && j < count; ++j)
      op.model_input[base + i + j] = (static_cast<float>(k[j]) - center) * scale;
    if (op.births != nullptr)
      for (int j = 0; j < kPerThread; ++j) n[j] = static_cast<uint8_t>(n[j] - k[j]);
    if (aligned) {
      if (op.x_t != nullptr) *reinterpret_cast<uint2*>(op.x_t + base + i) = *reinterpret_cast<const uint2*>(k);
      if (op.births != nullptr) *reinterpret_cast<uint2*>(op.births + base + i) = *reinterpret_cast<const uint2*>(n);
    } else {
      for (int j = 0; op.x_t != nullptr && j < count; ++j) op.x_t[base + i + j] = k[j];
      for (int j = 0; op.births != nullptr && j < count; ++j) op.births[base + i + j] = n[j];
    }
  }
}

}  // namespace

int thin(const Thin& op, void* stream) {
  if (op.samples == 0 || op.elements == 0) return cudaSuccess;
  const int64_t blocks = (op.elements + kElementsPerBlock - 1) / kElementsPerBlock;
  const auto queue = static_cast<cudaStream_t>(stream);
  // gridDim.y ends at 65,535: larger batches take several launches.
  for (int64_t from = 0; from < op.samples; from += 65535) {
    Thin part = op;
    const int64_t rows = op.samples - from < 65535 ? op.samples - from : 65535, at = from * op.elements;
    part.x_0 += at;
    if (part.x_t != nullptr) part.x_t += at;
    if (part.births != nullptr) part.births += at;
    if (part.model_input != nullptr) part.model_input += at;
    part.p += from;
    part.q += from;
    part.center += from;
    part.scale += from;
    part.key.sample += static_cast<uint32_t>(from);
    thin_kernel<<<dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(rows)), kThreads, 0, queue>>>(part);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

const char* error_text(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

}  // namespace cuda
}  // namespace fastblackout
