// Memory for numbers of samples that had to be converted, and the rule that all of them follow.
#pragma once

#include <cmath>
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
      several_.resize(static_cast<size_t>(count));
      to = several_.data();
    }
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(number(i));
    return cpu::PerSample<T>{to, count > 1 ? 1 : 0};
  }

 private:
  T one_;
  std::vector<T> several_;
};

// The rooms of one call: an op has at most so many numbers of samples.
class Rooms {
 public:
  Room<double>& next(double) { return doubles_[used_doubles_++]; }
  Room<float>& next(float) { return floats_[used_floats_++]; }

 private:
  Room<double> doubles_[8];
  Room<float> floats_[3];
  int used_doubles_ = 0, used_floats_ = 0;
};

// The first of so many numbers that is not finite, or is below `low`; -1 where none is.
template <class T>
int64_t first_wrong(const cpu::PerSample<T>& number, int64_t count, T low) {
  for (int64_t i = 0; i < count; ++i)
    if (!(std::isfinite(number[i]) && number[i] >= low)) return i;
  return -1;
}

}  // namespace fastblackout
