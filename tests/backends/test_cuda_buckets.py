"""The buckets of csrc/cuda/table.cuh hold at most one threshold of a row each, which its one-load search rests on.

A bucket: 16-bit uniforms u with u + 1/2, or 65,536 - u - 1/2 above the middle, in one of 2^bits equal parts of an
octave. Buckets of one uniform may hold several thresholds: any of them is a tie, and is drawn again exactly.
"""

import numpy as np
import pytest


def buckets(u, bits):
    """Number of each uniform's bucket, from the exponent and mantissa of its distance to the nearer end."""
    distance = np.where(u < 32768, u + 0.5, 65535.5 - u)
    mantissa, exponent = np.frexp(distance)
    part = np.floor((2 * mantissa - 1) * 2**bits).astype(int)
    return np.where(u < 32768, 1, -1) * ((exponent + 1) * 2**bits + part)


def wide(bits):
    """Which bucket numbers hold more than one uniform."""
    numbers, sizes = np.unique(buckets(np.arange(65536), bits), return_counts=True)
    return set(numbers[sizes > 1].tolist())


def crowded(n, p, bits, off=0.0):
    """(p, bucket) that hold two thresholds floor(2^16 CDF(j)), j < n, of Binomial(n, p); p: array in (0, 1/2].

    off: p + q - 1, as far as q stays at most 1.
    """
    q = np.minimum(1 - p + off, 1)
    pm = np.array(q**n)
    cdf, found, many, before = pm.copy(), [], wide(bits), None
    for j in range(n):
        h = np.minimum(np.floor(65536 * cdf), 65535).astype(int)
        here = buckets(h, bits)
        if before is not None:
            found += [(p[at], here[at]) for at in np.flatnonzero(here == before) if here[at] in many]
        pm = pm * ((n - j) * ((p / q) / (j + 1)))
        cdf, before = cdf + pm, here
    return found


PROBABILITIES = np.concatenate([np.linspace(0.5, 0, 2500, endpoint=False), np.geomspace(1e-12, 0.5, 1500)])


@pytest.mark.parametrize("n", range(16, 256, 16))
def test_no_bucket_of_an_upper_row_holds_two_thresholds(n):
    assert crowded(n, PROBABILITIES, 3) == []


@pytest.mark.parametrize("n", range(1, 16))
def test_no_bucket_of_a_lower_row_holds_two_thresholds(n):
    assert crowded(n, PROBABILITIES, 2) == []


@pytest.mark.parametrize("off", [1e-9, -1e-9])
def test_nor_where_p_and_q_sum_to_1_as_badly_as_they_may(off):
    assert crowded(240, PROBABILITIES[::4], 3, off) == crowded(15, PROBABILITIES[::4], 2, off) == []


def test_half_as_many_buckets_would_not_do():
    assert crowded(240, PROBABILITIES, 2) != []


def test_a_pair_that_is_none_would_not_do():
    """Which is why it is taken for another (csrc/cuda/checks.cuh)."""
    assert crowded(240, np.array([0.5]), 3, -1e-4) != []
