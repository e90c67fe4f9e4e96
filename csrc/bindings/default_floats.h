// The arithmetic of floats as C has it by default.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

namespace fastblackout {

// XLA's threads take subnormal numbers as 0, and so does a thread after torch.set_flush_denormal(True). The kernels' bits belong
// to the default. Threads of the pool that are begun meanwhile inherit it, too. When it ends, the thread has its own arithmetic again.
class DefaultFloats {
 public:
#if defined(__x86_64__)
  DefaultFloats() {
    if (changes()) set(kDefault);
  }
  ~DefaultFloats() {
    if (changes()) set(kept_);
  }

 private:
  // How to round, which errors stop a program, and what becomes of subnormal numbers; the lowest six bits note what has happened.
  static constexpr unsigned kDefault = 0x1f80, kNotes = 0x3f;
  const unsigned kept_ = _mm_getcsr();

  bool changes() const { return (kept_ & ~kNotes) != kDefault; }
  // The clobbered memory keeps the compiler from moving loads and stores, and so what they compute, across the change.
  static void set(unsigned control) { __asm__ volatile("ldmxcsr %0" : : "m"(control) : "memory"); }
#else
  DefaultFloats() {
    std::fegetenv(&kept_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloats() { std::fesetenv(&kept_); }

 private:
  std::fenv_t kept_;
#endif
  DefaultFloats(const DefaultFloats&) = delete;
};

}  // namespace fastblackout
