"""Normal draws from 64 random bits an element, in NumPy: the twin of csrc/include/fastblackout/normal.h to the bit.

Bits of element i: word i % 4 of the Philox block (i // 4, first_sample + row, call, stream << 24), the high word from
stream NORMAL, the low one from NORMAL_REFINE. The top bit is the sign; the other 63 are a whole number k and stand for

    v = (k + 1/2) 2^-64 in (0, 1/2),    z = +-Q(v),    Q(v) = -Phi^-1(v) > 0, Phi the distribution function,

so that z and -z are equally likely, bit for bit, and no z is 0. With h the upper 31 and l the lower 32 bits of k,

    v = h 2^-32 + (l + 1/2) 2^-64,    q = 1/2 - v = (1/2 - h 2^-32) - (l + 1/2) 2^-64

have one rounding each: products by powers of 2, l + 1/2 and the first difference are exact. So v is good to 2^-53 of
itself in the tail, where k has few bits left, and q next to the centre. Q is Wichura's PPND16, three quotients of
polynomials of degree 7 by Horner's rule:

    h >= 322122548 (v from 0.075 + 3e-11 on):  q A(x) / B(x),  x = 0.180625 - q^2       (|z| up to 1.44)
    else r = sqrt(-log v):  C(x) / D(x), x = r - 1.6, where r <= 5 (|z| up to 6.66);  E(x) / F(x), x = r - 5.

Error, derived. u = 2^-53. PPND16 itself is within 1e-16 |z| of Q (Wichura). All coefficients are positive, and so is x
but for a rounding at the edges, so nothing cancels: a polynomial of degree 7 is within 15 u of itself, the rounding of
its coefficients included, and a quotient of two within 31 u. In the centre q and the product by it bring 1 u each, and
x, off by at most 0.9 u, changes the quotient by less than 3 u of itself. In a tail log v is within 2 units in the last
place and v within 1 u, so r is within 4 u of itself, r - 1.6 or r - 5 adds less than 1 u, and d log Q / d log r is at
most 1.91. Altogether |z - Q| <= 42 u |z| + 1e-16 |z| < 4.8e-15 |z|; the most found by mpmath is 8e-16 |z|. As
|t| phi(t) <= 0.242, the distribution function of z is, everywhere, within

    2^-64 (the grid of k) + 0.242 * 4.8e-15 < 1.2e-15

of Phi; by what was found, within 2e-16. In the tails it is good relative to itself: Phi(-t) is off by at most
4.8e-15 (t^2 + 1) + 2^-64 / Phi(-t) of itself, 6e-11 at t = 6. The largest |z| is Q(2^-65) = 9.155, which a normal
number exceeds with probability 5.4e-20.

Source: M. J. Wichura, Algorithm AS 241, Applied Statistics 37 (1988).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import portfloat as pf
from .draw import samples
from .philox import Stream, philox4x32
from .rows import AT_LEAST_0, LARGEST, checked_floats, rounded, sample_rows, widened

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, U32, Array

_CENTRE_FROM = 322122548  # of h

# Highest power first.
_CENTRE = (
    (2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987, 13731.69376550946, 1971.5909503065513,
     133.14166789178438, 3.3871328727963665),
    (5226.495278852854, 28729.085735721943, 39307.89580009271, 21213.794301586597, 5394.196021424751, 687.1870074920579,
     42.31333070160091, 1.0),
)  # fmt: skip
_NEAR = (
    (0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684, 3.6478483247632045,
     5.769497221460691, 4.630337846156546, 1.4234371107496835),
    (1.0507500716444169e-09, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008, 0.6897673349851,
     1.6763848301838038, 2.053191626637759, 1.0),
)  # fmt: skip
_FAR = (
    (2.0103343992922881e-07, 2.7115555687434876e-05, 0.0012426609473880784, 0.026532189526576124, 0.29656057182850487,
     1.7848265399172913, 5.463784911164114, 6.657904643501103),
    (2.0442631033899397e-15, 1.421511758316446e-07, 1.8463183175100548e-05, 0.0007868691311456133, 0.014875361290850615,
     0.1369298809227358, 0.599832206555888, 1.0),
)  # fmt: skip


def _polynomial(coefficients: tuple[float, ...], x: F64) -> F64:
    value = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        value = value * x + c
    return value


def _centre(q: F64) -> F64:
    top, bottom = _CENTRE
    x = 0.180625 - q * q
    return (q * _polynomial(top, x)) / _polynomial(bottom, x)


def _tail(v: F64) -> F64:
    r = np.sqrt(-pf.log(v))
    near, far = (
        _polynomial(top, r - start) / _polynomial(bottom, r - start)
        for (top, bottom), start in ((_NEAR, 1.6), (_FAR, 5.0))
    )
    return np.where(r <= 5.0, near, far)


def standard_normal(high: U32, low: U32) -> F64:
    """z of the words of each element, (n,) uint32."""
    upper = (high & np.uint32(0x7FFFFFFF)).astype(np.float64) * 2.0**-32
    lower = (low.astype(np.float64) + 0.5) * 2.0**-64
    v, q = upper + lower, (0.5 - upper) - lower
    tail = np.flatnonzero((high & np.uint32(0x7FFFFFFF)) < _CENTRE_FROM)
    z = _centre(q)
    z[tail] = _tail(v[tail])
    return np.where(high >> np.uint32(31) == 1, -z, z)


def stream_words(shape: tuple[int, int], key: Philox, stream: Stream) -> U32:
    """Word i % 4 of block i / 4 of a stream for element i of each sample, (B n,)."""
    batch, size = shape
    i = np.arange(size, dtype=np.int64)
    blocks = np.arange((size + 3) // 4, dtype=np.uint32)
    words = np.stack(philox4x32(blocks, samples(key, batch), key.call, stream.word(), *key.key))
    return words[i % 4, :, i // 4].T.ravel()


def normal(mean: F64, std: F64, key: Philox) -> F64:
    """mean + std z, (B, n) float64: a product and a sum, each rounded; the caller has checked the values."""
    z = standard_normal(
        stream_words(mean.shape, key, Stream.NORMAL), stream_words(mean.shape, key, Stream.NORMAL_REFINE)
    )
    with np.errstate(over="ignore"):
        return mean + std * z.reshape(mean.shape)


def normal_elements(mean: Array, std: Array, key: Philox) -> Array:
    """mean + std z in mean's dtype, both of one shape (B, ...). uint16 stands for bfloat16 bit patterns, here too.

    ValueError for a mean that is not finite, and a std that is negative or not finite.
    """
    op = "normal"
    means = sample_rows(widened(mean)).astype(np.float64)
    wrong = ~np.isfinite(means)
    if wrong.any():
        raise ValueError(f"{op}: mean: must be finite, got {means[wrong][0]:.17g}")
    return rounded(normal(means, checked_floats(std, op, "std", AT_LEAST_0, LARGEST), key), mean)
