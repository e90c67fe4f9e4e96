// The AVX-512 intrinsics that the kernels use, in plain C++: with FB_EMULATED_AVX512 (FASTBLACKOUT_EMULATE=avx512, for tests)
// the code for AVX-512 runs on any processor with AVX2, with the same bits. Inside namespace fastblackout::cpu::avx512 these
// names hide immintrin.h's. fmadd and rcp14 may round otherwise than the instructions: no result depends on that.
// SIMDe (0.8.2 was tried) knows 92 of the 106 names that the code uses: of the others it has no conversion between int32 and
// float64, gather, getexp or getmant, and the two instructions that are written as assembly would remain, too.

#if defined(__clang__) || !defined(__OPTIMIZE__)
#error "FASTBLACKOUT_EMULATE needs g++ and optimization: elsewhere these names are macros"
#endif

typedef int8_t Emulated8 __attribute__((vector_size(64), may_alias));
typedef uint8_t EmulatedU8 __attribute__((vector_size(64), may_alias));
typedef int16_t Emulated16 __attribute__((vector_size(64), may_alias));
typedef uint16_t EmulatedU16 __attribute__((vector_size(64), may_alias));
typedef int32_t Emulated32 __attribute__((vector_size(64), may_alias));
typedef uint32_t EmulatedU32 __attribute__((vector_size(64), may_alias));
typedef int64_t Emulated64 __attribute__((vector_size(64), may_alias));
typedef uint64_t EmulatedU64 __attribute__((vector_size(64), may_alias));

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)  // inlined, their checks take half an hour to compile
#define FB_EMULATED [[maybe_unused]] static __attribute__((noinline, target("avx2")))
#else
#define FB_EMULATED static inline __attribute__((always_inline))
#endif
#define FB_TO(V, x) reinterpret_cast<V>(x)

// Loads, stores, numbers
template <class T>
FB_EMULATED T emulated_read(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}
FB_EMULATED __m512i _mm512_loadu_si512(const void* from) { return emulated_read<__m512i>(from); }
FB_EMULATED __m512i _mm512_load_si512(const void* from) { return *static_cast<const __m512i*>(from); }
FB_EMULATED void _mm512_storeu_si512(void* to, __m512i x) { std::memcpy(to, &x, sizeof(x)); }
FB_EMULATED void _mm512_store_si512(void* to, __m512i x) { *static_cast<__m512i*>(to) = x; }
FB_EMULATED __m512i _mm512_setzero_si512() { return __m512i{}; }
FB_EMULATED __m512i _mm512_set1_epi16(int16_t x) { return FB_TO(__m512i, EmulatedU16{} + static_cast<uint16_t>(x)); }
FB_EMULATED __m512i _mm512_set1_epi32(int32_t x) { return FB_TO(__m512i, EmulatedU32{} + static_cast<uint32_t>(x)); }
FB_EMULATED __m512i _mm512_set1_epi64(int64_t x) { return FB_TO(__m512i, EmulatedU64{} + static_cast<uint64_t>(x)); }
FB_EMULATED __m512i _mm512_set4_epi32(int32_t d, int32_t c, int32_t b, int32_t a) {
  const Emulated32 r = {a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d};
  return FB_TO(__m512i, r);
}
FB_EMULATED __m512d _mm512_set1_pd(double x) { return __m512d{} + x; }
// Arguments begin with the highest lane; immintrin.h's setr are macros that reverse them and call these.
#define FB_SET(NAME, LANE)                                                \
  template <class... T>                                                   \
  FB_EMULATED __m512i NAME(T... x) {                                      \
    constexpr int kLanes = 64 / sizeof(LANE);                             \
    static_assert(sizeof...(x) == kLanes, "a number for each lane");      \
    const LANE numbers[kLanes] = {static_cast<LANE>(x)...};               \
    LANE lanes[kLanes];                                                   \
    for (int i = 0; i < kLanes; ++i) lanes[i] = numbers[kLanes - 1 - i];  \
    return emulated_read<__m512i>(lanes);                                 \
  }
FB_SET(_mm512_set_epi16, int16_t)
FB_SET(_mm512_set_epi32, int32_t)
FB_SET(_mm512_set_epi64, int64_t)
#undef FB_SET

// Lane by lane
#define FB_LANE_BY_LANE(NAME, V, OP) \
  FB_EMULATED __m512i NAME(__m512i x, __m512i y) { return FB_TO(__m512i, FB_TO(V, x) OP FB_TO(V, y)); }
FB_LANE_BY_LANE(_mm512_add_epi8, EmulatedU8, +)
FB_LANE_BY_LANE(_mm512_sub_epi8, EmulatedU8, -)
FB_LANE_BY_LANE(_mm512_add_epi16, EmulatedU16, +)
FB_LANE_BY_LANE(_mm512_sub_epi16, EmulatedU16, -)
FB_LANE_BY_LANE(_mm512_add_epi32, EmulatedU32, +)
FB_LANE_BY_LANE(_mm512_sub_epi32, EmulatedU32, -)
FB_LANE_BY_LANE(_mm512_add_epi64, EmulatedU64, +)
FB_LANE_BY_LANE(_mm512_sub_epi64, EmulatedU64, -)
FB_LANE_BY_LANE(_mm512_mullo_epi64, EmulatedU64, *)
FB_LANE_BY_LANE(_mm512_and_si512, EmulatedU64, &)
FB_LANE_BY_LANE(_mm512_or_si512, EmulatedU64, |)
FB_LANE_BY_LANE(_mm512_xor_si512, EmulatedU64, ^)
#undef FB_LANE_BY_LANE
#define FB_SHIFT(NAME, V, OP) \
  FB_EMULATED __m512i NAME(__m512i x, int by) { return FB_TO(__m512i, FB_TO(V, x) OP by); }
FB_SHIFT(_mm512_srli_epi16, EmulatedU16, >>)
FB_SHIFT(_mm512_srai_epi16, Emulated16, >>)
FB_SHIFT(_mm512_slli_epi32, EmulatedU32, <<)
FB_SHIFT(_mm512_srli_epi64, EmulatedU64, >>)
FB_SHIFT(_mm512_slli_epi64, EmulatedU64, <<)
#undef FB_SHIFT
FB_EMULATED __m512d _mm512_add_pd(__m512d x, __m512d y) { return x + y; }
FB_EMULATED __m512d _mm512_add_round_pd(__m512d x, __m512d y, int) {  // rounds towards 0; for x >= 0 and y = 2^52
  for (int i = 0; i < 8; ++i) x[i] = static_cast<double>(static_cast<int64_t>(x[i])) + y[i];
  return x;
}
FB_EMULATED __m512d _mm512_mul_pd(__m512d x, __m512d y) { return x * y; }
FB_EMULATED __m512i _mm512_mul_epu32(__m512i x, __m512i y) {
  return FB_TO(__m512i, (FB_TO(EmulatedU64, x) & 0xffffffffu) * (FB_TO(EmulatedU64, y) & 0xffffffffu));
}
FB_EMULATED __m512i _mm512_rolv_epi64(__m512i x, __m512i by) {
  const EmulatedU64 lanes = FB_TO(EmulatedU64, x), left = FB_TO(EmulatedU64, by) & 63;
  return FB_TO(__m512i, (lanes << left) | (lanes >> ((64 - left) & 63)));
}
FB_EMULATED __m512i _mm512_rol_epi64(__m512i x, int by) {
  return FB_TO(__m512i, FB_TO(EmulatedU64, x) << by | FB_TO(EmulatedU64, x) >> (64 - by));
}
FB_EMULATED __m512i _mm512_ternarylogic_epi64(__m512i x, __m512i y, __m512i z, int truth) {
  const EmulatedU64 a = FB_TO(EmulatedU64, x), b = FB_TO(EmulatedU64, y), c = FB_TO(EmulatedU64, z);
  EmulatedU64 r = {};
  for (int row = 0; row < 8; ++row)
    if (truth >> row & 1) r |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  return FB_TO(__m512i, r);
}
#define FB_EACH(NAME, V, LANES, LANE)                          \
  FB_EMULATED __m512i NAME(__m512i x, __m512i y) {             \
    const V a = FB_TO(V, x), b = FB_TO(V, y);                  \
    V r;                                                       \
    for (int i = 0; i < LANES; ++i) r[i] = LANE;               \
    return FB_TO(__m512i, r);                                  \
  }
FB_EACH(_mm512_min_epu16, EmulatedU16, 32, (a[i] < b[i] ? a[i] : b[i]))
FB_EACH(_mm512_max_epi32, Emulated32, 16, (a[i] > b[i] ? a[i] : b[i]))
FB_EACH(_mm512_subs_epi16, Emulated16, 32,
        static_cast<int16_t>(a[i] - b[i] > 32767 ? 32767 : a[i] - b[i] < -32768 ? -32768 : a[i] - b[i]))
FB_EACH(emulated_shld1, EmulatedU16, 32, static_cast<uint16_t>(a[i] << 1 | b[i] >> 15))
FB_EACH(_mm512_permutexvar_epi8, EmulatedU8, 64, b[a[i] & 63])
FB_EACH(_mm512_permutexvar_epi16, EmulatedU16, 32, b[a[i] & 31])
FB_EACH(_mm512_permutexvar_epi32, EmulatedU32, 16, b[a[i] & 15])
FB_EACH(_mm512_unpacklo_epi64, EmulatedU64, 8, (i % 2 ? b : a)[i & ~1])
FB_EACH(_mm512_unpackhi_epi64, EmulatedU64, 8, (i % 2 ? b : a)[i | 1])
#undef FB_EACH

// Permutations: of two vectors, within four lanes
#define FB_PERMUTATION(NAME, V, LANES)                                                     \
  FB_EMULATED __m512i NAME(__m512i x, __m512i index, __m512i y) {                          \
    const V a = FB_TO(V, x), b = FB_TO(V, y), from = FB_TO(V, index);                      \
    V r;                                                                                   \
    for (int i = 0; i < LANES; ++i) r[i] = (from[i] & LANES ? b : a)[from[i] & (LANES - 1)]; \
    return FB_TO(__m512i, r);                                                              \
  }
FB_PERMUTATION(_mm512_permutex2var_epi8, EmulatedU8, 64)
FB_PERMUTATION(_mm512_permutex2var_epi16, EmulatedU16, 32)
FB_PERMUTATION(_mm512_permutex2var_epi32, EmulatedU32, 16)
FB_PERMUTATION(_mm512_permutex2var_epi64, EmulatedU64, 8)
#undef FB_PERMUTATION
FB_EMULATED __m512i emulated_shuffle(__mmask16 keep, __m512i x, int order) {
  const Emulated32 a = FB_TO(Emulated32, x);
  Emulated32 r;
  for (int i = 0; i < 16; ++i) r[i] = keep >> i & 1 ? a[(i & ~3) | (order >> 2 * (i & 3) & 3)] : 0;
  return FB_TO(__m512i, r);
}
FB_EMULATED __m512 _mm512_shuffle_ps(__m512 x, __m512 y, int order) {
  __m512 r;
  for (int i = 0; i < 16; ++i) r[i] = (i & 2 ? y : x)[(i & ~3) | (order >> 2 * (i & 3) & 3)];
  return r;
}
FB_EMULATED __m512i _mm512_packus_epi32(__m512i x, __m512i y) {  // of numbers that are not negative
  const EmulatedU32 a = FB_TO(EmulatedU32, x), b = FB_TO(EmulatedU32, y);
  EmulatedU16 r;
  for (int i = 0; i < 32; ++i) {
    const uint32_t number = (i & 4 ? b : a)[(i >> 1 & ~3) | (i & 3)];
    r[i] = static_cast<uint16_t>(number < 65535 ? number : 65535);
  }
  return FB_TO(__m512i, r);
}
// Macros, since an order of immintrin.h's own type would make the compiler find immintrin.h's functions.
#define _mm512_maskz_shuffle_epi32(keep, x, order) emulated_shuffle(keep, x, order)
#define _mm512_shuffle_epi32(x, order) emulated_shuffle(0xffff, x, order)

// Masks
#define FB_TO_MASK(NAME, MASK, V, LANES, LANE)                                   \
  FB_EMULATED MASK NAME(__m512i x, __m512i y) {                                  \
    const V a = FB_TO(V, x), b = FB_TO(V, y);                                    \
    MASK r = 0;                                                                  \
    for (int i = 0; i < LANES; ++i) r |= static_cast<MASK>(LANE) << i;           \
    return r;                                                                    \
  }
FB_TO_MASK(_mm512_test_epi16_mask, __mmask32, EmulatedU16, 32, ((a[i] & b[i]) != 0))
FB_TO_MASK(_mm512_test_epi32_mask, __mmask16, EmulatedU32, 16, ((a[i] & b[i]) != 0))
FB_TO_MASK(_mm512_test_epi64_mask, __mmask8, EmulatedU64, 8, ((a[i] & b[i]) != 0))
FB_TO_MASK(_mm512_cmpeq_epi32_mask, __mmask16, Emulated32, 16, (a[i] == b[i]))
FB_TO_MASK(_mm512_cmpgt_epi32_mask, __mmask16, Emulated32, 16, (a[i] > b[i]))
FB_TO_MASK(_mm512_cmple_epi32_mask, __mmask16, Emulated32, 16, (a[i] <= b[i]))
FB_TO_MASK(_mm512_cmplt_epi32_mask, __mmask16, Emulated32, 16, (a[i] < b[i]))
FB_TO_MASK(emulated_cmple_epi16, __mmask32, Emulated16, 32, (a[i] <= b[i]))
FB_TO_MASK(emulated_cmple_epu16, __mmask32, EmulatedU16, 32, (a[i] <= b[i]))
#undef FB_TO_MASK
FB_EMULATED __mmask8 _mm512_cmp_pd_mask(__m512d x, __m512d y, int) {  // whether x is at least y
  __mmask8 r = 0;
  for (int i = 0; i < 8; ++i) r |= static_cast<__mmask8>((x[i] >= y[i]) << i);
  return r;
}
FB_EMULATED __mmask32 _mm512_mask_cmple_epi16_mask(__mmask32 m, __m512i x, __m512i y) { return m & emulated_cmple_epi16(x, y); }
FB_EMULATED __mmask32 _mm512_mask_cmple_epu16_mask(__mmask32 m, __m512i x, __m512i y) { return m & emulated_cmple_epu16(x, y); }
#define FB_BLEND(BITS, LANES)                                                                                             \
  FB_EMULATED __m512i _mm512_mask_blend_epi##BITS(__mmask##LANES m, __m512i unset, __m512i set) {                         \
    const Emulated##BITS a = FB_TO(Emulated##BITS, unset), b = FB_TO(Emulated##BITS, set);                                \
    Emulated##BITS r;                                                                                                     \
    for (int i = 0; i < LANES; ++i) r[i] = (m >> i & 1 ? b : a)[i];                                                       \
    return FB_TO(__m512i, r);                                                                                             \
  }                                                                                                                       \
  FB_EMULATED __m512i _mm512_mask2_permutex2var_epi##BITS(__m512i x, __m512i index, __mmask##LANES m, __m512i y) {        \
    return _mm512_mask_blend_epi##BITS(m, index, _mm512_permutex2var_epi##BITS(x, index, y));                             \
  }
FB_BLEND(8, 64)
FB_BLEND(16, 32)
FB_BLEND(32, 16)
FB_BLEND(64, 8)
#undef FB_BLEND
FB_EMULATED __m512i _mm512_mask_shuffle_epi8(__m512i other, __mmask64 m, __m512i x, __m512i order) {  // no order has a sign bit
  const EmulatedU8 a = FB_TO(EmulatedU8, x), from = FB_TO(EmulatedU8, order);
  EmulatedU8 r = FB_TO(EmulatedU8, other);
  for (int i = 0; i < 64; ++i)
    if (m >> i & 1) r[i] = a[(i & ~15) | (from[i] & 15)];
  return FB_TO(__m512i, r);
}
FB_EMULATED __mmask64 _mm512_movepi8_mask(__m512i x) {
  const EmulatedU8 a = FB_TO(EmulatedU8, x);
  __mmask64 r = 0;
  for (int i = 0; i < 64; ++i) r |= static_cast<__mmask64>(a[i] >> 7) << i;
  return r;
}
FB_EMULATED __m512i _mm512_maskz_slli_epi32(__mmask16 m, __m512i x, int by) {
  const EmulatedU32 a = FB_TO(EmulatedU32, x);
  EmulatedU32 r;
  for (int i = 0; i < 16; ++i) r[i] = m >> i & 1 ? a[i] << by : 0;
  return FB_TO(__m512i, r);
}
FB_EMULATED __m512i _mm512_maskz_compress_epi32(__mmask16 m, __m512i x) {
  const Emulated32 a = FB_TO(Emulated32, x);
  Emulated32 r = {};
  for (int i = 0, to = 0; i < 16; ++i)
    if (m >> i & 1) r[to++] = a[i];
  return FB_TO(__m512i, r);
}
FB_EMULATED __m512i _mm512_mask_i32gather_epi32(__m512i other, __mmask16 m, __m512i offset, const void* from, int scale) {
  const Emulated32 at = FB_TO(Emulated32, offset);
  Emulated32 r = FB_TO(Emulated32, other);
  for (int i = 0; i < 16; ++i)
    if (m >> i & 1) r[i] = emulated_read<int32_t>(static_cast<const char*>(from) + static_cast<int64_t>(at[i]) * scale);
  return FB_TO(__m512i, r);
}
FB_EMULATED int _mm512_mask_reduce_max_epi32(__mmask16 m, __m512i x) {
  int r = INT32_MIN;
  for (int i = 0; i < 16; ++i)
    if (m >> i & 1 && FB_TO(Emulated32, x)[i] > r) r = FB_TO(Emulated32, x)[i];
  return r;
}
FB_EMULATED int _mm512_mask_reduce_min_epi32(__mmask16 m, __m512i x) {
  int r = INT32_MAX;
  for (int i = 0; i < 16; ++i)
    if (m >> i & 1 && FB_TO(Emulated32, x)[i] < r) r = FB_TO(Emulated32, x)[i];
  return r;
}

// Parts and conversions
template <class Part, class Whole>
FB_EMULATED Part emulated_part(Whole x, int part) {
  return emulated_read<Part>(reinterpret_cast<const char*>(&x) + part * sizeof(Part));
}
FB_EMULATED __m128i _mm512_castsi512_si128(__m512i x) { return emulated_part<__m128i>(x, 0); }
FB_EMULATED __m256i _mm512_castsi512_si256(__m512i x) { return emulated_part<__m256i>(x, 0); }
FB_EMULATED __m256 _mm512_castps512_ps256(__m512 x) { return emulated_part<__m256>(x, 0); }
FB_EMULATED __m128i _mm512_extracti32x4_epi32(__m512i x, int part) { return emulated_part<__m128i>(x, part); }
FB_EMULATED __m256i _mm512_extracti64x4_epi64(__m512i x, int part) { return emulated_part<__m256i>(x, part); }
FB_EMULATED __m256 _mm512_extractf32x8_ps(__m512 x, int part) { return emulated_part<__m256>(x, part); }
FB_EMULATED __m512i _mm512_inserti64x4(__m512i x, __m256i y, int part) {
  std::memcpy(reinterpret_cast<char*>(&x) + part * sizeof(y), &y, sizeof(y));
  return x;
}
FB_EMULATED __m512i _mm512_castsi256_si512(__m256i x) { return _mm512_inserti64x4(__m512i{}, x, 0); }
FB_EMULATED __m512i _mm512_broadcast_i64x4(__m256i x) { return _mm512_inserti64x4(_mm512_castsi256_si512(x), x, 1); }
// Converts lane by lane; numbers above `most` become `most`.
template <class To, class ToLane, class FromLane, class From>
FB_EMULATED To emulated_convert(From x, FromLane most = std::numeric_limits<FromLane>::max()) {
  constexpr int kLanes = sizeof(To) / sizeof(ToLane);
  static_assert(kLanes == sizeof(From) / sizeof(FromLane), "as many lanes");
  FromLane from[kLanes];
  ToLane to[kLanes];
  std::memcpy(from, &x, sizeof(x));
  for (int i = 0; i < kLanes; ++i) to[i] = static_cast<ToLane>(from[i] < most ? from[i] : most);
  return emulated_read<To>(to);
}
FB_EMULATED __m512i _mm512_cvtepu8_epi32(__m128i x) { return emulated_convert<__m512i, uint32_t, uint8_t>(x); }
FB_EMULATED __m256i _mm512_cvtepi16_epi8(__m512i x) {
  uint16_t from[32];
  uint8_t to[32];
  std::memcpy(from, &x, sizeof(x));
  for (int i = 0; i < 32; ++i) to[i] = static_cast<uint8_t>(from[i]);
  return emulated_read<__m256i>(to);
}
FB_EMULATED __m512i _mm512_cvtepu16_epi32(__m256i x) { return emulated_convert<__m512i, uint32_t, uint16_t>(x); }
FB_EMULATED __m512i _mm512_cvtepu32_epi64(__m256i x) { return emulated_convert<__m512i, uint64_t, uint32_t>(x); }
FB_EMULATED __m512d _mm512_cvtepi32_pd(__m256i x) { return emulated_convert<__m512d, double, int32_t>(x); }
FB_EMULATED __m256i _mm512_cvttpd_epi32(__m512d x) { return emulated_convert<__m256i, int32_t, double>(x); }

#include "cpu/support/avx512_emulated_floats.h"

#undef FB_TO
#undef FB_EMULATED
