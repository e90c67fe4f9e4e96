// The SIMT shim: CUDA's names for a C++ compiler, so that tests can run the kernels of csrc/cuda on the CPU. A CUDA thread is a
// fiber (fiber.h), a block runs on one OS thread, and shared memory is a thread_local. Covered: one-dimensional grids and
// blocks, __syncthreads, __syncwarp, shuffles, votes, atomics, fences. Not covered: weak memory order, asynchronous copies,
// cooperative groups.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "simt/machine.h"
#include "simt/replaced.h"

namespace simt {

struct Index {
  unsigned x;
};

// Runs body(context) in every thread of every block; a block has `shared` bytes of given_memory. Throws std::runtime_error
// where a kernel does something wrong.
void launch(size_t shared, unsigned blocks, unsigned threads, void (*body)(void*), void* context);

// Sets in which order blocks and threads run, "forward", "reverse" or "random" (by seed), how many OS threads run blocks, and which
// blocks of a launch run, `blocks` of them from `first_block` on: of a launch too large for the CPU, a few.
void configure(const std::string& schedule, uint64_t seed, int os_threads, unsigned first_block, unsigned blocks);

// Waits until all threads of the block, or the lanes of the mask, have come to the same place. Returns the operation's result:
// the lanes' votes for a ballot, the value of `lane` for a shuffle.
uint64_t meet(Op op, unsigned mask, uint64_t value, int lane, Place place);

// What comes before a fence in one thread is ordered before what follows a later fence in another.
void fence();

extern thread_local Index thread_index, block_index, block_size, grid_size;
extern thread_local void* given_memory;  // the block's shared memory, of the size that the launch gave
extern thread_local char* stacks;  // of the block's threads
extern thread_local size_t stacks_bytes;

[[noreturn]] void fault(const char* text);

inline unsigned launches = 0;  // of kernels, since the program began
inline thread_local unsigned last_launch[2];  // blocks, and threads of each
inline thread_local std::vector<const void*> streams;  // that this thread's last launches were given, up to 64

template <class... Params, class... Args>
void start(const void* stream, size_t shared, void (*kernel)(Params...), unsigned blocks, unsigned threads, const Args&... args) {
  __atomic_fetch_add(&launches, 1u, __ATOMIC_RELAXED);
  last_launch[0] = blocks;
  last_launch[1] = threads;
  if (streams.size() == 64) streams.clear();
  streams.push_back(stream);
  if (Replaced* const other = replaced(reinterpret_cast<const void*>(kernel))) {
    std::tuple<Params...> given(args...);  // of the types of the parameters, as a launch copies them
    std::apply([&](const Params&... each) {
      const unsigned char* const parameters[] = {reinterpret_cast<const unsigned char*>(&each)...};
      launch_replaced(*other, shared, blocks, threads, parameters, {sizeof(each)...});
    }, given);
    return;
  }
  auto run = [&] { kernel(args...); };
  launch(shared, blocks, threads, [](void* context) { (*static_cast<decltype(run)*>(context))(); }, &run);
}

template <class T>
T shuffle(unsigned mask, T value, int lane, Place place) {
  static_assert(sizeof(T) <= 8, "at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = meet(Op::shuffle, mask, bits, lane, place);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

inline int lane_id() { return static_cast<int>(thread_index.x % 32); }

}  // namespace simt

#define FB_KERNEL(threads, blocks_per_sm) static void
#define FB_PARAM(Type) const Type
#define FB_DEVICE inline
#define FB_COLD [[maybe_unused]] static __attribute__((noinline))
#define FB_LAUNCH(kernel, blocks, threads, stream, ...) FB_LAUNCH_SHARED(kernel, 0, blocks, threads, stream, __VA_ARGS__)
#define FB_LAUNCH_SHARED(kernel, bytes, blocks, threads, stream, ...) \
  simt::start((stream), (bytes), (kernel), (blocks), static_cast<unsigned>(threads), __VA_ARGS__)
#define FB_SHARED_GIVEN(Type) return *static_cast<Type*>(simt::given_memory)

#define __global__ static
#define __device__
#define __shared__ static thread_local

#define threadIdx simt::thread_index
#define blockIdx simt::block_index
#define blockDim simt::block_size
#define gridDim simt::grid_size

#define FB_PLACE(name) (simt::Place{name, __FILE__, __LINE__})
#define __syncthreads() simt::meet(simt::Op::syncthreads, 0, 0, 0, FB_PLACE("__syncthreads"))
#define __syncwarp(...) simt::meet(simt::Op::syncwarp, simt::mask_of(__VA_ARGS__), 0, 0, FB_PLACE("__syncwarp"))
#define __ballot_sync(mask, is) \
  static_cast<unsigned>(simt::meet(simt::Op::ballot, (mask), (is) ? 1 : 0, 0, FB_PLACE("__ballot_sync")))
#define __threadfence() simt::fence()
#define __any_sync(mask, is) (simt::meet(simt::Op::ballot, (mask), (is) ? 1 : 0, 0, FB_PLACE("__any_sync")) != 0)
#define __shfl_sync(mask, value, lane) simt::shuffle((mask), (value), (lane) & 31, FB_PLACE("__shfl_sync"))
#define __shfl_xor_sync(mask, value, bits) \
  simt::shuffle((mask), (value), simt::lane_id() ^ (bits), FB_PLACE("__shfl_xor_sync"))
#define __shfl_down_sync(mask, value, by) \
  simt::shuffle((mask), (value), simt::lane_id() + (by), FB_PLACE("__shfl_down_sync"))

namespace simt {

inline unsigned mask_of(unsigned mask = 0xffffffffu) { return mask; }

}  // namespace simt

template <class T>
T atomicAdd(T* at, T by) {
  return __atomic_fetch_add(at, by, __ATOMIC_RELAXED);
}
inline int atomicOr(int* at, int bits) { return __atomic_fetch_or(at, bits, __ATOMIC_RELAXED); }
inline unsigned atomicInc(unsigned* at, unsigned most) {
  unsigned seen = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(at, &seen, seen >= most ? 0 : seen + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return seen;
}

inline unsigned atomicCAS(unsigned* at, unsigned seen, unsigned value) {
  __atomic_compare_exchange_n(at, &seen, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return seen;
}

inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline uint32_t __brev(uint32_t x) {
  uint32_t y = 0;
  for (int bit = 0; bit < 32; ++bit) y |= (x >> bit & 1u) << (31 - bit);
  return y;
}
inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t selector) {
  const uint64_t bytes = static_cast<uint64_t>(y) << 32 | x;
  uint32_t out = 0;
  for (int b = 0; b < 4; ++b) out |= static_cast<uint32_t>(bytes >> 8 * (selector >> 4 * b & 7u) & 255u) << 8 * b;
  return out;
}
[[noreturn]] inline void __trap() { simt::fault("__trap"); }

using cudaError_t = int;
inline cudaError_t cudaGetLastError() { return 0; }
inline thread_local int simt_device = 0;
inline cudaError_t cudaGetDevice(int* device) {
  *device = simt_device;
  return 0;
}
inline cudaError_t cudaSetDevice(int device) {
  simt_device = device;
  return 0;
}
using cudaStream_t = void*;
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive };
constexpr cudaError_t cudaSuccess = 0;
inline const char simt_no_stream = 0;
inline const void* simt_captured = &simt_no_stream;  // the stream of which cudaStreamIsCapturing says yes
inline cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream == simt_captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }

namespace fastblackout::cuda {

// x86-64 and arm64 compilers convert _Float16 as IEEE 754 says: nearest, ties to even.
inline uint16_t half_bits(float x) {
  const _Float16 half = static_cast<_Float16>(x);
  uint16_t bits;
  std::memcpy(&bits, &half, sizeof(bits));
  return bits;
}

inline float half_value(uint16_t bits) {
  _Float16 half;
  std::memcpy(&half, &bits, sizeof(half));
  return static_cast<float>(half);
}

inline uint64_t wide_product(uint32_t a, uint32_t b) { return static_cast<uint64_t>(a) * b; }

inline void copy_async(void* shared, const void* from) { std::memcpy(shared, from, 16); }
inline void wait_for_copies() {}

inline uint32_t load_acquire(const uint32_t* at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
inline void store_release(uint32_t* at, uint32_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }

inline void set_together(bool& mark) { __atomic_store_n(&mark, true, __ATOMIC_RELAXED); }

inline void mark_if_below(uint32_t& bits, uint32_t bit, uint32_t limit, uint32_t a, uint32_t b) {
  if (a < limit || b < limit) bits += bit;
}

}  // namespace fastblackout::cuda
