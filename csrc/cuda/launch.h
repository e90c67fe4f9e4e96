// The two ways a kernel is compiled: by nvcc for GPUs, or by a C++ compiler over csrc/simt (-DFASTBLACKOUT_SIMT), which
// runs the same source on the CPU. Kernels use a one-dimensional grid and these names in place of CUDA's own spelling.
#pragma once

#include <stdint.h>

#if defined(FASTBLACKOUT_SIMT)

#include "simt/cuda.h"

#else

#define FB_KERNEL(threads, blocks_per_sm) __global__ void __launch_bounds__(threads, blocks_per_sm)
#define FB_PARAM(Type) const __grid_constant__ Type  // stays in the constant bank, whatever takes its address
#define FB_DEVICE __device__ __forceinline__
#define FB_COLD __device__ __noinline__  // rare: its registers are not those of the hot loop
#define FB_LAUNCH(kernel, blocks, threads, stream, ...) \
  kernel<<<dim3(blocks), dim3(threads), 0, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)

namespace fastblackout {
namespace cuda {

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

// mul.wide.u32 as one instruction: the C++ product by a 64-bit constant adds a zero to its high half, 4 times a pixel.
FB_DEVICE uint64_t wide_product(uint32_t a, uint32_t b) {
  uint64_t product;
  asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(a), "r"(b));
  return product;
}

// if (threshold < u) place += step, as a compare and a predicated add (from C++ comes an add and a predicated move)
FB_DEVICE void step_if_below(uint32_t& place, uint32_t step, uint32_t threshold, uint32_t u) {
  asm("{ .reg .pred below; setp.lt.u32 below, %1, %2; @below add.u32 %0, %0, %3; }"
      : "+r"(place)
      : "r"(threshold), "r"(u), "r"(step));
}

// if (leaf_1 <= edge_1 || leaf_2 <= edge_2) bits += bit
FB_DEVICE void mark_if_reached(uint32_t& bits, uint32_t bit, uint32_t leaf_1, uint32_t edge_1, uint32_t leaf_2, uint32_t edge_2) {
  asm("{ .reg .pred one, any; setp.le.u32 one, %1, %2; setp.le.or.u32 any, %3, %4, one; @any add.u32 %0, %0, %5; }"
      : "+r"(bits)
      : "r"(leaf_1), "r"(edge_1), "r"(leaf_2), "r"(edge_2), "r"(bit));
}

// Shared memory by its 32-bit address, so that a pointer walking a table is added to once a step. A table's address is a
// multiple of 256, and its low byte is free.
FB_DEVICE uint32_t shared_address(const void* table) { return static_cast<uint32_t>(__cvta_generic_to_shared(table)); }

FB_DEVICE uint32_t load_shared_u16(const void*, uint32_t place, int offset) {
  uint16_t x;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(x) : "r"(place + offset));
  return x;
}

FB_DEVICE uint32_t load_shared_u32(const void*, uint32_t place, int offset) {
  uint32_t x;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(place + offset));
  return x;
}

// A constant kept in a register, where the compiler would move it there for every use.
FB_DEVICE uint32_t in_register(uint32_t constant) {
  asm("" : "+r"(constant));
  return constant;
}

}  // namespace cuda
}  // namespace fastblackout

#endif
