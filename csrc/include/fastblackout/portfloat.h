// Portable floats: functions with the same bits on every backend, because only + - * / sqrt, integer bit operations and
// selects are used, in a written order (build without contraction: -ffp-contract=off, nvcc -fmad=false). The twin in NumPy
// is fastblackout/reference/portfloat.py. Polynomials are Chebyshev fits of the functions named beside them.
// Largest error measured, in units in the last place of the true value. float32, against float64 and over every float
// with 0.001 <= |x| <= 100 (a part of those beyond): softplus 2.8 (x >= -86.98), softplus / sigmoid 3.6 (2.5 for x <= 0),
// sigmoid, computed as softplus divided by that quotient, 3.3, log_softplus 1.3 for x <= -1, 3.6 for x > 1, and between those
// 2.1 units in the last place of 1 (2.5e-7), because it crosses zero there. float64, 4 million values a range, against 64-bit
// mantissas: portable_log 0.9, portable_log1p 0.9, portable_exp 1.0, log_one_plus 2.0. Against 40 digits, for x <= 1e7, with
// u = 2^-53 (measured: 51, 4 and 12 instead of 64, 5 and 16): log_gamma within 64 u (1 + x |log x| + |log Gamma(x)|), the log
// of a rising factorial, but for its first factor, within 5 u n (1 + log(x + n + 9)), rising_slope within 16 u of itself.
#pragma once

#include "fastblackout/config.h"

namespace fastblackout {

// ---- float32: everything starts from e = exp(-|x|), 0 beyond 86.99 so that no subnormal appears ---------------------
//
// Kernels that work on many elements run a function in parts (float_parts.h), each over all elements before the next begins: a
// part is a short chain of dependent steps, and a processor overlaps the chains of several elements.

// Coefficients of polynomials, the highest power first: FB_EXP_SERIES is (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2,
// FB_LOG1P_SERIES is log(1 + e) / e on [0, 1], FB_LOG_SERIES is (log(1 + f) - f + f^2 / 2) / f^3 for 1 + f in [3/4, 3/2).
#define FB_EXP_SERIES 1.39261840e-3f, 8.36317893e-3f, 4.16665561e-2f, 1.66665763e-1f, 0.5f
#define FB_LOG1P_SERIES                                                                                            \
  5.36542246e-3f, -3.00683007e-2f, 7.92088285e-2f, -1.37541875e-1f, 1.91538483e-1f, -2.48572171e-1f, 3.33213300e-1f, \
      -4.99996483e-1f, 1.0f
#define FB_LOG_SERIES \
  5.35769612e-2f, -1.19691581e-1f, 1.49208874e-1f, -1.68127716e-1f, 1.99827999e-1f, -2.49953866e-1f, 3.33334506e-1f

// And in float64: (exp(r) - 1 - r) / r^2, and (2 atanh(s) / s - 2) / s^2 in s^2.
#define FB_EXP_SERIES_64                                                                                                             \
  1.608662795678037e-10, 2.0918137737642736e-09, 2.505207109429355e-08, 2.75572632790885e-07, 2.755731924721873e-06,                  \
      2.4801587336442236e-05, 0.00019841269841263298, 0.0013888888888879073, 0.008333333333333333, 0.04166666666666668,               \
      0.16666666666666666, 0.5
#define FB_LOG_SERIES_64                                                                                                              \
  0.13086767009948175, 0.13268759668560612, 0.15386240205813478, 0.18181795630884753, 0.2222222239180047, 0.2857142857080323,         \
      0.4000000000000088, 0.6666666666666666

template <class Float, class... Number>
FB_HD Float polynomial(Float x, Float poly, Number... rest) {
  ((poly = poly * x + rest), ...);
  return poly;
}

// The same coefficients in memory, for loops over many elements.
#define FB_SERIES(NAME, Float, ...)                              \
  struct NAME {                                                  \
    static constexpr Float numbers[] = {__VA_ARGS__};            \
    static constexpr int size = sizeof(numbers) / sizeof(Float); \
  };
FB_SERIES(ExpSeries, float, FB_EXP_SERIES)
FB_SERIES(Log1pSeries, float, FB_LOG1P_SERIES)
FB_SERIES(LogSeries, float, FB_LOG_SERIES)
FB_SERIES(ExpSeries64, double, FB_EXP_SERIES_64)
FB_SERIES(LogSeries64, double, FB_LOG_SERIES_64)
#undef FB_SERIES

constexpr int32_t kLogBits = 0x3f400000;  // the bits of the float 3/4

FB_HD int32_t bits_of(float x) { return bit_cast<int32_t>(x); }
FB_HD float from_bits(int32_t bits) { return bit_cast<float>(bits); }

FB_HD float not_positive(float x) { return x > 0.0f ? 0.0f : x; }
FB_HD float not_negative(float x) { return x < 0.0f ? 0.0f : x; }

// to_whole rounds x to a whole number n, which then stands in the low bits of a sum; number_of gives n from that sum, and
// times_power gives p 2^n for p in [1/2, 2), or 0 where n < -125.
FB_HD float to_whole(float x) { return x + 12582912.0f; }  // 1.5 * 2^23
FB_HD float number_of(float whole) { return whole - 12582912.0f; }

FB_HD float times_power(float p, float whole) {
  const uint32_t bits = static_cast<uint32_t>(bits_of(p)) + (static_cast<uint32_t>(bits_of(whole)) << 23);
  return whole < 12582787.0f ? 0.0f : from_bits(static_cast<int32_t>(bits));
}

// a - n c, where n c is exact, so that a fused operation changes no bit
FB_HD float less_product(float a, float n, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(-n, c, a);
#else
  return a - n * c;
#endif
}

// A normal, positive and finite a is m 2^n with m in [3/4, 3/2): significand gives m, log_power gives n.
FB_HD float significand(float a) {
  const uint32_t above = static_cast<uint32_t>(bits_of(a)) - kLogBits;
  return from_bits(static_cast<int32_t>((above & 0x7fffff) + kLogBits));
}

FB_HD float log_power(float a) { return static_cast<float>((bits_of(a) - kLogBits) >> 23); }

#define FB_FLOAT float
#include "fastblackout/float_parts.h"
#undef FB_FLOAT

FB_HD float exp_minus_abs(float x) {
  const float t = minus_abs(x), whole = exp_whole(t), r = exp_rest(t, whole);
  return exp_of(whole, r, polynomial(r, FB_EXP_SERIES));
}

// Of a NaN one, as of a GPU's, all of whose bits are set, times_power makes a number.
FB_HD float exp_minus_abs_or_nan(float x) { return x == x ? exp_minus_abs(x) : x; }

// log(1 + e) / e on [0, 1]. Where x < -82, products with e are subnormal, which costs some processors a hundred clocks each and
// changes no bit.
FB_HD float log1p_over(float e) { return polynomial(e, FB_LOG1P_SERIES); }

// log(1 + exp(x)), within 4 ulp; 0 for x < -86.99
FB_HD float softplus(float x) {
  const float e = exp_minus_abs(x);
  return softplus_of(x, e, log1p_over(e));
}

FB_HD float log_float(float a) {
  const float f = log_fraction(a);
  return log_of(log_power(a), f, polynomial(f, FB_LOG_SERIES));
}

FB_HD float log_softplus(float x) {
  const float e = exp_minus_abs(x);
  return log_softplus_of(x, log_float(softplus_over(x, e, log1p_over(e))));
}

// ---- float64 --------------------------------------------------------------------------------------------------------

// k log 2 + log(1 + f) + correction for f in [sqrt(1/2) - 1, sqrt(2) - 1], through s = f / (2 + f):
// log(1 + f) = f - (f^2 / 2 - s (f^2 / 2 + R)), R = 2 atanh(s) / s - 2. log 2 is split so that k * high is exact.
FB_HD double log_reduced(double f, double k, double correction) {
  const double s = f / (2.0 + f);
  const double z = s * s;
  const double poly = polynomial(z, FB_LOG_SERIES_64);
  const double half_square = (0.5 * f) * f;
  const double tail = s * (half_square + z * poly) + (k * 1.9082149292705877e-10 + correction);
  return k * 0.6931471803691238 - ((half_square - tail) - f);
}

// log(a) for a normal, positive and finite
FB_HD double portable_log(double a) {
  const uint64_t bits = bit_cast<uint64_t>(a);
  const int32_t k = static_cast<int32_t>(static_cast<int64_t>(bits - 0x3fe6a09e667f3bcdull) >> 52);
  const double m = bit_cast<double>(bits - (static_cast<uint64_t>(static_cast<int64_t>(k)) << 52));
  return log_reduced(m - 1.0, static_cast<double>(k), 0.0);
}

// log(1 + a) for finite a >= 0, without the division by which portable_log1p gets its last digit.
FB_HD double log_one_plus(double a) {
  const double u = 1.0 + a;
  const uint64_t bits = bit_cast<uint64_t>(u);
  const int32_t k = static_cast<int32_t>(static_cast<int64_t>(bits - 0x3fe6a09e667f3bcdull) >> 52);
  const double m = bit_cast<double>(bits - (static_cast<uint64_t>(static_cast<int64_t>(k)) << 52));
  return log_reduced(k == 0 ? a : m - 1.0, static_cast<double>(k), 0.0);
}

// log(1 + a) for finite a > -1. What rounding took from 1 + a is put back: log(u + lost) is about log(u) + lost / u.
FB_HD double portable_log1p(double a) {
  const double u = 1.0 + a;
  const uint64_t bits = bit_cast<uint64_t>(u);
  const int32_t k = static_cast<int32_t>(static_cast<int64_t>(bits - 0x3fe6a09e667f3bcdull) >> 52);
  const double m = bit_cast<double>(bits - (static_cast<uint64_t>(static_cast<int64_t>(k)) << 52));
  const double lost = (a > 1.0 ? 1.0 - (u - a) : a - (u - 1.0)) / u;
  return log_reduced(k == 0 ? a : m - 1.0, static_cast<double>(k), k == 0 ? 0.0 : lost);
}

// exp(t) = (1 + rest) scale, scale a power of two, for t in [-708, 709]
struct ExpParts {
  double rest, scale;
};
FB_HD ExpParts exp_parts(double t) {
  const double shifted = t * 1.4426950408889634 + 6755399441055744.0;  // 1.5 * 2^52
  const double n = shifted - 6755399441055744.0;
  const double r = (t - n * 0.6931471803691238) - n * 1.9082149292705877e-10;
  const double poly = polynomial(r, FB_EXP_SERIES_64);
  return ExpParts{r + (r * r) * poly, bit_cast<double>((bit_cast<uint64_t>(shifted) + 1023u) << 52)};
}

// exp(a); 0 for a < -708 (below it the result nears the subnormals), infinity for a > 709
FB_HD double portable_exp(double a) {
  const ExpParts of = exp_parts(a < -708.0 ? -708.0 : (a > 709.0 ? 709.0 : a));
  const double e = (1.0 + of.rest) * of.scale;
  return a < -708.0 ? 0.0 : (a > 709.0 ? bit_cast<double>(0x7ff0000000000000ull) : e);
}

// ---- what the per-element samplers need -----------------------------------------------------------------------------

FB_HD double portable_sqrt(double a) {
#if defined(__CUDA_ARCH__)
  return __dsqrt_rn(a);
#else
  return __builtin_sqrt(a);  // correctly rounded by IEEE 754, so the same everywhere
#endif
}

// Stirling's correction log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2) for x = 1, 2, 3, ...; its first fifteen values
// are tabulated, and from x = 16 on a series is used, cut off where its terms are below 1e-18.
FB_HD double stirling_tabulated(double x) {  // for 0 <= x < 16; any other x, made of inputs out of range, may give anything
  static constexpr double table[16] = {
      0.0, 0.08106146679532726, 0.0413406959554093, 0.02767792568499834, 0.020790672103765093, 0.016644691189821193,
      0.013876128823070748, 0.01189670994589177, 0.010411265261972096, 0.009255462182712733, 0.00833056343336287,
      0.007573675487951841, 0.00694284010720953, 0.006408994188004207, 0.0059513701127588475, 0.005554733551962801};
  return table[static_cast<int32_t>(x) & 15];
}

FB_HD double stirling_of(double y) {  // of x = 1 / y >= 8
  const double z = y * y;
  double poly = -0.0019175269175269176;  // -691 / 360360
  poly = poly * z + 0.0008417508417508417;
  poly = poly * z + -0.0005952380952380953;
  poly = poly * z + 0.0007936507936507937;
  poly = poly * z + -0.002777777777777778;
  poly = poly * z + 0.08333333333333333;
  return y * poly;
}

FB_HD double stirling_series(double x) { return stirling_of(1.0 / x); }  // x >= 16

FB_HD double stirling_correction(double x) { return x < 16.0 ? stirling_tabulated(x) : stirling_series(x); }

// ---- log-gamma, and the logarithm of a rising factorial and its derivative ------------------------------------------
//
// A factorial that rises by n from x is x (x + 1) .. (x + n - 1) = Gamma(x + n) / Gamma(x). The difference of two log-gammas would
// lose what they have in common, which for a small x or a large one is nearly all. Here Stirling's series are taken at w = x + 9
// and w + n - 1, the log of whose quotient comes from (n - 1) / w, so that every term goes to 0 with n - 1; the eight factors
// before each of them are divided, and the first factor, x, is left out: its logarithm may be known where x itself is 0.

FB_HD double eight_factors(double y) {  // y (y + 1) .. (y + 7)
  const double t = y * (y + 7.0);
  return (t * (t + 6.0)) * ((t + 10.0) * (t + 12.0));
}

FB_HD double log_gamma(double x) {  // 0 < x <= 2^53
  const double w = x + 8.0;
  return (((w - 0.5) * portable_log(w) - w) + (0.9189385332046728 + stirling_of(1.0 / w))) - portable_log(eight_factors(x));
}

FB_HD double log_factorial(double n) { return n < 2.0 ? 0.0 : log_gamma(n + 1.0); }

struct RisingPlaces {
  double d, w, from, to, ratio;  // n - 1, x + 9, 1 / w, 1 / (w + d), log((w + d) / w)
};

FB_HD RisingPlaces rising_places_before_log(double x, double n) {  // with (w + d) / w - 1 for its logarithm
  const double d = n - 1.0, w = x + 9.0, end = w + d, inverse = 1.0 / (w * end);
  return RisingPlaces{d, w, end * inverse, w * inverse, d * (end * inverse)};
}
FB_HD RisingPlaces rising_places(double x, double n) {
  RisingPlaces at = rising_places_before_log(x, n);
  at.ratio = log_one_plus(at.ratio);
  return at;
}

FB_HD double rising_sum(const RisingPlaces& at, double log_w) {
  const double stirling = stirling_of(at.to) - stirling_of(at.from);
  return (at.d * log_w + (((at.w + at.d) - 0.5) * at.ratio - at.d)) + stirling;
}

struct Rising {
  double sum, above, below;  // sum + log(above / below) = log((x + 1) .. (x + n - 1)), each quotient below 2^424
};

FB_HD Rising rising(double x, double n) {  // whole n >= 1, 0 <= x, x + n <= 2^53
  const RisingPlaces at = rising_places(x, n);
  return Rising{rising_sum(at, portable_log(at.w)), eight_factors(x + 1.0), eight_factors(x + n)};
}

// digamma(x) - log(x) + 1 / (2 x) of x = 1 / y >= 9
FB_HD double digamma_of(double y) {
  const double z = y * y;
  double poly = 0.021092796092796094;  // 691 / 32760
  poly = poly * z + -0.007575757575757576;
  poly = poly * z + 0.004166666666666667;
  poly = poly * z + -0.003968253968253968;
  poly = poly * z + 0.008333333333333333;
  poly = poly * z + -0.08333333333333333;
  return z * poly;
}

struct Inverses8 {
  double above, below;  // above / below = 1 / y + 1 / (y + 1) + .. + 1 / (y + 7)
};

FB_HD Inverses8 eight_inverses(double y) {
  const double t = y * (y + 7.0), first = t * (t + 6.0), last = (t + 10.0) * (t + 12.0);
  const double sums = ((t + t) + 6.0) * last + ((t + t) + 22.0) * first;
  return Inverses8{((y + y) + 7.0) * sums, first * last};
}

// x (1 / x + 1 / (x + 1) + .. + 1 / (x + n - 1)) = x (digamma(x + n) - digamma(x)) for whole n and 0 <= x, x + n <= 2^53
FB_HD double rising_slope_at(const RisingPlaces& at, double x, double n) {
  const double some = n < 1.0 ? 1.0 : n;
  const double tails = digamma_of(at.to) - digamma_of(at.from);
  const Inverses8 up = eight_inverses(x + 1.0), end = eight_inverses(x + some);
  const double shifted = (up.above * end.below - end.above * up.below) / (up.below * end.below);
  const double slope = 1.0 + x * (((at.ratio + 0.5 * (at.from - at.to)) + tails) + shifted);
  return n < 1.0 ? 0.0 : slope;
}
FB_HD double rising_slope(double x, double n) { return rising_slope_at(rising_places(x, n < 1.0 ? 1.0 : n), x, n); }

// The deviance x log(x / mean) - (x - mean), with d = x - mean given exactly (Loader 2000). Near the mean it is computed by
// its series in v = d / (x + mean), which is d v + 2 x (v^3 / 3 + v^5 / 5 + ...): its relative error stays at a few units in
// the last place however large x is.
FB_HD double deviance_near(double x, double d, double v) {
  const double z = v * v;
  double poly = 0.058823529411764705;  // 1 / 17
  poly = poly * z + 0.06666666666666667;
  poly = poly * z + 0.07692307692307693;
  poly = poly * z + 0.09090909090909091;
  poly = poly * z + 0.1111111111111111;
  poly = poly * z + 0.14285714285714285;
  poly = poly * z + 0.2;
  poly = poly * z + 0.3333333333333333;
  return d * v + (((2.0 * x) * v) * z) * poly;
}

FB_HD double deviance(double x, double mean, double d) {
  const double v = d / (x + mean);
  const double near = deviance_near(x, d, v), far = x * portable_log(x / mean) - d;
  return (v < 0.1) & (v > -0.1) ? near : far;
}

// Two words as 53 bits: high word first, the low word's last 11 bits unused.
FB_HD int64_t bits53(uint32_t high, uint32_t low) {
  return static_cast<int64_t>(static_cast<uint64_t>(high) << 21 | low >> 11);
}

// 53 bits as a uniform in [0, 1), in (0, 1], and in (-1/2, 1/2), symmetric and never 0; all are exact in float64.
FB_HD double uniform_from_zero(int64_t bits) { return static_cast<double>(bits) * 0x1p-53; }
FB_HD double uniform_to_one(int64_t bits) { return static_cast<double>(bits + 1) * 0x1p-53; }
FB_HD double uniform_centred(int64_t bits) {
  return (static_cast<double>(bits - (int64_t{1} << 52)) + 0.5) * 0x1p-53;
}

// floor(y) for |y| < 2^62
FB_HD int64_t floor_to_int(double y) {
  const int64_t truncated = static_cast<int64_t>(y);
  return truncated - (static_cast<double>(truncated) > y ? 1 : 0);
}

}  // namespace fastblackout
