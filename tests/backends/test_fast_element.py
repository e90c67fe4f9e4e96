"""Per-element draws that the CUDA kernels decide in float32 (fast_element.h, fast_parts.h): the same bits, how often
float32 does not tell, and how near to a boundary it does.

On the CPU its approximate instructions err by as much as a GPU's may. `first_trials` of the SIMT shim makes of given
words what a first trial, or an inversion, comes to by float32 and exactly.
"""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda
from support.arrays import bits
from support.simt import _simt, new_flag

pytestmark = pytest.mark.skipif(_simt is None, reason="the SIMT shim is not built")

DRAWN, AGAIN, UNTOLD = 0, 1, 2
RATIO_SLACK, SUM_SLACK = 2.0**-13, 2.0**-15  # kRatioSlack and kSumSlack, of fast_element.h and fast_parts.h
POISSON = -1  # in the place of a count
SMALL_V = np.uint64(1) << np.uint64(41)  # of 53 bits: v = 2^-12, which any candidate near the mean accepts


def ends(n, p, words):
    """(fast, fast_k, exact, exact_k) of each draw: how it ends and k, by float32 and exactly."""
    p = np.ascontiguousarray(p, np.float64)
    n = np.ascontiguousarray(np.broadcast_to(n, p.shape), np.int64)
    q, words, found = 1 - p, np.ascontiguousarray(words, np.uint32), np.zeros((p.size, 4), np.int64)
    _simt.first_trials(*(x.ctypes.data for x in (n, p, q, words)), p.size, found.ctypes.data)
    return found.T


def words_of(u, v):
    """The four words of a trial whose uniforms have these 53 bits."""
    halves = [(x >> np.uint64(21), x << np.uint64(11) & np.uint64(0xFFFFFFFF)) for x in (u, v)]
    return np.stack([half for pair in halves for half in pair], axis=-1).astype(np.uint32)


def wrong(fast, fast_k, exact, exact_k):
    """Where float32 tells, and tells something else."""
    return (fast != UNTOLD) & ((fast != exact) | ((exact == DRAWN) & (fast_k != exact_k)))


def laws(rng, size):
    """{name: (n, p)}, p a rate of Poisson's law"""
    n, rare, most = rng.integers(0, 10_001, size), rng.integers(1 << 20, 1 << 32, size), (1 << 20) - 10
    return {
        "poisson, inverted": (POISSON, rng.uniform(0, 10, size)),
        "poisson, 10 to 20": (POISSON, rng.uniform(10, 20, size)),
        "poisson, 0 to 50": (POISSON, rng.uniform(0, 50, size)),
        "poisson, 1,000": (POISSON, rng.uniform(900, 1100, size)),
        "poisson, nearly 2^20": (POISSON, rng.uniform(most - 50, most, size)),
        "binomial, to 10,000": (n, rng.uniform(0, 0.5, size)),
        "binomial, to 255": (n % 256, rng.uniform(0, 0.5, size)),
        "binomial, inverted": (n + 1, np.minimum(rng.uniform(0, 10, size) / (n + 1), 0.5)),
        "binomial, p = 1/2": (n, np.full(size, 0.5)),
        "binomial, nearly never": (n, np.exp(rng.uniform(-740, -20, size))),
        "binomial, rare": (rare, np.minimum(np.exp(rng.uniform(-3, 10, size)) / rare, 0.5)),
    }


def test_float32_tells_the_same_or_nothing():
    """Of 50,000 first trials of a law, at most one in 700 is left, nearly 2^20 one in 250."""
    rng = np.random.default_rng(31)
    for name, (n, p) in laws(rng, 50_000).items():
        found = ends(n, p, rng.integers(0, 1 << 32, (p.size, 4), dtype=np.uint32))
        assert not np.any(wrong(*found)), name
        left = np.mean(found[0] == UNTOLD)
        assert ("never" in name or left > 0) and left < (1 / 250 if "nearly" in name else 1 / 700), (
            f"{name}: {left:.2%}"
        )
        assert np.mean(found[2] == AGAIN) < 0.27


@pytest.mark.parametrize(
    "n, p",
    [
        (POISSON, 2.0**20), (POISSON, 2.0**40), (1 << 32, 1e-8), (1 << 53, 2.0**-53), (1 << 23, 0.5),
        (40, np.nextafter(0.25, 0)),  # n p is rounded to 10, the exact product lies below
    ],
)  # fmt: skip
def test_beyond_float32_nothing_is_told(n, p):
    words = np.random.default_rng(32).integers(0, 1 << 32, (100, 4), dtype=np.uint32)
    assert np.all(ends(n, np.full(100, p), words)[0] == UNTOLD)


def bisected(n, p, fixed, above, start, stop):
    """The 53-bit integers in (start, stop] from which on ends are `above`: stop's are, start's are not."""
    while np.any(stop - start > 1):
        middle = start + (stop - start >> np.uint64(1))
        found = above(*ends(n, p, fixed(middle)))
        start, stop = np.where(found, start, middle), np.where(found, middle, stop)
    return stop


def shifted(bits53, by):
    return (bits53.astype(np.int64) + np.rint(by).astype(np.int64)).astype(np.uint64)


def trial_laws(size):
    """Counts and probabilities over the whole range that trials in float32 take, and the uniforms of candidates."""
    rng = np.random.default_rng(33)
    mean = np.exp(rng.uniform(np.log(10), 20 * np.log(2) - 1e-3, size))
    p = np.maximum(rng.choice([1e-5, 1e-3, 0.05, 0.2, 0.35, 0.5], size), mean / 2.0**31)
    n = np.where(rng.random(size) < 0.4, POISSON, np.ceil(mean / p).astype(np.int64))
    return n, np.where(n == POISSON, mean, p), rng.uniform(-0.46, 0.46, size)


def test_trials_near_their_ratio():
    """The v at which a trial turns from accepted to rejected, by bisection; float32 must be silent up to 7/8 of its
    slack around it and, where the candidate itself is clear, speak from 9/8 on: it is off by less than 2^-14."""
    n, p, u = trial_laws(20_000)
    u = ((u + 0.5) * 2.0**53).astype(np.uint64)
    least, most = np.full(u.shape, 1 << 20, np.uint64), np.full(u.shape, (1 << 53) - 1, np.uint64)
    accepts = ends(n, p, words_of(u, least))[2] == DRAWN
    turns = accepts & (ends(n, p, words_of(u, most))[2] == AGAIN)
    n, p, u, least, most = (x[turns] for x in (n, p, u, least, most))
    v = bisected(n, p, lambda v: words_of(u, v), lambda *end: end[2] == AGAIN, least, most)
    far = v > np.uint64(1 << 45)  # v above 2^-8: then 2^-15 of it is above the last of its 31 bits
    n, p, u, v = (x[far] for x in (n, p, u, v))
    told = []
    for part, speaks in [(-9 / 8, True), (-7 / 8, False), (-0.1, False), (0.1, False), (7 / 8, False), (9 / 8, True)]:
        found = ends(n, p, words_of(u, shifted(v, part * (RATIO_SLACK / 2) * v)))
        assert not np.any(wrong(*found))
        assert np.all(found[2] == (DRAWN if part < 0 else AGAIN))
        if speaks:
            told.append(found[0] != UNTOLD)
        else:
            assert np.all(found[0] == UNTOLD), part
    assert v.size > 10_000
    assert np.mean(told[0] & told[1]) > 0.995 and np.array_equal(told[0], told[1])


def test_far_from_the_mean():
    """Candidates below a quarter of the mean, whose level float32 knows less well, with v about their ratio."""
    rng = np.random.default_rng(36)
    size = 20_000
    mean, p = rng.uniform(10, 24, size), rng.choice([1e-3, 0.2, 0.5], size)
    n = np.where(rng.random(size) < 0.5, POISSON, np.ceil(mean / p).astype(np.int64))
    p = np.where(n == POISSON, mean, p)
    u = (rng.uniform(2.0**-7, 0.1, size) * 2.0**53).astype(np.uint64)
    least, most = np.full(size, 1 << 39, np.uint64), np.full(size, (1 << 53) - 1, np.uint64)
    first = ends(n, p, words_of(u, least))
    turns = (first[2] == DRAWN) & (ends(n, p, words_of(u, most))[2] == AGAIN) & (first[3] + 1 < mean / 4.5)
    n, p, u, least, most = (x[turns] for x in (n, p, u, least, most))
    assert u.size > 500
    v = bisected(n, p, lambda v: words_of(u, v), lambda *end: end[2] == AGAIN, least, most)
    told = [ends(n, p, words_of(u, shifted(v, part * v))) for part in (-0.02, -0.005, -0.002, 0.002, 0.005, 0.02)]
    assert not any(np.any(wrong(*found)) for found in told)
    sure = [ends(n, p, words_of(u, shifted(v, part * v))) for part in (-0.3, 0.4)]
    assert all(np.mean(found[0] != UNTOLD) > 0.9 and not np.any(wrong(*found)) for found in sure)


def test_candidates_near_the_next_one():
    """The u at which the candidate turns from k to k + 1, by bisection; float32 must be silent within 1/5 of the slack
    of y around it, since it may be off by 4/5, and speak from twice the slack on."""
    n, p, u = trial_laws(20_000)
    mean = np.where(n == POISSON, p, n * p)
    deviation = np.sqrt(np.where(n == POISSON, mean, mean * (1 - p)))
    slope = 3 * deviation  # of y in u, about; at u = 0.4 it is some three times that
    u = np.clip(u, -0.38, 0.38)
    start = ((u + 0.5) * 2.0**53).astype(np.uint64)
    stop = shifted(start, 2.0**53 / slope)
    v = np.full(start.shape, SMALL_V)
    first, last = ends(n, p, words_of(start, v)), ends(n, p, words_of(stop, v))
    both = (first[2] == DRAWN) & (last[2] == DRAWN) & (last[3] > first[3])
    n, p, start, stop, v, k, mean = (x[both] for x in (n, p, start, stop, v, first[3], mean))
    turn = bisected(n, p, lambda u: words_of(u, v), lambda *end: end[3] > k, start, stop)
    u = turn * 2.0**-53 - 0.5
    edge = 0.5 - np.abs(u)
    small = np.where(n == POISSON, 0, p)
    deviation = np.sqrt(np.where(n == POISSON, mean, mean * (1 - small)))
    b = np.where(n == POISSON, 0.931, 1.15) + 2.53 * deviation
    a = np.where(n == POISSON, -0.059 + 0.02483 * b, -0.0873 + 0.0248 * b + 0.01 * small)
    slope, y = 2 * a / edge + b + 2 * a * np.abs(u) / edge**2, (2 * a / edge + b) * u
    slack = (np.abs(y) + 4) * 2.0**-20
    assert turn.size > 15_000
    for part in (-2.5, -0.2, -0.05, 0.05, 0.2, 2.5):
        found = ends(n, p, words_of(shifted(turn, part * slack / slope * 2.0**53), v))
        assert not np.any(wrong(*found))
        assert np.all(found[3] == k + (part > 0))
        if abs(part) < 1:
            assert np.all(found[0] == UNTOLD), part
        else:
            assert np.mean(found[0] == DRAWN) > 0.99


def test_inversions_near_a_sum():
    """The u at which the draw turns from k to k + 1; float32 is off by less than half of its slack there."""
    rng = np.random.default_rng(34)
    size = 20_000
    mean = rng.uniform(0.01, 9.99, size)
    n = np.where(rng.random(size) < 0.4, POISSON, rng.integers(20, 4000, size))
    p = np.where(n == POISSON, mean, mean / np.maximum(n, 1))
    middle = rng.integers(1 << 45, (1 << 53) - (1 << 45), size, dtype=np.uint64)
    v = np.zeros(size, np.uint64)
    k = ends(n, p, words_of(middle, v))[3]
    below = bisected(
        n, p, lambda u: words_of(u, v), lambda *end: end[3] >= k, np.where(k > 0, 0, middle - np.uint64(1)), middle
    )
    inside = k > 0
    n, p, v, turn, k = (x[inside] for x in (n, p, v, below, k))
    for part in (-1.5, -0.5, -0.1, 0.1, 0.5, 1.5):
        found = ends(n, p, words_of(shifted(turn, part * SUM_SLACK * 2.0**53), v))
        assert not np.any(wrong(*found))
        if abs(part) < 1:
            assert np.all(found[0] == UNTOLD), part
    assert turn.size > 10_000


def shim_binomial(n, p, q, key):
    out, flag = torch.empty(n.shape, dtype=torch.int64), new_flag()
    cuda.binomial(n, p, q, key.tensor(), out, flag, module=_simt)
    assert flag.item() == 0
    return out


def edge_cases():
    """(n, p) where a draw changes its way: at n p = 10, p = 1/2, 2^32 trials, a variance of 2^20, and at the ends."""
    n, p = [], []
    for count in (0, 1, 2, 19, 20, 21, 40, 255, 10_007, (1 << 24) + 1, (1 << 32) - 1, 1 << 32, 1 << 53):
        near = [10 / max(count, 20), 0.5, min(2.0**20 / max(count, 1), 0.5), 1e-3, 1e-12]
        near += [np.nextafter(x, up) for x in near[:3] for up in (0, 1)]
        ends_of_p = [0.0, -0.0, 5e-324, 2.0**-1022, 2.0**-126, 1e-40, 2.0**-53]
        for x in near + ends_of_p:
            for y in (x, 1 - x):
                n.append(count)
                p.append(y)
    return torch.tensor(n)[None], torch.tensor(p, dtype=torch.float64)[None]


def test_kernels_draw_what_the_cpu_draws_at_the_edges():
    n, p = (x.repeat(40, 1) for x in edge_cases())
    rates = torch.tensor([0, -0.0, 5e-324, 1e-40, 1e-9, 9.5, 10, 10.5, 1e3, 2.0**20, 2.0**52], dtype=torch.float64)
    rates = torch.cat(
        [rates, torch.nextafter(rates, torch.zeros(())), torch.nextafter(rates[:-1], torch.tensor(1e300))]
    )
    rates = rates.double().repeat(40, 1)
    key = fb.Philox(35)
    with fb.use_backend("cpu", isa="scalar"):
        want, want_rates = fb.binomial(n, p, rng=key), fb.poisson(rates, rng=key)
        want_pair = fb.binomial(n, fb.Prob(1 - p, p), rng=key)
    assert bits(shim_binomial(n, p, None, key)) == bits(want)
    assert bits(shim_binomial(n, 1 - p, p, key)) == bits(want_pair)
    out, flag = torch.empty(rates.shape, dtype=torch.int64), new_flag()
    cuda.poisson(rates, key.tensor(), out, flag, module=_simt)
    assert bits(out) == bits(want_rates) and flag.item() == 0
