// Threads of the CPU kernels: one pool for the process, made again after a fork.
#pragma once

#include <cstdint>

namespace fastblackout {
namespace cpu {

// Runs body(context, begin, end) over [0, items) in up to `threads` contiguous parts, one of them on the calling thread.
// `body` must not throw.
void parallel_for(int64_t items, int threads, void (*body)(void* context, int64_t begin, int64_t end), void* context);

}  // namespace cpu
}  // namespace fastblackout
