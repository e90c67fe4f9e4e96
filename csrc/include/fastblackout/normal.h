// A standard normal number from 64 random bits: the inverse distribution function by Wichura's PPND16 (Algorithm AS 241, 1988).
// Twin: fastblackout/reference/normal.py, whose docstring says what the bits stand for and derives the error bound.
#pragma once

#include "fastblackout/portfloat.h"

namespace fastblackout {

template <class... Number>
FB_HD double polynomial(double x, double poly, Number... rest) {
  ((poly = poly * x + rest), ...);
  return poly;
}

// h of a tail is below this: v below 0.075 + 3e-11
constexpr uint32_t kNormalCentre = 322122548;

FB_HD uint32_t below_sign(uint32_t high) { return high & 0x7fffffffu; }

// Of the 63 bits below the sign, k = h 2^32 + l: v = (k + 1/2) 2^-64 and q = 1/2 - v, each rounded once.
struct NormalTail {
  double v, q;
};

FB_HD NormalTail normal_tail(uint32_t high, uint32_t low) {
  const double upper = static_cast<double>(static_cast<int32_t>(below_sign(high))) * 0x1p-32;
  // l + 1/2, exactly: as a signed number, which every processor converts, l lacks 2^31
  const double lower = (static_cast<double>(static_cast<int32_t>(low ^ 0x80000000u)) + 2147483648.5) * 0x1p-64;
  return NormalTail{upper + lower, (0.5 - upper) - lower};
}

// |z| where h >= kNormalCentre; finite for every q in [0, 1/2]
FB_HD double normal_centre(double q) {
  const double x = 0.180625 - q * q;
  const double top = polynomial(x, 2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987, 13731.69376550946,
                                1971.5909503065513, 133.14166789178438, 3.3871328727963665);
  const double bottom = polynomial(x, 5226.495278852854, 28729.085735721943, 39307.89580009271, 21213.794301586597,
                                   5394.196021424751, 687.1870074920579, 42.31333070160091, 1.0);
  return (q * top) / bottom;
}

// Elsewhere, of r = normal_root(v): r <= 5, and above
FB_HD double normal_root(double v) { return portable_sqrt(-portable_log(v)); }

FB_HD double normal_near(double r) {
  const double x = r - 1.6;
  const double top = polynomial(x, 0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684,
                                3.6478483247632045, 5.769497221460691, 4.630337846156546, 1.4234371107496835);
  const double bottom = polynomial(x, 1.0507500716444169e-09, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008,
                                   0.6897673349851, 1.6763848301838038, 2.053191626637759, 1.0);
  return top / bottom;
}

FB_HD double normal_far(double r) {
  const double x = r - 5.0;
  const double top = polynomial(x, 2.0103343992922881e-07, 2.7115555687434876e-05, 0.0012426609473880784, 0.026532189526576124,
                                0.29656057182850487, 1.7848265399172913, 5.463784911164114, 6.657904643501103);
  const double bottom = polynomial(x, 2.0442631033899397e-15, 1.421511758316446e-07, 1.8463183175100548e-05, 0.0007868691311456133,
                                   0.014875361290850615, 0.1369298809227358, 0.599832206555888, 1.0);
  return top / bottom;
}

FB_HD double with_sign(double magnitude, uint32_t high) {  // the sign of the top bit; magnitude >= 0
  return bit_cast<double>(bit_cast<uint64_t>(magnitude) | static_cast<uint64_t>(high & 0x80000000u) << 32);
}

FB_HD double standard_normal(uint32_t high, uint32_t low) {
  const NormalTail t = normal_tail(high, low);
  double z;
  if (below_sign(high) >= kNormalCentre) {
    z = normal_centre(t.q);
  } else {
    const double r = normal_root(t.v);
    z = r <= 5.0 ? normal_near(r) : normal_far(r);
  }
  return with_sign(z, high);
}

}  // namespace fastblackout
