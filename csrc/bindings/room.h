// Memory for numbers of samples that had to be converted.
#pragma once

#include <vector>

#include "cpu/ops.h"

namespace fastblackout {

template <class T>
class Room {
 public:
  // Keeps number(i) for i < count, as T; a single number is for all samples.
  template <class Number>
  cpu::PerSample<T> keep(int64_t count, const Number& number) {
    T* to = &one_;
    if (count > 1) {
      more_.resize(static_cast<size_t>(count));
      to = more_.data();
    }
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(number(i));
    return cpu::PerSample<T>{to, count > 1 ? 1 : 0};
  }

 private:
  T one_;
  std::vector<T> more_;
};

}  // namespace fastblackout
