"""Philox4x32 in NumPy, and the table of random streams.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); the constants are from
Random123. Every random bit of the package is one word of one block of this function.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .dtypes import U32

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

DEFAULT_ROUNDS = 10


class Stream(enum.IntEnum):
    """One number per op and purpose; it fills the top byte of counter word c3 = stream << 24 | sub.

    setup.py makes the C++ header fastblackout/streams.h of it. Two draws that share a number would be correlated.
    """

    THIN_DRAW = 1
    THIN_REFINE = 2
    THIN_ELEMENT = 3
    BRIDGE_DRAW = 4
    BRIDGE_REFINE = 5
    BRIDGE_ELEMENT = 6
    ATTRITION_DRAW = 7
    ATTRITION_REFINE = 8
    ATTRITION_ELEMENT = 9
    ROUNDING = 10
    ROUNDING_REFINE = 11
    TAU_LEAP = 12
    BINOMIAL = 13
    POISSON = 14
    SCHEDULE_INDEX = 15
    SCHEDULE_CONTINUOUS = 16
    CATEGORICAL = 17
    CATEGORICAL_REFINE = 18
    DATA_ORDER = 19
    DATA_FLIP = 20
    CATEGORICAL_X0 = 21
    CATEGORICAL_X0_REFINE = 22
    CATEGORICAL_BRIDGE = 23
    CATEGORICAL_BRIDGE_REFINE = 24
    REVERSE_PATH = 25
    NORMAL = 26
    NORMAL_REFINE = 27
    GAMMA = 28
    GAMMA_BOOST = 29
    BETA_A = 30
    BETA_B = 31
    BETA_BOOST = 32
    BETA_BINOMIAL_A = 33
    BETA_BINOMIAL_B = 34
    BETA_BINOMIAL_BOOST = 35
    BETA_BINOMIAL = 36
    NEGATIVE_BINOMIAL_GAMMA = 37
    NEGATIVE_BINOMIAL_BOOST = 38
    NEGATIVE_BINOMIAL = 39
    POSTERIOR_A = 40
    POSTERIOR_B = 41
    POSTERIOR_BOOST = 42
    POSTERIOR_ELEMENT = 43
    POSTERIOR_STATE = 44
    POSTERIOR_STATE_REFINE = 45
    SPLIT = 46
    MULTINOMIAL = 47
    SKELLAM = 48
    HYPERGEOMETRIC = 49
    HYPERGEOMETRIC_ACCEPT = 50
    BESSEL = 51
    BESSEL_ACCEPT = 52
    REDRAW = 53
    REDRAW_REFINE = 54
    REDRAW_STATE = 55
    REDRAW_STATE_REFINE = 56
    REDRAW_BRIDGE = 57
    REDRAW_BRIDGE_REFINE = 58
    REDRAW_BRIDGE_STATE = 59
    REDRAW_BRIDGE_STATE_REFINE = 60
    CATEGORICAL_ROWS = 61
    CATEGORICAL_ROWS_REFINE = 62
    DOWNSAMPLE = 63

    def word(self, sub: int = 0) -> int:
        """Counter word c3 of this stream; sub in 0..2^24 - 1."""
        return int(self) << 24 | sub


def philox4x32(
    c0: ArrayLike,
    c1: ArrayLike,
    c2: ArrayLike,
    c3: ArrayLike,
    k0: ArrayLike,
    k1: ArrayLike,
    rounds: int = DEFAULT_ROUNDS,
) -> tuple[U32, U32, U32, U32]:
    """The four 32-bit words of one Philox4x32 block per element.

    c0..c3 (counter) and k0, k1 (key): integers in 0..2^32 - 1, scalars or uint32 arrays of any shapes that broadcast.
    Returns four uint32 arrays of the broadcast shape. A round is
    (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)), then k += Weyl constants.
    """
    words = (np.asarray(word, dtype=np.uint32) for word in (c0, c1, c2, c3, k0, k1))
    x0, x1, x2, x3, key_0, key_1 = np.broadcast_arrays(*words)
    (multiplier_0, multiplier_1), (weyl_0, weyl_1) = map(np.uint64, MULTIPLIERS), map(np.uint32, WEYL)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^32 is meant; NumPy warns about it for scalars
        for _ in range(rounds):
            product_0 = x0.astype(np.uint64) * multiplier_0
            product_1 = x2.astype(np.uint64) * multiplier_1
            x0 = (product_1 >> _32).astype(np.uint32) ^ x1 ^ key_0
            x2 = (product_0 >> _32).astype(np.uint32) ^ x3 ^ key_1
            x1 = (product_1 & _LOW).astype(np.uint32)
            x3 = (product_0 & _LOW).astype(np.uint32)
            key_0 = key_0 + weyl_0
            key_1 = key_1 + weyl_1
    return np.asarray(x0), np.asarray(x1), np.asarray(x2), np.asarray(x3)
