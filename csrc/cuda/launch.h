// The two ways a kernel is compiled: by nvcc for GPUs, or by a C++ compiler over csrc/simt (-DFASTBLACKOUT_SIMT), which
// runs the same source on the CPU. Kernels use a one-dimensional grid and these names in place of CUDA's own spelling.
#pragma once

#include <stdint.h>

#if defined(FASTBLACKOUT_SIMT)

#include "simt/cuda.h"

#else

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "cuda/ops.h"

#define FB_KERNEL(threads, blocks_per_sm) __global__ void __launch_bounds__(threads, blocks_per_sm)
#define FB_PARAM(Type) const __grid_constant__ Type  // stays in the constant bank, whatever takes its address
#define FB_DEVICE __device__ __forceinline__
#define FB_COLD __device__ __noinline__  // for rare cases: a call keeps their registers apart from the hot loop's
#define FB_LAUNCH(kernel, blocks, threads, stream, ...) FB_LAUNCH_SHARED(kernel, 0, blocks, threads, stream, __VA_ARGS__)
// A launch that gives the size of shared memory
#define FB_LAUNCH_SHARED(kernel, bytes, blocks, threads, stream, ...)                                 \
  do {                                                                                                \
    if ((bytes) > 0) ask_for_shared(reinterpret_cast<const void*>(kernel), (bytes));                  \
    kernel<<<dim3(blocks), dim3(threads), (bytes), static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__); \
  } while (false)
#define FB_SHARED_GIVEN(Type)                              \
  extern __shared__ __align__(256) unsigned char given[]; \
  return *reinterpret_cast<Type*>(given)

namespace fastblackout::cuda {

// Asks the device for what a block's shared memory has above 48 KiB, of which the kernel's static bytes are a part: once for a
// device and a kernel unless it needs more. Throws Refused where the device has no such room. Any other error shows at the launch.
inline void ask_for_shared(const void* kernel, int bytes) {
  struct Room {
    int fixed, most;  // static bytes, and those that a launch may have in all
  };
  static std::mutex lock;
  static std::map<std::pair<int, const void*>, Room> rooms;
  int device = 0;
  cudaGetDevice(&device);
  const std::lock_guard<std::mutex> held(lock);
  Room& room = rooms[{device, kernel}];
  if (room.most == 0) {
    cudaFuncAttributes attributes;
    if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) return;
    room = Room{static_cast<int>(attributes.sharedSizeBytes), 48 * 1024};
  }
  const int all = room.fixed + bytes;
  if (all <= room.most) return;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) != cudaSuccess) {
    cudaGetLastError();  // else a later launch would report it
    int most = 0;
    cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    throw Refused("a block needs " + std::to_string(all) + " bytes of shared memory, this device has " + std::to_string(most));
  }
  room.most = all;
}

FB_DEVICE uint16_t half_bits(float x) {
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

FB_DEVICE float half_value(uint16_t bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}

// a * b by the one instruction mul.wide.u32: nvcc makes another of the C++ product, which adds a zero to its high half.
FB_DEVICE uint64_t wide_product(uint32_t a, uint32_t b) {
  uint64_t product;
  asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(a), "r"(b));
  return product;
}

// if (a < limit || b < limit) bits += bit, by two compares and a predicated addition
FB_DEVICE void mark_if_below(uint32_t& bits, uint32_t bit, uint32_t limit, uint32_t a, uint32_t b) {
  asm("{ .reg .pred one, any; setp.lt.u32 one, %1, %3; setp.lt.or.u32 any, %2, %3, one; @any add.u32 %0, %0, %4; }"
      : "+r"(bits)
      : "r"(a), "r"(b), "r"(limit), "r"(bit));
}

// What a thread writes before a release is there for what another block's thread reads after an acquire that has seen it.
FB_DEVICE uint32_t load_acquire(const uint32_t* at) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(value) : "l"(at) : "memory");
  return value;
}

FB_DEVICE void store_release(uint32_t* at, uint32_t value) {
  asm volatile("st.release.gpu.u32 [%0], %1;" : : "l"(at), "r"(value) : "memory");
}

// Copies 16 bytes to shared memory past the registers; they are there for the thread when it has waited.
FB_DEVICE void copy_async(void* shared, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
               : : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(shared))), "l"(__cvta_generic_to_global(from)) : "memory");
}

FB_DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" : : : "memory"); }

// mark = true, where several threads may do so at once: a plain store would be a race.
FB_DEVICE void set_together(bool& mark) { asm volatile("st.relaxed.cta.u8 [%0], %1;" : : "l"(&mark), "r"(1) : "memory"); }

}  // namespace fastblackout::cuda

#endif
