// What host and device code share: the function qualifier and bit casts.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define FB_HD __host__ __device__ __forceinline__
#else
#define FB_HD inline __attribute__((always_inline))
#endif

// After this the compiler reads memory again instead of keeping values: a GPU thread that runs a sampler has few registers.
#if defined(__CUDA_ARCH__)
#define FB_FORGET() asm volatile("" ::: "memory")
#else
#define FB_FORGET() static_cast<void>(0)
#endif

namespace fastblackout {

template <class To, class From>
FB_HD To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast needs equal sizes");
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

}  // namespace fastblackout
