// The arithmetic of floats as C has it by default.
#pragma once

#include <cfenv>

namespace fastblackout {

// XLA's threads take subnormal numbers as 0. The kernels' bits are those of the default, which threads of the pool that are begun
// meanwhile inherit, too; when it ends, the thread has its own arithmetic again.
class DefaultFloats {
 public:
  DefaultFloats() {
    std::fegetenv(&kept_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloats() { std::fesetenv(&kept_); }
  DefaultFloats(const DefaultFloats&) = delete;

 private:
  std::fenv_t kept_;
};

}  // namespace fastblackout
