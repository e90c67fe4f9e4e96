// How the dimensions of a view after the sample are made: appended from the outermost on, those whose strides allow it become one.
#pragma once

#include <stdint.h>

#include <type_traits>

namespace fastblackout {

template <class View>
class Merge {
 public:
  static constexpr int kMost = std::extent<decltype(View::strides)>::value;

  // view: has one dimension of size 1
  explicit Merge(View& view) : view_(view) {}

  // False where the view has no room for another dimension.
  bool append(int64_t size, int64_t stride) {
    if (size == 1) return true;
    if (used_ > 0 && view_.strides[used_ - 1] == stride * size) {
      view_.sizes[used_ - 1] *= static_cast<Size>(size);
      view_.strides[used_ - 1] = stride;
      return true;
    }
    if (used_ == kMost) return false;
    view_.sizes[used_] = static_cast<Size>(size);
    view_.strides[used_++] = stride;
    view_.dims = used_;
    return true;
  }

 private:
  using Size = std::remove_extent_t<decltype(View::sizes)>;

  View& view_;
  int used_ = 0;
};

}  // namespace fastblackout
