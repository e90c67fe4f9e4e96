// Fibers: a fiber has its own stack, and runs until it hands control to another. On x86-64 a switch saves the six registers
// that a call must keep; elsewhere ucontext does it, eleven times slower.
//
// With FASTBLACKOUT_TSAN, which only simt.cpp is compiled with, ThreadSanitizer treats fibers like threads. A switch orders
// nothing for it, so that only those accesses of a kernel are ordered that a barrier separates, as on a GPU.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
extern "C" void fastblackout_simt_switch(void** save, void* load);
#else
#include <ucontext.h>
#endif

#if defined(FASTBLACKOUT_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace simt {

struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t ucontext;
#endif
#if defined(FASTBLACKOUT_TSAN)
  void* fiber = nullptr;
#endif
};

// For ThreadSanitizer: all that came before any publish(at) comes before what follows a later observe(at).
#if defined(FASTBLACKOUT_TSAN)
inline void publish(void* at) { __tsan_release(at); }
inline void observe(void* at) { __tsan_acquire(at); }
inline void adopt(Context& thread) { thread.fiber = __tsan_get_current_fiber(); }
inline void forget(Context& context) {
  if (context.fiber != nullptr) __tsan_destroy_fiber(context.fiber);
}
#else
inline void publish(void*) {}
inline void observe(void*) {}
inline void adopt(Context&) {}
inline void forget(Context&) {}
#endif

inline void switch_to(Context& from, Context& to) {
#if defined(FASTBLACKOUT_TSAN)
  __tsan_switch_to_fiber(to.fiber, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
  fastblackout_simt_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.ucontext, &to.ucontext);
#endif
}

// Makes a context that runs entry() on the given stack; entry must never return.
inline void prepare(Context& context, char* stack, size_t size, void (*entry)()) {
#if defined(FASTBLACKOUT_TSAN)
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
