// float16 and bfloat16 as their bits.
#pragma once

#include "fastblackout/config.h"

namespace fastblackout {

FB_HD float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 0x3ffu;
  if (exponent == 31u) return bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0u) return bit_cast<float>(sign | (exponent + 112u) << 23 | mantissa << 13);
  const float tiny = static_cast<float>(mantissa) * 5.9604644775390625e-08f;  // subnormal: mantissa 2^-24
  return sign ? -tiny : tiny;
}

FB_HD uint16_t float_to_half(float x) {  // nearest, ties to even
  const uint32_t bits = bit_cast<uint32_t>(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {  // subnormal half: adding 0.5 leaves the rounded mantissa in the low bits
    return static_cast<uint16_t>(sign | (bit_cast<uint32_t>(bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | ((magnitude + 0xfffu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13));
}

FB_HD float bfloat_to_float(uint16_t b) { return bit_cast<float>(static_cast<uint32_t>(b) << 16); }

FB_HD uint16_t float_to_bfloat(float x) {  // nearest, ties to even; NaN stays NaN
  const uint32_t bits = bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace fastblackout
