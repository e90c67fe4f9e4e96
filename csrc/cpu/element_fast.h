// Body, once per instruction set with vectors: the trials and inversions of the shared headers decided in float32 wherever
// rounding cannot change the outcome. An estimate of the acceptance ratio (or of a cumulative sum) carries a relative (or
// absolute) error far below the slack it is compared with; what falls within the slack is left `unsure`, and the caller
// draws it again by the exact double-precision functions. So results keep their bits, whatever vectors and whatever order
// of operations decide most of them.
//
// Errors, in units of 2^-24. 2^-31 of a uniform is cut off. y: at most 8 of |y| + 4, against a slack of 16. The level, whose
// terms but for S have one sign: 16 of itself, 12 for the polynomials and 50 for S by a rough inverse; above a ratio of 2^-14
// it is below 12. Squared ratios: twice that, 24 for the factors, 50 for fast_exp2 and 400 for the rough inverse in alpha:
// less than 1,100, 2^-13, against a slack of 2^-11; a smaller ratio only rejects, with a v of at least 2^-14. (The squeeze of
// the shared headers lies 0.4% below the ratio, so what it accepts is never taken for rejected.) Cumulative sums: of the
// first term 9 for each unit of its logarithm, which is at most 14, and 50; 4 for each step, of which there are ten on
// average: less than 220, 2^-16, against a slack of 2^-15. With an eighth of the slack of ratios and sums and a quarter of
// that of y, one in 3e8 draws differed from the double-precision ones.

// A law's `prepare` fills kFast float32 fields of each element; fast_trials and fast_inversions set k[e] and state[e], an
// Outcome, of `m` elements from their fields and high words; finish_all turns k into results. m is a multiple of kWide.
enum Outcome : int32_t { kAccepted = 0, kRejected = 1, kUnsure = 2, kInverted = 3 };

constexpr float kRatioSlack = 0x1p-11f, kSumSlack = 0x1p-15f;
constexpr float kFarEdge = 0x1p-7f, kFarRatio = 0x1p-8f;  // a candidate within kFarEdge of an end has a ratio below half kFarRatio
constexpr float kFastVariance = 0x1p20f;                   // above it |y| is too large for float32

// Two vectors side by side, operation by operation: a trial is one long chain of dependent steps, and the processor looks
// only about a hundred of them ahead.
constexpr int kLanes = FB_ISA_LEVEL == 2 ? 16 : 8, kWide = 2 * kLanes;
typedef float FloatVector __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntVector __attribute__((vector_size(4 * kLanes)));
typedef uint32_t UintVector __attribute__((vector_size(4 * kLanes)));

struct Ints {
  IntVector v[2];
};
struct Floats {
  FloatVector v[2];
};

static inline Ints constant(int32_t x) { return Ints{{IntVector{} + x, IntVector{} + x}}; }
static inline Floats all(float x) { return Floats{{FloatVector{} + x, FloatVector{} + x}}; }

#define FB_ARITHMETIC(OP)                                                                                             \
  static inline Floats operator OP(const Floats& a, const Floats& b) { return Floats{{a.v[0] OP b.v[0], a.v[1] OP b.v[1]}}; } \
  static inline Floats operator OP(const Floats& a, float b) { return Floats{{a.v[0] OP b, a.v[1] OP b}}; }           \
  static inline Floats operator OP(float a, const Floats& b) { return Floats{{a OP b.v[0], a OP b.v[1]}}; }
FB_ARITHMETIC(+) FB_ARITHMETIC(-) FB_ARITHMETIC(*)
#if FB_ISA_LEVEL != 2
FB_ARITHMETIC(/)
#endif
#undef FB_ARITHMETIC
#define FB_COMPARISON(OP)                                                                                             \
  static inline Ints operator OP(const Floats& a, const Floats& b) { return Ints{{a.v[0] OP b.v[0], a.v[1] OP b.v[1]}}; } \
  static inline Ints operator OP(const Floats& a, float b) { return Ints{{a.v[0] OP b, a.v[1] OP b}}; }
FB_COMPARISON(<) FB_COMPARISON(<=) FB_COMPARISON(>) FB_COMPARISON(>=)
#undef FB_COMPARISON
#define FB_INTEGER(OP)                                                                                                \
  static inline Ints operator OP(const Ints& a, const Ints& b) { return Ints{{a.v[0] OP b.v[0], a.v[1] OP b.v[1]}}; } \
  static inline Ints operator OP(const Ints& a, int32_t b) { return Ints{{a.v[0] OP b, a.v[1] OP b}}; }
FB_INTEGER(&) FB_INTEGER(|) FB_INTEGER(^) FB_INTEGER(>>)
#undef FB_INTEGER
// Unsigned, as lanes that are not looked at may overflow
static inline UintVector bits_of(const IntVector& x) { return reinterpret_cast<UintVector>(x); }
static inline IntVector value_of(const UintVector& x) { return reinterpret_cast<IntVector>(x); }
#define FB_WRAPPING(OP)                                                                         \
  static inline Ints operator OP(const Ints& a, const Ints& b) {                                \
    return Ints{{value_of(bits_of(a.v[0]) OP bits_of(b.v[0])), value_of(bits_of(a.v[1]) OP bits_of(b.v[1]))}}; \
  }                                                                                             \
  static inline Ints operator OP(const Ints& a, int32_t b) {                                    \
    const uint32_t by = static_cast<uint32_t>(b);                                               \
    return Ints{{value_of(bits_of(a.v[0]) OP by), value_of(bits_of(a.v[1]) OP by)}};            \
  }
FB_WRAPPING(+) FB_WRAPPING(-) FB_WRAPPING(<<)
#undef FB_WRAPPING

static inline Floats select(const Ints& mask, const Floats& a, const Floats& b) {
  return Floats{{mask.v[0] ? a.v[0] : b.v[0], mask.v[1] ? a.v[1] : b.v[1]}};
}
static inline Ints select(const Ints& mask, const Ints& a, const Ints& b) {
  return Ints{{mask.v[0] ? a.v[0] : b.v[0], mask.v[1] ? a.v[1] : b.v[1]}};
}
static inline Floats to_floats(const Ints& x) {
  return Floats{{__builtin_convertvector(x.v[0], FloatVector), __builtin_convertvector(x.v[1], FloatVector)}};
}
static inline Ints to_ints(const Floats& x) {
  return Ints{{__builtin_convertvector(x.v[0], IntVector), __builtin_convertvector(x.v[1], IntVector)}};
}
static inline Floats as_floats(const Ints& x) {
  return Floats{{reinterpret_cast<FloatVector>(x.v[0]), reinterpret_cast<FloatVector>(x.v[1])}};
}
static inline Ints as_ints(const Floats& x) {
  return Ints{{reinterpret_cast<IntVector>(x.v[0]), reinterpret_cast<IntVector>(x.v[1])}};
}
static inline Floats absolute(const Floats& x) { return as_floats(as_ints(x) & INT32_MAX); }

template <class Wide, class Element>
static inline Wide load_wide(const Element* from) {
  Wide w;
  std::memcpy(&w, from, sizeof(w));
  return w;
}
template <class Wide, class Element>
static inline void store_wide(const Wide& w, Element* to) {
  std::memcpy(to, &w, sizeof(w));
}

// a b + c, however it rounds
#if FB_ISA_LEVEL == 2
static inline FloatVector fma_of(FloatVector a, FloatVector b, FloatVector c) {
  return reinterpret_cast<FloatVector>(_mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
}
#else
static inline FloatVector fma_of(FloatVector a, FloatVector b, FloatVector c) { return a * b + c; }
#endif
#if FB_ISA_LEVEL == 2
static inline FloatVector quotient(FloatVector a, FloatVector b) {
  const __m512 y = reinterpret_cast<__m512>(b), x = reinterpret_cast<__m512>(a), r = _mm512_rcp14_ps(y), q = _mm512_mul_ps(x, r);
  return reinterpret_cast<FloatVector>(_mm512_fmadd_ps(_mm512_fnmadd_ps(q, y, x), r, q));
}
static inline Floats operator/(const Floats& a, const Floats& b) { return Floats{{quotient(a.v[0], b.v[0]), quotient(a.v[1], b.v[1])}}; }
static inline Floats operator/(float a, const Floats& b) { return all(a) / b; }
#endif
static inline Floats fma(const Floats& a, const Floats& b, const Floats& c) {
  return Floats{{fma_of(a.v[0], b.v[0], c.v[0]), fma_of(a.v[1], b.v[1], c.v[1])}};
}
static inline Floats fma(const Floats& a, const Floats& b, float c) { return fma(a, b, all(c)); }
static inline Floats fma(const Floats& a, float b, float c) { return fma(a, all(b), all(c)); }
static inline Floats fma(const Floats& a, float b, const Floats& c) { return fma(a, all(b), c); }

#if FB_ISA_LEVEL == 2
static inline Floats sqrt_of(const Floats& x) {
  return Floats{{reinterpret_cast<FloatVector>(_mm512_sqrt_ps(reinterpret_cast<__m512>(x.v[0]))),
                 reinterpret_cast<FloatVector>(_mm512_sqrt_ps(reinterpret_cast<__m512>(x.v[1])))}};
}
static inline Floats floor_of(const Floats& x) {
  return Floats{{reinterpret_cast<FloatVector>(_mm512_floor_ps(reinterpret_cast<__m512>(x.v[0]))),
                 reinterpret_cast<FloatVector>(_mm512_floor_ps(reinterpret_cast<__m512>(x.v[1])))}};
}
// 1 / x within 2^-14 of itself
static inline Floats rough_inverse(const Floats& x) {
  return Floats{{reinterpret_cast<FloatVector>(_mm512_rcp14_ps(reinterpret_cast<__m512>(x.v[0]))),
                 reinterpret_cast<FloatVector>(_mm512_rcp14_ps(reinterpret_cast<__m512>(x.v[1])))}};
}
static inline bool any(const Ints& mask) {
  const __m512i bits = reinterpret_cast<__m512i>(mask.v[0] | mask.v[1]);
  return _mm512_test_epi32_mask(bits, bits) != 0;
}
#else
static inline Floats sqrt_of(const Floats& x) {
  return Floats{{reinterpret_cast<FloatVector>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x.v[0]))),
                 reinterpret_cast<FloatVector>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x.v[1])))}};
}
static inline Floats floor_of(const Floats& x) {
  return Floats{{reinterpret_cast<FloatVector>(_mm256_floor_ps(reinterpret_cast<__m256>(x.v[0]))),
                 reinterpret_cast<FloatVector>(_mm256_floor_ps(reinterpret_cast<__m256>(x.v[1])))}};
}
static inline Floats rough_inverse(const Floats& x) { return 1.0f / x; }
static inline bool any(const Ints& mask) {
  const __m256i bits = reinterpret_cast<__m256i>(mask.v[0] | mask.v[1]);
  return _mm256_testz_si256(bits, bits) == 0;
}
#endif

// A candidate: j = floor(y), the distance of the uniform from its nearest end, and v. far: very near an end.
struct FastTrial {
  Floats edge, j, v;
  Ints far, settled;  // settled: not far, and y not so close to an integer that j may be wrong
};

static inline FastTrial fast_candidate(const Ints& u, const Ints& v, const Floats& a, const Floats& b, const Floats& offset) {
  const Ints centred = u ^ INT32_MIN, half = (centred ^ (centred >> 31)) >> 1;
  const Floats edge = to_floats((half ^ -1) + 0x40000001) * 0x1p-31f;
  FastTrial t;
  t.far = edge < kFarEdge;
  t.edge = select(t.far, all(kFarEdge), edge);
  const Floats y = fma((a + a) / t.edge + b, to_floats(centred) * 0x1p-32f, offset);
  t.j = floor_of(y);
  const Floats above = y - t.j, slack = fma(absolute(y), 0x1p-20f, 0x1p-18f);
  t.settled = (above > slack) & (above < 1.0f - slack) & (t.edge > kFarEdge);
  t.v = to_floats((v >> 1) & INT32_MAX) * 0x1p-31f;
  return t;
}

// atanh(v) = v + v^3 atanh_tail(v^2) for v^2 <= kTailRange, within 7e-7
constexpr float kTailRange = 0.4f;

static inline Floats atanh_tail(const Floats& z) {
  const Floats z_2 = z * z, low = fma(z, 0.200091109f, 0.333332807f), middle = fma(z, 0.136205211f, 0.140328288f);
  return fma(z_2, fma(z_2, fma(z, 0.266418934f, -0.0166990887f), middle), low);
}

// 2^t for t in [-100, 0], relative error 3e-6; below, at most 2^-99
static inline Floats fast_exp2(const Floats& t) {
  const Floats clamped = select(t < -100.0f, all(-100.0f), t), shifted = clamped + 12582912.0f;  // 1.5 * 2^23
  const Floats r = clamped - (shifted - 12582912.0f), r_2 = r * r;
  const Floats low = fma(r, 0.693121016f, 1.00000012f), high = fma(r, 0.0559220351f, 0.240221068f);
  return as_floats(as_ints(fma(r_2, fma(r_2, 0.00967603736f, high), low)) + (as_ints(shifted) << 23));  // 0.7 to 1.5, scaled
}

// S(x) + S(y), Stirling's corrections, from 1 / x + 1 / y and 1 / x^3 + 1 / y^3: within 6e-6 for x, y >= 3
static inline Floats fast_stirling(const Floats& sum, const Floats& cubes) { return fma(cubes, -0.00277777778f, sum * 0.0833333333f); }

// Accepted where (v root)^2 left <= right exp(-2 level). least: the smallest of k + 1 and n - k + 1; in_range: level is good
static inline Ints fast_outcome(const FastTrial& t, const Floats& level, const Floats& root, const Floats& left, const Floats& right,
                                const Floats& least, const Ints& in_range) {
  const Floats scaled = t.v * root, value = (scaled * scaled) * left, bound = right * fast_exp2(level * -2.88539008f);  // 2 / log 2
  const Floats margin = bound - value, slack = bound * kRatioSlack;
  const Ints sure = t.settled & in_range & (t.v >= 0x1p-14f), accepted = sure & (margin > slack);
  const Ints rejected = (sure & (margin < 0.0f - slack)) | (t.far & (t.v > kFarRatio)) | (t.settled & (least < 0.5f));
  return ((rejected & (kRejected ^ kUnsure)) ^ kUnsure) & (accepted ^ -1);  // kAccepted is 0
}

// A rate below 10 has less than 2^-50 of its mass beyond kFastSteps.
constexpr int kFastSteps = 48;
struct Inverses {
  float of[kFastSteps];
  constexpr Inverses() : of{} {
    for (int step = 0; step < kFastSteps; ++step) of[step] = 1.0f / static_cast<float>(step + 1);
  }
};
constexpr Inverses kInverses;

// k[e], and state[e], kAccepted or kUnsure, of inversions by the high words of trial 0; m a multiple of kWide. Of Poisson,
// small is the rate and n is not read. k counts the cumulative sums at or below u, of mass(k + 1) = mass(k) odds (n - k) /
// (k + 1), without odds (n - k) but the rate for Poisson; `nearest` is the smallest distance of u from a sum.
template <bool Finite>
static void fast_sums(int m, const float* n, const float* small, const uint32_t* words, float* k, int32_t* state) {
  for (int e = 0; e < m; e += kWide) {
    const Floats u = to_floats((load_wide<Ints>(words + e) >> 1) & INT32_MAX) * 0x1p-31f, p = load_wide<Floats>(small + e);
    Floats exponent = p * -1.44269504f, factor = p, left = {};  // exponent: of 2, of the first term
    if constexpr (Finite) {
      const Floats q = 1.0f - p, s = p / (1.0f + q), z = s * s;  // log(1 - p) = -2 atanh(p / (2 - p))
      left = load_wide<Floats>(n + e);
      exponent = left * (s * fma(z, atanh_tail(z), all(1.0f))) * -2.88539008f;
      factor = p / q;
    }
    Floats mass = fast_exp2(exponent), cdf = mass, nearest = all(1.0f);
    Ints counted = {};
    for (int step = 0; step < kFastSteps; ++step) {
      const Floats above = u - cdf, distance = absolute(above);
      const Ints on = above >= 0.0f;
      nearest = select(distance < nearest, distance, nearest);
      counted = counted - on;
      if (!any(on)) break;
      if constexpr (Finite) mass = mass * ((left - static_cast<float>(step)) * (factor * kInverses.of[step]));
      else mass = mass * (factor * kInverses.of[step]);
      cdf = cdf + mass;
    }
    store_wide(to_floats(counted), k + e);
    store_wide((nearest <= kSumSlack) & static_cast<int32_t>(kUnsure), state + e);
  }
}
