// Parts of the per-element draws (binomial.h, poisson.h) decided in float32, for the type FB_FLOAT: float for a thread of a GPU
// (fast_element.h), or vectors of floats for loops over many elements (cpu/per_isa/element_fast.inc). This file is included once
// for each type, after FB_INT and FB_MASK, its integers and what its comparisons give, the functions all, select, absolute,
// to_floats, floor_of, sqrt_of, fma, quotient, rough_inverse and fast_exp2, and kRatioSlack have been defined for it.
//
// The trials and inversions of the shared headers are decided in float32 wherever rounding cannot change the outcome. An estimate
// of the acceptance ratio (or of a cumulative sum) has a relative (or absolute) error far below the slack that it is compared
// with. What falls within the slack is neither accepted nor rejected, and the caller draws it again by the exact
// double-precision functions. So results keep their bits, whatever type, whatever instructions and whatever order of operations
// decide most of them.
//
// Bounds of the errors, in units of 2^-24. Square roots and quotients have at most 2.5 units of themselves, rough inverses 2^10
// (2^-14) with vectors and 2 on a GPU, fast_exp2 50 and 4. Uniforms are cut to 31 bits, which leaves v^2 256 units at v = 2^-14, 4
// from 2^-8 on. y has at most 12 units of |y| + 4, against a slack of 16.
// The level, whose terms have one sign but for S, Stirling's corrections, has 28 units of itself, 12 for the polynomials and 50
// for the rough inverse in S; where the ratio is above 2^-14, the level is below 12. Squared ratios have twice that, 296 for the
// factors and v, 50 for fast_exp2 and 400 for the rough inverse in alpha: less than 1,600, or 2^-13.3, against a slack of 2^-11; on
// a GPU less than 1,000, or 2^-14, against 2^-13. A smaller ratio can only reject, since v is at least 2^-14 where a trial is
// decided. Far from the mean, where atanh_tail is beyond its range, it is too small: a level below 12 is at most 0.04 too large
// there, and squared ratios are 8% too small, against a slack of 1/4; where the level is 12 or more it does not come out below that.
// (The squeeze of the shared headers lies 0.4% below the ratio, so what it accepts is never taken for rejected.)
// Cumulative sums have, from their first term, 10 for each unit of its logarithm, which is at most 14, and 50, then 5 for each
// step, of which there are ten on average: less than 250, or 2^-16, against a slack of 2^-15. In a trial with vectors, an eighth of
// the slack of ratios and sums and a quarter of y's, one in 3e8 draws differed from the double-precision ones.

constexpr float kTailSlack = 0.25f, kSumSlack = 0x1p-15f;
constexpr float kFarEdge = 0x1p-7f, kFarRatio = 0x1p-8f;  // a uniform within kFarEdge of an end has a ratio below kFarRatio / 2
constexpr float kFastVariance = 0x1p20f;                   // above it |y| is too large for float32
constexpr uint32_t kFastTrials = 64;  // elements that need more (none has been seen) are drawn exactly
constexpr int kFastSteps = 48;        // a mean below 10 leaves less than 2^-50 of its mass beyond

// A candidate: j = floor(y), the distance of the uniform from its nearer end, and v. far: that distance is below kFarEdge.
struct FastTrial {
  FB_FLOAT edge, j, v;
  FB_MASK far, settled;  // settled: not far, and y not so close to an integer that j may be wrong
};

// What a trial comes to. Where it is neither accepted nor rejected, float32 does not tell.
struct FastDraw {
  FB_FLOAT k;
  FB_MASK accepted, rejected;
};

// shift: how far the mean may be off; scale: a and b, relative to themselves. Both add to the slack of y.
FB_HD FB_FLOAT shifted_slack(const FB_FLOAT& slack, const FB_FLOAT& y, const FB_FLOAT& shift, const FB_FLOAT& scale) {
  return fma(absolute(y) + 1.0f, scale, slack + shift);
}

// u and v: the high words of the two uniforms
template <class... Off>
FB_HD FastTrial fast_candidate(const FB_INT& u, const FB_INT& v, const FB_FLOAT& a, const FB_FLOAT& b, const FB_FLOAT& offset,
                               const Off&... off) {
  const FB_INT centred = u ^ INT32_MIN, half = (centred ^ (centred >> 31)) >> 1;
  const FB_FLOAT edge = to_floats((half ^ -1) + 0x40000001) * 0x1p-31f;
  FastTrial t;
  t.far = edge < kFarEdge;
  t.edge = select(t.far, all(kFarEdge), edge);
  const FB_FLOAT y = fma(quotient(a + a, t.edge) + b, to_floats(centred) * 0x1p-32f, offset);
  t.j = floor_of(y);
  const FB_FLOAT above = y - t.j;
  FB_FLOAT slack = fma(absolute(y), 0x1p-20f, 0x1p-18f);
  if constexpr (sizeof...(Off) > 0) slack = shifted_slack(slack, y, off...);
  t.settled = (above > slack) & (above < 1.0f - slack) & (t.edge > kFarEdge);
  t.v = to_floats((v >> 1) & INT32_MAX) * 0x1p-31f;
  return t;
}

// atanh(v) = v + v^3 atanh_tail(v^2) for v^2 <= kTailRange, within 7e-7
constexpr float kTailRange = 0.4f;

FB_HD FB_FLOAT atanh_tail(const FB_FLOAT& z) {
  const FB_FLOAT z_2 = z * z, low = fma(z, 0.200091109f, 0.333332807f), middle = fma(z, 0.136205211f, 0.140328288f);
  return fma(z_2, fma(z_2, fma(z, 0.266418934f, -0.0166990887f), middle), low);
}

// S(x) + S(y), Stirling's corrections, from 1 / x + 1 / y and 1 / x^3 + 1 / y^3: within 6e-6 for x, y >= 3
FB_HD FB_FLOAT fast_stirling(const FB_FLOAT& sum, const FB_FLOAT& cubes) { return fma(cubes, -0.00277777778f, sum * 0.0833333333f); }

// The draw of a trial, which accepts where (v root)^2 left <= right exp(-2 level). least: the smaller of k + 1 and n - k + 1;
// in_range: whether atanh_tail was; off: what else the ratio of both sides may be off by.
template <class... Off>
FB_HD FastDraw fast_outcome(const FastTrial& t, const FB_FLOAT& k, const FB_FLOAT& level, const FB_FLOAT& root, const FB_FLOAT& left,
                            const FB_FLOAT& right, const FB_FLOAT& least, const FB_MASK& in_range, const Off&... off) {
  const FB_FLOAT scaled = t.v * root, value = (scaled * scaled) * left, bound = right * fast_exp2(level * -2.88539008f);  // 2 / log 2
  const FB_FLOAT margin = bound - value, slack = bound * (select(in_range, all(kRatioSlack), all(kTailSlack)) + ... + off);
  const FB_MASK sure = t.settled & (t.v >= 0x1p-14f) & (least > 0.5f);
  const FB_MASK accepted = sure & (margin > slack), below = sure & (margin < 0.0f - slack);
  const FB_MASK rejected = below | (t.far & (t.v > kFarRatio)) | (t.settled & (least < 0.5f));
  return FastDraw{k, accepted, rejected};
}

// A trial of Poisson's law with the mean whole + part, whole its whole part, of at least 10 and below kFastVariance. doubt: where the
// mean is not known better, how far it may be off, relative to itself; what follows from it is as in fast_binomial_trial.
template <class... Doubt>
FB_HD FastDraw fast_poisson_trial(const FB_FLOAT& whole, const FB_FLOAT& part, const FB_INT& u, const FB_INT& v, const Doubt&... doubt) {
  const FB_FLOAT mean = whole + part, b = fma(sqrt_of(mean), 2.53f, 0.931f), a = fma(b, 0.02483f, -0.059f);
  const FastTrial t = fast_candidate(u, v, a, b, part + 0.43f, mean * doubt..., doubt...);
  const FB_FLOAT k = whole + t.j, x = k + 1.0f, d = (t.j - part) + 1.0f, v_1 = quotient(d, x + mean), z = v_1 * v_1;
  const FB_FLOAT lower = b - 3.4f, inverse = rough_inverse(x * lower), inverse_x = inverse * lower;
  const FB_FLOAT tail = (x * (v_1 * z)) * atanh_tail(z), stirling = fast_stirling(inverse_x, inverse_x * (inverse_x * inverse_x));
  const FB_FLOAT level = fma(d, v_1, stirling) + (tail + tail), square = t.edge * t.edge, hat = fma(b, square, a);
  const FB_FLOAT root = (fma(inverse * x, 1.1328f, 1.1339f) * square) * mean, right = (hat * hat) * x;
  return fast_outcome(t, k, level, root, all(6.28318531f), right, x, z <= kTailRange, fma(absolute(d), 3.0f, 10.0f) * doubt...);
}

// A trial of Binomial(n, p) with the mean whole + part, of at least 10 and with a variance below kFastVariance, and p <= 1/2. q is
// taken as 1 - p in float32: it differs from the q that was given by no more than that rounding. doubt: where the mean is not known
// better, how far it may be off, relative to itself. Then y is off by as much of the mean and of what is added to it; the ratio,
// squared, by eight times as much and by what twice the level has, which is 2 |d| for one of the mean.
template <class... Doubt>
FB_HD FastDraw fast_binomial_trial(const FB_FLOAT& whole, const FB_FLOAT& part, const FB_FLOAT& n, const FB_FLOAT& p,
                                   const FB_INT& u, const FB_INT& v, const Doubt&... doubt) {
  const FB_FLOAT q = 1.0f - p, twice_p = p + p, mean = whole + part, deviation = sqrt_of(mean * q);
  const FB_FLOAT b = fma(deviation, 2.53f, 1.15f), a = fma(p, 0.01f, fma(b, 0.0248f, -0.0873f));
  const FastTrial t = fast_candidate(u, v, a, b, part + 0.5f, mean * doubt..., doubt...);
  const FB_FLOAT k = whole + t.j, x_1 = k + 1.0f, x_2 = (n - k) + 1.0f, both = x_1 * x_2, n_2 = n + 2.0f;
  const FB_FLOAT mean_1 = mean + twice_p, mean_2 = n_2 * q, d = (t.j - part) + (1.0f - twice_p);
  const FB_FLOAT sum_1 = x_1 + mean_1, sum_2 = x_2 + mean_2, shared = quotient(d, sum_1 * sum_2);
  const FB_FLOAT v_1 = shared * sum_2, v_2 = shared * sum_1, z_1 = v_1 * v_1, z_2 = v_2 * v_2;  // v_2: of -d, negated
  const FB_FLOAT tails = (x_1 * (v_1 * z_1)) * atanh_tail(z_1) - (x_2 * (v_2 * z_2)) * atanh_tail(z_2);
  const FB_FLOAT inverse = rough_inverse(both * b), inverse_both = inverse * b, inverses = n_2 * inverse_both;
  const FB_FLOAT stirling = fast_stirling(inverses, inverses * (inverses * inverses - 3.0f * inverse_both));
  const FB_FLOAT level = fma(d, v_1 + v_2, stirling) + (tails + tails), square = t.edge * t.edge, hat = fma(b, square, a);
  const FB_FLOAT alpha = deviation * fma(inverse * both, 5.1f, 2.83f), least = select(x_1 < x_2, x_1, x_2);
  const FB_MASK in_range = (z_1 <= kTailRange) & (z_2 <= kTailRange);
  return fast_outcome(t, k, level, alpha * square, mean_1 * mean_2, (hat * hat) * both, least, in_range,
                      fma(absolute(d), 5.0f, 10.0f) * doubt...);
}

// An inversion sums up mass(0) = 2^exponent, mass(k + 1) = mass(k) factor (n - k) / (k + 1), Poisson's law without n - k.
struct FastSums {
  FB_FLOAT exponent, factor;
};

FB_HD FastSums fast_poisson_sums(const FB_FLOAT& mean) { return FastSums{mean * -1.44269504f, mean}; }

FB_HD FastSums fast_binomial_sums(const FB_FLOAT& n, const FB_FLOAT& p) {
  const FB_FLOAT q = 1.0f - p, s = quotient(p, 1.0f + q), z = s * s;  // log(1 - p) = -2 atanh(p / (2 - p))
  return FastSums{n * (s * fma(z, atanh_tail(z), all(1.0f))) * -2.88539008f, quotient(p, q)};
}
