// Body, once per instruction set: several vectors side by side, operation by operation. A function of one element is one
// long chain of dependent steps, and the processor looks only about a hundred vector instructions ahead: chains that take
// turns keep it busy. Two<FloatVector> is two of them, Two<Two<FloatVector>> four; Wide is what series.h works on here.

#define FB_INLINE static inline __attribute__((always_inline))

#if FB_ISA_LEVEL == 0

// Plain floats: the base set's vectors come from the compiler.
typedef float Wide;
constexpr int kWide = 1;
template <class W>
FB_INLINE W load_as(const float* from) {
  return *from;
}
FB_INLINE void store_wide(float w, float* to) { *to = w; }

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
template <class V>
FB_INLINE Two<V> operator-(const Two<V>& x) {
  return Two<V>{-x.a, -x.b};
}

// A function of a vector, of Two, and so on: of its halves.
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
template <class M, class V>
FB_INLINE Two<V> select(const Two<M>& mask, float x, const Two<V>& y) {
  return select(mask, all_of<Two<V>>(x), y);
}
template <class M, class V>
FB_INLINE Two<V> select(const Two<M>& mask, const Two<V>& x, float y) {
  return select(mask, x, all_of<Two<V>>(y));
}

FB_INLINE IntVector larger(IntVector x, int32_t least) {
  const IntVector floor = IntVector{} + least;
  return x > floor ? x : floor;
}
template <class V>
FB_INLINE Two<V> larger(const Two<V>& x, int32_t least) {
  return Two<V>{larger(x.a, least), larger(x.b, least)};
}

// As many chains as there are registers for.
#if FB_ISA_LEVEL == 2
typedef Two<Two<Two<FloatVector>>> Wide;
#else
typedef Two<Two<FloatVector>> Wide;
#endif
constexpr int kWide = static_cast<int>(sizeof(Wide) / 4);

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

#define FB_FLOAT Wide
#include "fastblackout/series.h"
#undef FB_FLOAT

#endif

FB_INLINE Wide load_wide(const float* from) { return load_as<Wide>(from); }

// What kernels on Wide fill their buffers up to; a divisor of kChunk.
constexpr int padded_to_wide(int count) { return (count + kWide - 1) / kWide * kWide; }
