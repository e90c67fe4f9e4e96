// Body, once for FB_FLOAT = float (portfloat.h) and once for an instruction set's vectors (csrc/cpu/wide.h), in that set's
// namespace: code of a set cannot be inlined into templates compiled for the base set. The polynomials of portfloat.h.

// (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2
FB_HD FB_FLOAT exp_series(FB_FLOAT r) {
  FB_FLOAT poly = 1.39261840e-3f * r + 8.36317893e-3f;
  poly = poly * r + 4.16665561e-2f;
  poly = poly * r + 1.66665763e-1f;
  return poly * r + 0.5f;
}

// e, or what stands for it in a polynomial where it is too small to matter: products of a smaller one would be subnormal,
// which costs a processor a hundred clocks and changes no bit of the result
FB_HD FB_FLOAT no_less(FB_FLOAT e) { return from_bits(larger(bits_of(e), 0x21800000)); }  // 2^-60

// log(1 + e) / e on [0, 1]
FB_HD FB_FLOAT log1p_over(FB_FLOAT e) {
  e = no_less(e);
  FB_FLOAT poly = 2.80164205e-3f * e + -1.71842668e-2f;
  poly = poly * e + 4.93099727e-2f;
  poly = poly * e + -9.13941413e-2f;
  poly = poly * e + 1.30333647e-1f;
  poly = poly * e + -1.63651526e-1f;
  poly = poly * e + 1.99567080e-1f;
  poly = poly * e + -2.49967605e-1f;
  poly = poly * e + 3.33332360e-1f;
  poly = poly * e + -0.5f;
  return 1.0f + e * poly;
}

// -log(log1p(e) / e) on [0, 1]
FB_HD FB_FLOAT log_shrinkage(FB_FLOAT e) {
  e = no_less(e);
  FB_FLOAT poly = -9.52462608e-4f * e + 5.89663163e-3f;
  poly = poly * e + -1.71796735e-2f;
  poly = poly * e + 3.26602571e-2f;
  poly = poly * e + -4.85501290e-2f;
  poly = poly * e + 6.49938285e-2f;
  poly = poly * e + -8.70119557e-2f;
  poly = poly * e + 1.24989443e-1f;
  poly = poly * e + -2.08333015e-1f;
  return e * (poly * e + 0.5f);
}

// (log(1 + f) - f + f^2 / 2) / f^3 for 1 + f in [sqrt(1/2), sqrt(2))
FB_HD FB_FLOAT log_series(FB_FLOAT f) {
  FB_FLOAT poly = 6.97161183e-2f * f + -1.14797339e-1f;
  poly = poly * f + 1.16854198e-1f;
  poly = poly * f + -1.24256872e-1f;
  poly = poly * f + 1.42490581e-1f;
  poly = poly * f + -1.66678026e-1f;
  poly = poly * f + 2.00007156e-1f;
  poly = poly * f + -2.49999970e-1f;
  return poly * f + 3.33333313e-1f;
}
