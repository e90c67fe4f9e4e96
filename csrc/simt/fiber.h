// A stack that runs until it hands control back. On x86-64 the switch saves the six registers a call must keep; elsewhere
// ucontext does it, eleven times slower.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
extern "C" void fastblackout_simt_switch(void** save, void* load);
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace simt {

struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t ucontext;
#endif
#if defined(__SANITIZE_THREAD__)
  void* fiber = nullptr;
#endif
};

inline void switch_to(Context& from, Context& to) {
#if defined(__SANITIZE_THREAD__)
  from.fiber = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to.fiber, __tsan_switch_to_fiber_no_sync);  // only barriers order a block's threads
#endif
#if defined(__x86_64__)
  fastblackout_simt_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.ucontext, &to.ucontext);
#endif
}

// `entry` must never return.
inline void prepare(Context& context, char* stack, size_t size, void (*entry)()) {
#if defined(__SANITIZE_THREAD__)
  if (context.fiber == nullptr) context.fiber = __tsan_create_fiber(0);
#endif
#if defined(__x86_64__)
  uintptr_t top = (reinterpret_cast<uintptr_t>(stack) + size) & ~static_cast<uintptr_t>(15);
  void** slots = reinterpret_cast<void**>(top) - 8;  // six registers, the entry, and a return address for its frame
  for (int s = 0; s < 8; ++s) slots[s] = nullptr;
  slots[6] = reinterpret_cast<void*>(entry);
  context.stack_pointer = slots;
#else
  getcontext(&context.ucontext);
  context.ucontext.uc_stack.ss_sp = stack;
  context.ucontext.uc_stack.ss_size = size;
  context.ucontext.uc_link = nullptr;
  makecontext(&context.ucontext, entry, 0);
#endif
}

}  // namespace simt
