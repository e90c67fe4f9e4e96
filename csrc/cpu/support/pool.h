// Threads of the CPU kernels: one pool for the process, made again after a fork.
#pragma once

#include <cstdint>

namespace fastblackout::cpu {

// Runs body(context, begin, end) over [0, items) in contiguous parts on up to `threads` threads, of which the calling one is
// one; on fewer where the system gives no more. If parts throw, the first exception is thrown again here, once no thread is
// in a part any more; parts that have not begun by then are left out.
void parallel_for(int64_t items, int threads, void (*body)(void* context, int64_t begin, int64_t end), void* context);

}  // namespace fastblackout::cpu
