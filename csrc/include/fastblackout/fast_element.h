// The per-element draws of binomial.h and poisson.h for a thread of a GPU, decided in float32 where that gives the same integers
// (fast_parts.h). GPUs made for graphics do one float64 operation in the time of 64 float32 ones; here there is none.
//
// fast_poisson and fast_binomial set k and return true, or return false for about one element in a thousand, which the caller then
// draws by poisson_element or binomial_element.
#pragma once

#include "fastblackout/poisson.h"

namespace fastblackout {
namespace fast {

FB_HD float all(float x) { return x; }
FB_HD float select(bool mask, float x, float y) { return mask ? x : y; }
FB_HD float absolute(float x) { return from_bits(bits_of(x) & INT32_MAX); }
FB_HD float to_floats(int32_t x) { return static_cast<float>(x); }

#if defined(__CUDA_ARCH__)

// One instruction each, or two; their errors, of the PTX manual: 1 / x one unit in the last place, sqrt(x) 2^-23 and 2^x 2^-22
// of themselves.
FB_HD float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
FB_HD float floor_of(float x) { return floorf(x); }
FB_HD float rough_inverse(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
FB_HD float sqrt_of(float x) {
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
FB_HD float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

#else

// On a host, where tests run this, the functions err on purpose by as much as a GPU's instructions may.
FB_HD float off_by(float x, float error) { return x * (1.0f + ((bits_of(x) & 8) != 0 ? error : -error)); }
FB_HD float fma(float a, float b, float c) { return a * b + c; }
FB_HD float floor_of(float x) { return __builtin_floorf(x); }
FB_HD float rough_inverse(float x) { return off_by(1.0f / x, 0x1p-23f); }
FB_HD float sqrt_of(float x) { return off_by(__builtin_sqrtf(x), 0x1p-23f); }
FB_HD float fast_exp2(float x) { return off_by(__builtin_exp2f(x), 0x1p-22f); }

#endif

FB_HD float quotient(float x, float y) { return x * rough_inverse(y); }

constexpr float kRatioSlack = 0x1p-13f;

#define FB_FLOAT float
#define FB_INT int32_t
#define FB_MASK bool
#include "fastblackout/fast_parts.h"
#undef FB_FLOAT
#undef FB_INT
#undef FB_MASK

// A mean as a multiple of 2^-32, rounded down, made without float64 operations.
typedef uint64_t FixedMean;
constexpr FixedMean kTen = FixedMean{10} << 32;

FB_HD float whole_of(FixedMean mean) { return static_cast<float>(static_cast<uint32_t>(mean >> 32)); }
FB_HD float part_of(FixedMean mean) { return static_cast<float>(static_cast<uint32_t>(mean)) * 0x1p-32f; }

FB_HD FixedMean fixed_mean(double mean) {  // in [10, kFastVariance)
  const uint64_t bits = bit_cast<uint64_t>(mean);
  const uint32_t shift = 1023u + 31u - static_cast<uint32_t>(bits >> 52);
  return (bits << 11 | uint64_t{1} << 63) >> shift;
}

// n p, p in [0, 1/2]. The significand of p, with its top bit set, is p 2^(63 + halvings).
FB_HD FixedMean fixed_mean(uint32_t n, double p) {
  const uint64_t bits = bit_cast<uint64_t>(p), significand = bits << 11 | uint64_t{1} << 63;
  const uint32_t halvings = 1022u - static_cast<uint32_t>(bits >> 52);
  const uint64_t product = n * (significand >> 32) + (n * (significand & 0xffffffffu) >> 32);
  return halvings < 64u ? product >> halvings : 0;
}

// x rounded to float32, but 0 where it is below 2^-126; 0 <= x < 2^127
FB_HD float rounded(double x) {
  const uint64_t bits = bit_cast<uint64_t>(x) + (uint64_t{1} << 28);
  return bits < uint64_t{897} << 52 ? 0.0f : from_bits(static_cast<int32_t>((bits - (uint64_t{896} << 52)) >> 29));
}

// x < bound, for a positive bound; false for negative numbers, -0 and NaN too, which are then drawn exactly.
FB_HD bool is_below(double x, double bound) { return bit_cast<uint64_t>(x) < bit_cast<uint64_t>(bound); }

// u, the high word of the uniform, by the sums of the law. n: the count of the binomial law (Finite).
template <bool Finite>
FB_HD bool fast_inversion(const FastSums& sums, float n, uint32_t word, float& k) {
  const float u = static_cast<float>(word >> 1) * 0x1p-31f;
  float mass = fast_exp2(sums.exponent), cdf = mass;
  k = 0.0f;
#pragma unroll 4
  for (int step = 0; step < kFastSteps; ++step) {
    const float above = u - cdf;
    if (absolute(above) <= kSumSlack) return false;
    if (above < 0.0f) return true;
    const float next = k + 1.0f, ratio = sums.factor * rough_inverse(next);
    mass = mass * (Finite ? (n - k) * ratio : ratio);
    cdf = cdf + mass;
    k = next;
  }
  return false;
}

// Trials until one is not rejected. trial: the words u and v to a FastDraw
template <class Trial, class Key>
FB_HD bool fast_rejection(const Trial& trial, const Key& key, uint32_t i, uint32_t stream, float& k) {
  for (uint32_t r = 0; r < kFastTrials; ++r) {
    const Words words = key.words(i, stream, r);
    const FastDraw draw = trial(static_cast<int32_t>(words.w[0]), static_cast<int32_t>(words.w[2]));
    k = draw.k;
    if (!draw.rejected) return draw.accepted;
  }
  return false;
}

struct PoissonTrial {
  float whole, part;
  FB_HD FastDraw operator()(int32_t u, int32_t v) const { return fast_poisson_trial(whole, part, u, v); }
};

struct BinomialTrial {
  float whole, part, n, p;
  FB_HD FastDraw operator()(int32_t u, int32_t v) const { return fast_binomial_trial(whole, part, n, p, u, v); }
};

}  // namespace fast

// As poisson_element, where float32 tells.
template <class Key>
FB_HD bool fast_poisson(double rate, const Key& key, uint32_t i, uint32_t stream, int64_t& k) {
  float drawn;
  bool told = false;
  if (fast::is_below(rate, 10.0)) {
    told = fast::fast_inversion<false>(fast::fast_poisson_sums(fast::rounded(rate)), 0.0f, key.words(i, stream).w[0], drawn);
  } else if (fast::is_below(rate, fast::kFastVariance)) {
    const fast::FixedMean mean = fast::fixed_mean(rate);
    told = fast::fast_rejection(fast::PoissonTrial{fast::whole_of(mean), fast::part_of(mean)}, key, i, stream, drawn);
  }
  if (told) k = static_cast<int64_t>(static_cast<uint32_t>(drawn));
  return told;
}

// As binomial_element, where float32 tells; p is at most 1/2.
template <class Key>
FB_HD bool fast_binomial(int64_t count, double p, const Key& key, uint32_t i, uint32_t stream, int64_t& k) {
  if (count >> 32 != 0 || !fast::is_below(p, 0.5 + 0x1p-53)) return false;
  const fast::FixedMean mean = fast::fixed_mean(static_cast<uint32_t>(count), p);
  const float n = static_cast<float>(static_cast<uint32_t>(count)), small = fast::rounded(p);
  float drawn;
  bool told = false;
  // Rounded to float64, n p is below 10 in the first case and at least 10 in the second. Between them it may be either.
  if (mean < fast::kTen - 4) {
    told = fast::fast_inversion<true>(fast::fast_binomial_sums(n, small), n, key.words(i, stream).w[0], drawn);
  } else if (mean >= fast::kTen) {
    const fast::BinomialTrial trial{fast::whole_of(mean), fast::part_of(mean), n, small};
    told = (trial.whole + trial.part) * (1.0f - small) < fast::kFastVariance && fast::fast_rejection(trial, key, i, stream, drawn);
  }
  if (told) k = static_cast<int64_t>(static_cast<uint32_t>(drawn));
  return told;
}

}  // namespace fastblackout
