"""The draw by a table, of counts to 255 with one probability a sample: its law proven from its integer thresholds.

An element is #{j : C(j) <= U}, integers C and a uniform U of 48 bits, for each of two digits of the count:
the C give its law exactly. The compiled kernels have the thresholds of the reference, and decide ties alike.
"""

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.backends import available
from fastblackout.philox import Philox
from fastblackout.reference import draw
from fastblackout.reference.draw import TWO_48, thresholds
from fastblackout.reference.philox import Stream, philox4x32
from support.helpers import ISAS

TV_PROMISED = 4e-13  # docs/derivations.md
# Measured over 500 values of p and all counts 0..255: worst total variation 8.2e-14, at n = 240, p = 0.403. Of 1.5e8
# values of p, the values of WORST are among the worst, at n = 240: 1.07e-13.
TV_MEASURED_BELOW = 1.1e-13
WORST = np.array([0.4960934594818551, 0.493003781970092, 0.40239785313953685])
STREAMS = Stream.BRIDGE_DRAW, Stream.BRIDGE_REFINE


def probabilities(number):
    """Pairs (p, q) from 1e-12 to 1 - 1e-12: half log-spaced below 1/2, mirrored; 1/2 itself is among them."""
    small = np.geomspace(1e-12, 0.5, number // 2)
    return np.concatenate([small, 1.0 - small]), np.concatenate([1.0 - small, small])


def true_law(n, p, q):
    """Binomial(n, p) in long double by the ratio recurrence from (1 - p)^n, (P, n + 1). No library takes part.

    The smaller of the pair is the true parameter and its complement is formed in long double (rounding 5e-20), so the
    relative error is below n * 5 units of long double: 7e-17 on x86; 4e-19 in total variation was measured.
    """
    swap = p > 0.5
    small = np.where(swap, q, p).astype(np.longdouble)
    large = 1 - small
    cells = np.empty((len(p), n + 1), dtype=np.longdouble)
    cells[:, 0] = np.multiply.reduce(np.broadcast_to(large, (n, len(p))), axis=0)
    for j in range(n):
        cells[:, j + 1] = cells[:, j] * ((n - j) * small) / ((j + 1) * large)
    cells[swap] = cells[swap, ::-1]
    return cells


def digit_cells(m, p, q, table):
    """Pr(K = k) = (C(k) - C(k-1)) / 2^48 with C(-1) = 0 and C(m) = 2^48: the number of U that give k."""
    edges = np.zeros((len(p), m + 2), dtype=np.int64)
    edges[:, -1] = TWO_48
    if m > 0:
        edges[:, 1:-1] = table(m, p, q).astype(np.int64)
    return np.diff(edges, axis=1).astype(np.longdouble) / TWO_48


def law(n, p, q, table=thresholds):
    """The law of the draw that its thresholds imply, by enumeration of all pairs (U1, U2): (P, n + 1), in long double.

    Cells are exact integers over 2^48 a digit; only their convolution rounds (relative error below 1e-18 on x86).
    """
    swap = p > 0.5
    p, q = np.where(swap, q, p), np.where(swap, p, q)
    upper, lower = (digit_cells(m, p, q, table) for m in (16 * (n // 16), n % 16))
    cells = np.zeros((len(p), n + 1), dtype=np.longdouble)
    for k in range(lower.shape[1]):
        cells[:, k : k + upper.shape[1]] += lower[:, k : k + 1] * upper
    cells[swap] = cells[swap, ::-1]
    return cells


def worst_total_variation(table, counts, p, q):
    """(worst total variation, its n) over all counts and pairs."""
    return max((float((np.abs(law(n, p, q, table) - true_law(n, p, q)).sum(1) / 2).max()), n) for n in counts)


def test_law_within_promise_for_all_counts():
    p, q = probabilities(100)
    worst, n = worst_total_variation(thresholds, range(256), np.append(p, WORST), np.append(q, 1.0 - WORST))
    assert worst < TV_MEASURED_BELOW < TV_PROMISED, (worst, n)


def test_proof_can_fail():
    def off_by_2_to_minus_32(m, p, q):
        return np.minimum(thresholds(m, p, q) + np.uint64(1 << 16), np.uint64(1 << 48))

    assert worst_total_variation(off_by_2_to_minus_32, [255], *probabilities(10))[0] > TV_PROMISED


@pytest.mark.parametrize("isa", ISAS)
def test_thresholds_are_those_of_the_reference(isa):
    """All 30 rows at 512 pairs (p, q) from 1e-12 to 1 - 1e-12, to the bit."""
    pairs = probabilities(512)
    p, q = np.minimum(*pairs), np.maximum(*pairs)
    native = available.load("_cpu").thresholds
    for n in [*range(1, 16), *range(16, 241, 16)]:
        unit, lane = (16, n // 16) if n % 16 == 0 else (1, n)
        rows = [native(*pair, unit, lane, ISAS.index(isa)) for pair in zip(p.tolist(), q.tolist(), strict=True)]
        assert np.array_equal(np.array(rows, dtype=np.uint64), thresholds(n, p, q)), (isa, n)


def halves(key, sample, i, stream=STREAMS[0]):
    """The two words of 16 bits of element i, as docs/draw.md says."""
    t, j = i // 8, i % 8
    r = [int(w) for w in philox4x32(2 * t + (j & 1), sample, key.call, stream.word(), *key.key)]
    x, y = (r[1], r[3]) if j < 4 else (r[0], r[2])
    return (x & 0xFFFF, y & 0xFFFF) if (j & 2) == 0 else (x >> 16, y >> 16)


def scalar_draw(n, p, q, key, sample, i, streams=STREAMS):
    """One element from the text of the specification: it shares only philox4x32 and `thresholds`."""
    if p > 0.5:
        return n - scalar_draw(n, q, p, key, sample, i, streams)
    if p == 0.0:
        return 0
    low = philox4x32(i, sample, key.call, streams[1].word(), *key.key)
    total = 0
    for m, u, rest in zip((n - n % 16, n % 16), halves(key, sample, i, streams[0]), low, strict=False):
        table = thresholds(m, np.array([p]), np.array([q]))[0] if m else ()
        total += sum(int(c) <= (u << 32 | int(rest)) for c in table)
    return total


# Sizes 1, 3: unused words of a block; 9, 21: a second group of eight, cut short.
@pytest.mark.parametrize("size", [1, 3, 9, 21])
def test_draw_matches_the_scalar_rule(size):
    random = np.random.default_rng(size)
    p = np.array([0.0, 1.0, 0.5, 0.3, 0.8, 1e-9, 1 - 1e-9, 0.02])
    n = random.integers(0, 256, (len(p), size))
    n[:, 0] = 255
    key = Philox(seed=2**63 + size, first_sample=2**32 - 8, call=7)
    drawn = draw.draw(n, p, 1 - p, key, *STREAMS)
    assert drawn.dtype == np.int64
    for (b, i), k in np.ndenumerate(drawn):
        assert k == scalar_draw(int(n[b, i]), p[b], 1 - p[b], key, 2**32 - 8 + b, i), (b, i)


def test_ties_of_the_first_bits(backend):
    """Elements whose first 16 bits equal a threshold's, so that the refinement decides: about one in 500."""
    key, half = Philox(3), np.array([0.5])
    tops = [{int(c) >> 32 for c in thresholds(n, half, half)[0]} for n in (240, 15)]
    streams = Stream.THIN_DRAW, Stream.THIN_REFINE
    close = []
    for i in range(10_000):
        u1, u2 = halves(key, 0, i, streams[0])
        if (u1 in tops[0] and 0 < u1 < 65_535) or u2 in tops[1]:
            close.append(i)
    assert len(close) > 10
    x_t = fb.thin(np.full((1, 10_000), 255, np.uint8), 0.5, rng=key).x_t[0, close]
    assert x_t.tolist() == [scalar_draw(255, 0.5, 0.5, key, 0, i, streams) for i in close]


def test_ends_and_mirror():
    n = np.arange(256)[None, :].repeat(4, 0)
    drawn = draw.draw(n, np.array([0.0, 1.0, 5e-324, 1.0]), np.array([1.0, 0.0, 1.0, 1e-20]), Philox(1), *STREAMS)
    assert (drawn[[0, 2]] == 0).all() and (drawn[[1, 3]] == n[[1, 3]]).all()
    some = np.array([0.1, 0.2, 0.3, 0.4])
    low, high = (draw.draw(n, *pair, Philox(1), *STREAMS) for pair in ((some, 1 - some), (1 - some, some)))
    assert (low + high == n).all()
