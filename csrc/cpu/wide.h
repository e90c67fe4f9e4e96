// Body, once per instruction set: several vectors side by side, operation by operation. A function of one element is one
// long chain of dependent steps, and the processor looks only about a hundred vector instructions ahead: chains that take
// turns keep it busy. Two<FloatVector> is two of them; Several is for polynomials.

#define FB_INLINE static inline __attribute__((always_inline))

#if FB_ISA_LEVEL == 0

// Plain floats: the base set's vectors come from the compiler.
constexpr int kLanes = 1, kTogether = 1;
typedef float FloatVector;
template <class V>
FB_INLINE V all_of(V x) {
  return x;
}
template <class V>
FB_INLINE V load_as(const V* from) {
  return *from;
}
FB_INLINE void store_wide(float x, float* to) { *to = x; }
template <class Element>
FB_INLINE float floats_at(const Element* from) {
  return static_cast<float>(*from);
}

template <class Series, class Then>
FB_INLINE void polynomials(const float* __restrict x, int count, const Then& then) {
  for (int k = 0; k < count; ++k) {
    float poly = Series::numbers[0];
    for (int i = 1; i < Series::size; ++i) poly = poly * x[k] + Series::numbers[i];
    take(then, k, poly);
  }
}

#else

constexpr int kLanes = FB_ISA_LEVEL == 2 ? 16 : 8;
typedef float FloatVector __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntVector __attribute__((vector_size(4 * kLanes)));
typedef uint32_t UintVector __attribute__((vector_size(4 * kLanes)));

template <class V>
struct Two {
  V a, b;
};

template <class V, class Number>
FB_INLINE V all_of(Number x) {
  if constexpr (sizeof(V) == 4 * kLanes) {
    return V{} + x;
  } else {
    const auto half = all_of<decltype(V::a)>(x);
    return V{half, half};
  }
}

#define FB_OPERATOR(OP)                                                                                        \
  template <class V>                                                                                           \
  FB_INLINE auto operator OP(const Two<V>& x, const Two<V>& y) {                                               \
    return Two<decltype(x.a OP y.a)>{x.a OP y.a, x.b OP y.b};                                                  \
  }                                                                                                            \
  template <class V>                                                                                           \
  FB_INLINE auto operator OP(const Two<V>& x, float y) {                                                       \
    return Two<decltype(x.a OP y)>{x.a OP y, x.b OP y};                                                        \
  }                                                                                                            \
  template <class V>                                                                                           \
  FB_INLINE auto operator OP(float x, const Two<V>& y) {                                                       \
    return Two<decltype(x OP y.a)>{x OP y.a, x OP y.b};                                                        \
  }
FB_OPERATOR(+) FB_OPERATOR(-) FB_OPERATOR(*) FB_OPERATOR(/) FB_OPERATOR(<) FB_OPERATOR(<=) FB_OPERATOR(>) FB_OPERATOR(>=)
#undef FB_OPERATOR
#define FB_INTEGER(OP)                                                                                         \
  template <class V>                                                                                           \
  FB_INLINE Two<V> operator OP(const Two<V>& x, int32_t y) {                                                   \
    return Two<V>{x.a OP y, x.b OP y};                                                                         \
  }
FB_INTEGER(&) FB_INTEGER(^) FB_INTEGER(>>)
#undef FB_INTEGER
// Unsigned, as lanes that are not looked at may overflow.
#define FB_WRAPPING(OP, NAME)                                                                                  \
  FB_INLINE IntVector NAME(IntVector x, IntVector y) {                                                         \
    return reinterpret_cast<IntVector>(reinterpret_cast<UintVector>(x) OP reinterpret_cast<UintVector>(y));    \
  }                                                                                                            \
  FB_INLINE Two<IntVector> operator OP(const Two<IntVector>& x, const Two<IntVector>& y) {                     \
    return Two<IntVector>{NAME(x.a, y.a), NAME(x.b, y.b)};                                                     \
  }                                                                                                            \
  FB_INLINE Two<IntVector> operator OP(const Two<IntVector>& x, int32_t y) {                                   \
    return x OP Two<IntVector>{IntVector{} + y, IntVector{} + y};                                              \
  }
FB_WRAPPING(+, wrapping_sum) FB_WRAPPING(-, wrapping_difference) FB_WRAPPING(<<, wrapping_shift)
#undef FB_WRAPPING
#define FB_LOGIC(OP)                                                                                           \
  template <class V>                                                                                           \
  FB_INLINE Two<V> operator OP(const Two<V>& x, const Two<V>& y) {                                             \
    return Two<V>{x.a OP y.a, x.b OP y.b};                                                                     \
  }
FB_LOGIC(&) FB_LOGIC(|) FB_LOGIC(^)
#undef FB_LOGIC
// A function of a vector, and of Two: of its halves.
#define FB_BY_HALVES(NAME)                         \
  template <class V>                               \
  FB_INLINE auto NAME(const Two<V>& x) {           \
    return Two<decltype(NAME(x.a))>{NAME(x.a), NAME(x.b)}; \
  }

FB_INLINE FloatVector from_bits(IntVector x) { return reinterpret_cast<FloatVector>(x); }
FB_INLINE IntVector bits_of(FloatVector x) { return reinterpret_cast<IntVector>(x); }
FB_INLINE FloatVector to_floats(IntVector x) { return __builtin_convertvector(x, FloatVector); }
FB_INLINE IntVector to_ints(FloatVector x) { return __builtin_convertvector(x, IntVector); }
FB_BY_HALVES(from_bits)
FB_BY_HALVES(bits_of)
FB_BY_HALVES(to_floats)
FB_BY_HALVES(to_ints)
template <class F>
FB_INLINE F absolute(const F& x) {
  return from_bits(bits_of(x) & INT32_MAX);
}

FB_INLINE FloatVector select(IntVector mask, FloatVector x, FloatVector y) { return mask ? x : y; }
FB_INLINE IntVector select(IntVector mask, IntVector x, IntVector y) { return mask ? x : y; }
template <class M, class V>
FB_INLINE Two<V> select(const Two<M>& mask, const Two<V>& x, const Two<V>& y) {
  return Two<V>{select(mask.a, x.a, y.a), select(mask.b, x.b, y.b)};
}
// Unaligned. A vector at a time: copied as a whole, a Two would go by way of the stack.
typedef float LooseFloats __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t LooseInts __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
template <class W, class Element>
FB_INLINE W load_as(const Element* from) {
  if constexpr (std::is_same<W, FloatVector>::value) {
    return *reinterpret_cast<const LooseFloats*>(from);
  } else if constexpr (std::is_same<W, IntVector>::value) {
    return *reinterpret_cast<const LooseInts*>(from);
  } else {
    return W{load_as<decltype(W::a)>(from), load_as<decltype(W::b)>(from + sizeof(W) / 8)};
  }
}
template <class Element>
FB_INLINE void store_wide(FloatVector v, Element* to) {
  *reinterpret_cast<LooseFloats*>(to) = v;
}
template <class Element>
FB_INLINE void store_wide(IntVector v, Element* to) {
  *reinterpret_cast<LooseInts*>(to) = v;
}
template <class V, class Element>
FB_INLINE void store_wide(const Two<V>& w, Element* to) {
  store_wide(w.a, to);
  store_wide(w.b, to + sizeof(w) / 8);
}

FB_INLINE FloatVector floats_at(const float* from) { return load_as<FloatVector>(from); }
#if FB_ISA_LEVEL == 2
FB_INLINE FloatVector floats_at(const uint8_t* from) {
  const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  return to_floats(reinterpret_cast<IntVector>(wide));
}
FB_INLINE FloatVector not_positive(FloatVector x) {  // x where it is no number
  return reinterpret_cast<FloatVector>(_mm512_min_ps(__m512{}, reinterpret_cast<__m512>(x)));
}
FB_INLINE FloatVector not_negative(FloatVector x) {
  return reinterpret_cast<FloatVector>(_mm512_max_ps(__m512{}, reinterpret_cast<__m512>(x)));
}
FB_INLINE FloatVector to_whole(FloatVector x) {
  return reinterpret_cast<FloatVector>(_mm512_roundscale_ps(reinterpret_cast<__m512>(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
FB_INLINE FloatVector number_of(FloatVector whole) { return whole; }
FB_INLINE FloatVector times_power(FloatVector p, FloatVector whole) {
  const __m512 n = reinterpret_cast<__m512>(whole);
  const __mmask16 large = _mm512_cmp_ps_mask(n, _mm512_set1_ps(-125.0f), _CMP_GE_OQ);
  return reinterpret_cast<FloatVector>(_mm512_maskz_scalef_ps(large, reinterpret_cast<__m512>(p), n));
}
FB_INLINE FloatVector less_product(FloatVector a, FloatVector n, float c) {
  return reinterpret_cast<FloatVector>(_mm512_fnmadd_ps(reinterpret_cast<__m512>(n), _mm512_set1_ps(c), reinterpret_cast<__m512>(a)));
}
FB_INLINE FloatVector significand(FloatVector a) {
  return reinterpret_cast<FloatVector>(_mm512_getmant_ps(reinterpret_cast<__m512>(a), _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src));
}
// Infinite above 2.552e38, which is 3/4 of the largest float.
FB_INLINE FloatVector log_power(FloatVector a) {
  return reinterpret_cast<FloatVector>(_mm512_getexp_ps(reinterpret_cast<__m512>(a * 1.33333337f)));
}
#else
FB_INLINE FloatVector floats_at(const uint8_t* from) {
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  return to_floats(reinterpret_cast<IntVector>(wide));
}
FB_INLINE FloatVector not_positive(FloatVector x) {
  return reinterpret_cast<FloatVector>(_mm256_min_ps(__m256{}, reinterpret_cast<__m256>(x)));
}
FB_INLINE FloatVector not_negative(FloatVector x) {
  return reinterpret_cast<FloatVector>(_mm256_max_ps(__m256{}, reinterpret_cast<__m256>(x)));
}
FB_INLINE FloatVector to_whole(FloatVector x) { return x + 12582912.0f; }
FB_INLINE FloatVector number_of(FloatVector whole) { return whole - 12582912.0f; }
FB_INLINE FloatVector times_power(FloatVector p, FloatVector whole) {
  const IntVector bits = wrapping_sum(bits_of(p), wrapping_shift(bits_of(whole), IntVector{} + 23));
  return from_bits(bits & (whole >= 12582787.0f));
}
FB_INLINE FloatVector less_product(FloatVector a, FloatVector n, float c) { return a - n * c; }
FB_INLINE FloatVector significand(FloatVector a) {
  const IntVector low = IntVector{} + kLogBits;
  return from_bits(wrapping_sum(wrapping_difference(bits_of(a), low) & 0x7fffff, low));
}
FB_INLINE FloatVector log_power(FloatVector a) { return to_floats((bits_of(a) - kLogBits) >> 23); }
#endif

// Vectors for a polynomial: with a dozen chains of a multiplication and an addition both kinds of units are busy all the
// time; eight leave a quarter of it. As many as AVX-512's registers hold; with AVX2 what was fastest.
constexpr int kChains = FB_ISA_LEVEL == 2 ? 16 : 13;
constexpr int kTogether = kChains * kLanes;
struct Several {
  FloatVector v[kChains];
};

// a x + b. The steps stay apart by what stands between them.
template <size_t... I>
FB_INLINE void next(Several& a, const float* x, FloatVector b, std::index_sequence<I...>) {
  __asm__ volatile("" ::: "memory");
  ((a.v[I] = a.v[I] * load_as<FloatVector>(x + I * kLanes)), ...);
  ((a.v[I] = a.v[I] + b), ...);
}
// A number for all chains. AVX-512 has registers for those of all steps; otherwise g++ would spread them out beforehand
// all the same, and load them for each chain.
FB_INLINE FloatVector in_register(const float& number) {
#if FB_ISA_LEVEL == 2
  return all_of<FloatVector>(number);
#else
  FloatVector all;
  __asm__ volatile("vbroadcastss %1, %0" : "=x"(all) : "m"(number));
  return all;
#endif
}

template <class Series, class Then, size_t... I, size_t... Step>
FB_INLINE void several_polynomials(std::index_sequence<I...> chains, std::index_sequence<Step...>, const float* x, int k, const Then& then) {
  const FloatVector start = in_register(Series::numbers[0]);
  Several poly;
  ((poly.v[I] = start), ...);
  (next(poly, x + k, in_register(Series::numbers[Step + 1]), chains), ...);
  (take(then, k + static_cast<int>(I) * kLanes, poly.v[I]), ...);
}

// take(then, k, values of the polynomial) for `count` elements, or for kTogether where they are fewer. The last ones may be
// computed twice: `then` does not change x.
template <class Series, class Then>
FB_INLINE void polynomials(const float* x, int count, const Then& then) {
  constexpr std::make_index_sequence<kChains> chains{};
  constexpr std::make_index_sequence<Series::size - 1> steps{};
  const int last = count > kTogether ? count - kTogether : 0;
  for (int k = 0; k < last; k += kTogether) several_polynomials<Series>(chains, steps, x, k, then);
  several_polynomials<Series>(chains, steps, x, last, then);
}

#define FB_FLOAT FloatVector
#include "fastblackout/float_parts.h"
#undef FB_FLOAT

#endif
