// The instructions that compute: values as bits, and what C++ has no operator for. The words of the PTX ISA are followed also
// where x86 does otherwise. Compiled with -fwrapv, without contraction.
#pragma once

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace ptx {

struct Finder;

// How approximate instructions err within what the ISA states: 0 not, 1 as far up as they may, -1 down, 2 anyhow.
struct Settings {
  int32_t approximations = 0;
  uint64_t poison = 0x5a5a5a5a5a5a5a5au;  // what registers and local memory hold before they are written
  const Finder* races = nullptr;          // null: nobody looks for races
};
inline Settings settings;

typedef _Float16 half;

template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T each[N];
};

template <class T>
struct Two {
  T first;
  bool second;
};

template <size_t N>
using Bits = std::conditional_t<N <= 2, std::conditional_t<N == 1, uint8_t, uint16_t>, std::conditional_t<N == 4, uint32_t, uint64_t>>;

template <class T, class B>
inline T from_bits(B bits) {
  static_assert(sizeof(T) == sizeof(B), "one size");
  return __builtin_bit_cast(T, bits);
}

// A float32 whose fraction has 7 bits, rounded to nearest even.
struct bfloat {
  uint16_t bits;

  bfloat() = default;
  explicit bfloat(float x) {
    const uint32_t whole = from_bits<uint32_t>(x);
    bits = static_cast<uint16_t>(x != x ? whole >> 16 | 1 : (whole + 0x7fff + (whole >> 16 & 1)) >> 16);
  }
  operator float() const { return from_bits<float>(static_cast<uint32_t>(bits) << 16); }
};

// The bits of what an instruction has computed.
template <class T>
inline auto bits_of(T x) {
  if constexpr (std::is_same_v<T, bool>) return x;
  else {
    using B = Bits<sizeof(T)>;
    if constexpr (!std::is_integral_v<T>)
      if (x != x) return static_cast<B>(std::numeric_limits<B>::max() >> 1);
    return __builtin_bit_cast(B, x);
  }
}

// Integers

template <class T>
using Twice = std::conditional_t<std::is_signed_v<T>, std::conditional_t<sizeof(T) == 8, __int128, int64_t>,
                                 std::conditional_t<sizeof(T) == 8, unsigned __int128, uint64_t>>;
template <class T> constexpr uint32_t width = 8 * sizeof(T);
template <class T> constexpr T top_bit = static_cast<T>(T{1} << (width<T> - 1));

template <class T>
inline T high_product(T a, T b) {
  return static_cast<T>(Twice<T>(a) * Twice<T>(b) >> width<T>);
}
// By 0 the ISA specifies nothing: all ones here.
template <class T>
inline T quotient(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(-a);  // which overflows
  return static_cast<T>(a / b);
}
template <class T>
inline T remainder(T a, T b) {
  return b == 0 ? static_cast<T>(-1) : static_cast<T>(a - quotient(a, b) * b);
}
template <class T> inline T least_integer(T a, T b) { return a < b ? a : b; }
template <class T> inline T greatest_integer(T a, T b) { return a > b ? a : b; }
template <class T>
inline T half_of(uint32_t a, int upper) {
  return from_bits<T>(static_cast<uint16_t>(a >> 16 * upper));
}
template <class T>
inline uint32_t two_halves(T lower, T upper) {
  return bits_of(lower) | static_cast<uint32_t>(bits_of(upper)) << 16;
}
template <class T>
inline uint32_t by_halves(T (*f)(T, T), uint32_t a, uint32_t b) {
  return two_halves(f(half_of<T>(a, 0), half_of<T>(b, 0)), f(half_of<T>(a, 1), half_of<T>(b, 1)));
}
template <class B> inline uint32_t ones(B a) { return static_cast<uint32_t>(__builtin_popcountll(a)); }
template <class B>
inline uint32_t leading_zeros(B a) {
  uint32_t n = 0;
  while (n < width<B> && (a >> (width<B> - 1 - n) & 1) == 0) ++n;
  return n;
}
template <class T>
inline uint32_t shift_of_highest_bit(T a) {
  using B = std::make_unsigned_t<T>;
  const uint32_t zeros = leading_zeros(static_cast<B>(a < 0 ? ~a : a));
  return zeros == width<T> ? ~0u : zeros;
}
template <class T>
inline uint32_t highest_bit(T a) {
  const uint32_t shift = shift_of_highest_bit(a);
  return shift == ~0u ? shift : width<T> - 1 - shift;
}
template <class B>
inline B reversed(B a) {
  B y = 0;
  for (uint32_t i = 0; i < width<B>; ++i) y |= (a >> i & 1) << (width<B> - 1 - i);
  return y;
}
template <class T>
inline T extracted(T a, uint32_t b, uint32_t c) {
  const uint32_t most = width<T> - 1, pos = b & 255, len = c & 255;
  const bool sign = std::is_signed_v<T> && len != 0 && (a >> (pos + len - 1 < most ? pos + len - 1 : most) & 1) != 0;
  T d = 0;
  for (uint32_t i = 0; i <= most; ++i) d |= static_cast<T>(i < len && pos + i <= most ? a >> (pos + i) & 1 : T{sign}) << i;
  return d;
}
template <class B>
inline B inserted(B a, B b, uint32_t c, uint32_t d) {
  const uint32_t pos = c & 255, len = d & 255;
  for (uint32_t i = 0; i < len && pos + i < width<B>; ++i) b = (b & ~(B{1} << (pos + i))) | (a >> i & 1) << (pos + i);
  return b;
}
inline uint32_t permuted(uint32_t a, uint32_t b, uint32_t c) {
  const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  uint32_t d = 0;
  for (int k = 0; k < 4; ++k) {
    const uint32_t select = c >> 4 * k & 15, byte = bytes >> 8 * (select & 7) & 255;
    d |= (select & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * k;
  }
  return d;
}
inline uint32_t by_table(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t d = 0;
  for (int k = 0; k < 8; ++k)
    if (table >> k & 1) d |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
  return d;
}
template <class B> inline B shifted_left(B a, uint32_t b) { return b >= width<B> ? 0 : static_cast<B>(a << b); }
template <class T>
inline T shifted_right(T a, uint32_t b) {
  if (b >= width<T>) return a < 0 ? static_cast<T>(-1) : 0;
  return static_cast<T>(a >> b);
}
inline uint32_t wrap(uint32_t c) { return c & 31; }
inline uint32_t clamp(uint32_t c) { return c < 32 ? c : 32; }
inline uint64_t joined(uint32_t low, uint32_t high) { return static_cast<uint64_t>(high) << 32 | low; }
inline uint32_t funnel_l(uint32_t a, uint32_t b, uint32_t n) { return n == 32 ? a : static_cast<uint32_t>(joined(a, b) << n >> 32); }
inline uint32_t funnel_r(uint32_t a, uint32_t b, uint32_t n) { return static_cast<uint32_t>(joined(a, b) >> n); }

// Floats

inline float flushed(float x) { return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }

enum Direction { rz = FE_TOWARDZERO, rm = FE_DOWNWARD, rp = FE_UPWARD };
template <class T> T sum(T a, T b) { return a + b; }
template <class T> T product(T a, T b) { return a * b; }
template <class T> T ratio(T a, T b) { return a / b; }
template <class D, class T> D converted(T a) { return static_cast<D>(a); }
template <Direction towards, class F, class... T>
__attribute__((noinline)) auto directed(F f, T... given) {
  const int before = std::fegetround();
  std::fesetround(towards);
  F volatile hidden = f;  // computed here, not before
  volatile auto made = hidden(given...);
  std::fesetround(before);
  return static_cast<std::decay_t<decltype(made)>>(made);
}

template <class T>
inline T least(T a, T b) {  // of a NaN and a number the number; -0 is less than 0
  if (a != a) return b;
  if (b != b) return a;
  if (a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}
template <class T> inline T rni(T x) { return std::nearbyint(x); }
template <class T> inline T rzi(T x) { return std::trunc(x); }
template <class T> inline T rmi(T x) { return std::floor(x); }
template <class T> inline T rpi(T x) { return std::ceil(x); }

// A whole number as an integer, clamped to its range.
template <class D, class T>
inline D to_integer(T whole) {
  if (whole != whole) return sizeof(T) < 8 && sizeof(D) < 8 ? 0 : static_cast<D>(static_cast<D>(1) << (width<D> - 1));
  const T end = std::ldexp(T{1}, std::is_signed_v<D> ? width<D> - 1 : width<D>);
  if (whole >= end) return std::numeric_limits<D>::max();
  if (whole < (std::is_signed_v<D> ? -end : T{0})) return std::numeric_limits<D>::min();
  return static_cast<D>(whole);
}

// A float32 that errs from `exact` by no more than `bound`, as the settings say.
inline float erring(double exact, double bound) {
  float best = static_cast<float>(exact);
  if (settings.approximations == 0 || best != best || best == 0 || std::isinf(best)) return best;
  int32_t seed = static_cast<int32_t>(from_bits<uint32_t>(best) * 2654435761u >> 16 & 7);
  const bool up = settings.approximations == 2 ? seed & 1 : settings.approximations > 0;
  for (int left = settings.approximations == 2 ? seed >> 1 : 8; left > 0; --left) {
    const float next = std::nextafter(best, up ? HUGE_VALF : -HUGE_VALF);
    if (std::fabs(static_cast<double>(next) - exact) > bound || next == 0) break;
    best = next;
  }
  return best;
}
inline double unit_of(double x) { return std::ldexp(1.0, std::max(std::ilogb(x), -126) - 23); }
inline float rough_inverse(float a) {
  const double exact = 1 / static_cast<double>(a);
  if (a == 0 || std::isinf(a) || a != a) return static_cast<float>(exact);
  return erring(exact, unit_of(exact));  // 1 unit in the last place
}
inline float rough_sqrt(float a) {
  const double exact = std::sqrt(static_cast<double>(a));
  return erring(exact, exact * 0x1p-23);  // 2^-23 of itself
}
inline float rough_exp2(float a) {
  const float rounded = static_cast<float>(std::exp2(static_cast<double>(a)));
  if (a == 0 || rounded == 0 || std::isinf(rounded) || rounded != rounded) return rounded;
  return erring(rounded, 2 * unit_of(rounded));  // 2 units from the correctly rounded result
}

// Comparisons

inline Two<bool> both(bool p) { return {p, !p}; }
inline Two<bool> both_and(bool p, bool c) { return {p && c, !p && c}; }
inline Two<bool> both_or(bool p, bool c) { return {p || c, !p || c}; }
inline Two<bool> both_xor(bool p, bool c) { return {p != c, p == c}; }
template <class T> inline bool numbers(T a, T b) { return a == a && b == b; }
template <class T> inline bool num(T, T) { return true; }
template <class T> inline bool nan(T, T) { return false; }
template <class T> inline bool eq(T a, T b) { return a == b; }
template <class T> inline bool ne(T a, T b) { return a != b; }
template <class T> inline bool lt(T a, T b) { return a < b; }
template <class T> inline bool le(T a, T b) { return a <= b; }
template <class T> inline bool gt(T a, T b) { return a > b; }
template <class T> inline bool ge(T a, T b) { return a >= b; }
template <class T>
inline Two<bool> ordered_halves(bool (*compare)(T, T), uint32_t a, uint32_t b) {
  bool made[2];
  for (int i = 0; i < 2; ++i) {
    const T x = half_of<T>(a, i), y = half_of<T>(b, i);
    made[i] = numbers(x, y) && compare(x, y);
  }
  return {made[0], made[1]};
}
#define PTX_ALIAS(name, as) template <class T> inline bool name(T a, T b) { return as(a, b); }
PTX_ALIAS(lo, lt) PTX_ALIAS(ls, le) PTX_ALIAS(hi, gt) PTX_ALIAS(hs, ge)
PTX_ALIAS(equ, eq) PTX_ALIAS(neu, ne) PTX_ALIAS(ltu, lt) PTX_ALIAS(leu, le) PTX_ALIAS(gtu, gt) PTX_ALIAS(geu, ge)
#undef PTX_ALIAS

}  // namespace ptx
