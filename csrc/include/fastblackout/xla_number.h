// Numbers in an array of XLA's, of any dtype, for the host and for a device.
#pragma once

#include "fastblackout/half.h"

namespace fastblackout::xla {

enum class Type : int {
  pred = 1, s8 = 2, s16 = 3, s32 = 4, s64 = 5, u8 = 6, u16 = 7, u32 = 8, u64 = 9, f16 = 10, f32 = 11, f64 = 12, bf16 = 16
};

FB_HD int bytes_of(Type type) {
  switch (type) {
    case Type::pred: case Type::s8: case Type::u8: return 1;
    case Type::s16: case Type::u16: case Type::f16: case Type::bf16: return 2;
    case Type::s32: case Type::u32: case Type::f32: return 4;
    default: return 8;
  }
}

template <class T>
FB_HD T value_at(const char* data, int64_t i) {
  T value;
  __builtin_memcpy(&value, __builtin_assume_aligned(data + i * static_cast<int64_t>(sizeof(T)), sizeof(T)), sizeof(T));
  return value;
}

FB_HD double number_at(Type type, const char* data, int64_t i) {
  switch (type) {
    case Type::pred: case Type::u8: return value_at<uint8_t>(data, i);
    case Type::s8: return value_at<int8_t>(data, i);
    case Type::s16: return value_at<int16_t>(data, i);
    case Type::u16: return value_at<uint16_t>(data, i);
    case Type::s32: return value_at<int32_t>(data, i);
    case Type::u32: return value_at<uint32_t>(data, i);
    case Type::s64: return static_cast<double>(value_at<int64_t>(data, i));
    case Type::u64: return static_cast<double>(value_at<uint64_t>(data, i));
    case Type::f16: return half_to_float(value_at<uint16_t>(data, i));
    case Type::bf16: return bfloat_to_float(value_at<uint16_t>(data, i));
    case Type::f32: return value_at<float>(data, i);
    default: return value_at<double>(data, i);
  }
}

}  // namespace fastblackout::xla
