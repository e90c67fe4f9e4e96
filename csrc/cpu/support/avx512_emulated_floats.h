// The part of avx512_emulated.h for floats.

FB_EMULATED __m512 _mm512_set1_ps(float x) { return __m512{} + x; }
FB_EMULATED __m512 _mm512_mul_ps(__m512 x, __m512 y) { return x * y; }
FB_EMULATED __m512 _mm512_min_ps(__m512 x, __m512 y) { return x < y ? x : y; }
FB_EMULATED __m512 _mm512_max_ps(__m512 x, __m512 y) { return x > y ? x : y; }
FB_EMULATED __m512 _mm512_fmadd_ps(__m512 x, __m512 y, __m512 z) { return x * y + z; }
FB_EMULATED __m512 _mm512_fnmadd_ps(__m512 x, __m512 y, __m512 z) { return z - x * y; }
FB_EMULATED __m512 _mm512_rcp14_ps(__m512 x) { return 1.0f / x; }
FB_EMULATED __mmask16 _mm512_cmp_ps_mask(__m512 x, __m512 y, int) {  // whether x is at least y
  __mmask16 r = 0;
  for (int i = 0; i < 16; ++i) r |= static_cast<__mmask16>((x[i] >= y[i]) << i);
  return r;
}
FB_EMULATED __m512 _mm512_maskz_scalef_ps(__mmask16 m, __m512 x, __m512 power) {  // for powers from -126 to 127
  __m512 r;
  for (int i = 0; i < 16; ++i) r[i] = m >> i & 1 ? x[i] * from_bits((static_cast<int>(power[i]) + 127) << 23) : 0.0f;
  return r;
}
#define FB_EMULATED_LANES(NAME, LANE)                \
  FB_EMULATED __m512 NAME(__m512 x) {                \
    __m512 r;                                        \
    for (int i = 0; i < 16; ++i) r[i] = LANE(x[i]);  \
    return r;                                        \
  }
FB_EMULATED_LANES(_mm512_floor_ps, __builtin_floorf)
FB_EMULATED_LANES(_mm512_sqrt_ps, __builtin_sqrtf)
FB_EMULATED_LANES(emulated_nearest, __builtin_nearbyintf)
FB_EMULATED_LANES(emulated_significand, significand)
FB_EMULATED_LANES(_mm512_getexp_ps, __builtin_logbf)
#undef FB_EMULATED_LANES
#define _mm512_roundscale_ps(x, how) emulated_nearest(x)
// A macro, since an interval of immintrin.h's own type would make the compiler find immintrin.h's function.
#define _mm512_getmant_ps(x, interval, sign) emulated_significand(x)
