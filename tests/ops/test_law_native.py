"""The law the compiled kernels draw from: proven from their integer thresholds, then seen in real draws.

An element of a shared-p draw is #{j : C(j) <= U}, integers C and a uniform U: the C give its law exactly.
"""

import numpy as np
import pytest
from scipy import stats

import fastblackout as fb
from fastblackout.backends import available
from fastblackout.reference import draw
from support import binomial_law as proof
from support.helpers import ISAS, chi_square, chi_square_counts, using

_cpu = available.load("_cpu")
ROWS = [*range(1, 16), *range(16, 241, 16)]
FALSE_ALARM = 1e-6  # of a chi-square test; 14 below, seeds fixed


def native_thresholds(isa, n, p, q):
    unit, lane = (16, n // 16) if n % 16 == 0 else (1, n)
    level = ISAS.index(isa)
    rows = [_cpu.thresholds(*pair, unit, lane, level) for pair in zip(p.tolist(), q.tolist(), strict=True)]
    return np.array(rows, dtype=np.uint64)


@pytest.fixture(scope="module")
def pairs():
    return proof.probabilities(512)


@pytest.fixture(scope="module")
def tables(pairs):
    """Thresholds of every row as the widest instruction set builds them, for the smaller of each pair."""
    p, q = np.minimum(*pairs), np.maximum(*pairs)
    return {n: native_thresholds(ISAS[-1], n, p, q) for n in ROWS}


@pytest.mark.parametrize("isa", ISAS)
def test_thresholds_are_those_of_the_reference(isa, pairs):
    """All 30 rows at 512 pairs (p, q) from 1e-12 to 1 - 1e-12, to the bit."""
    p, q = np.minimum(*pairs), np.maximum(*pairs)
    for n in ROWS:
        assert np.array_equal(native_thresholds(isa, n, p, q), draw.thresholds(n, p, q)), (isa, n)


def test_law_within_promise_for_all_counts(pairs, tables):
    """Total variation from the exact binomial at most 1e-11 (measured: 8e-14) for 512 p and every count 0..255."""
    low, high = np.minimum(*pairs), np.maximum(*pairs)
    at = {pair: number for number, pair in enumerate(zip(low.tolist(), high.tolist(), strict=True))}

    def table(n, p, q):
        return tables[n][[at[pair] for pair in zip(p.tolist(), q.tolist(), strict=True)]]

    worst, n, p = proof.worst_total_variation(lambda n, p, q: proof.law(n, p, q, table), range(256), *pairs)
    assert worst < proof.TV_PROMISED, (worst, n, p)


def pooled(n, p, q, number, seed, isa=ISAS[-1]):
    """p value of `number` draws of thin at one count and probability, in batches of 4 million."""
    batch = np.full((4, 1_000_000), n, np.uint8)
    seen = np.zeros(n + 1, np.int64)
    with using(f"cpu-{isa}"):
        for call in range(number // batch.size):
            x_t = fb.thin(batch, fb.Prob(p, q), rng=fb.Philox(seed, call=call), outputs="x_t").x_t
            seen += np.bincount(x_t.ravel(), minlength=n + 1)
    return _p_value(seen, n, p, q)


def _p_value(seen, n, p, q):
    """Against the exact law; cells are joined until 10 draws are expected in each."""
    small = min(p, q)
    expected = stats.binom.pmf(np.arange(n + 1), n, small) * seen.sum()
    return chi_square_counts(seen if p == small else seen[::-1], expected)


@pytest.mark.parametrize(
    "n, p",
    [(255, 0.5), (255, 0.03), (200, 0.9), (16, 0.5), (7, 0.2), (240, 1e-3), (255, 1 - 1e-6), (1, 0.3), (31, 0.77)],
)
def test_thin_draws(n, p):
    """1.08e8 draws over the nine cases: false alarm 1e-6 each."""
    assert pooled(n, p, 1.0 - p, 12_000_000, seed=2**63 + n) > FALSE_ALARM


@pytest.mark.parametrize("isa", ISAS[:-1])
def test_thin_draws_of_the_narrower_kernels(isa):
    assert pooled(255, 0.37, 0.63, 4_000_000, seed=9, isa=isa) > FALSE_ALARM


def test_chi_square_can_fail():
    """A relative error of 1e-3 in p shows at once."""
    x = np.full((1, 4_000_000), 255, np.uint8)
    x_t = fb.thin(x, 0.5005, rng=fb.Philox(1), outputs="x_t").x_t
    assert chi_square(x_t, stats.binom(255, 0.5)) < 1e-30


def test_bridge_draws():
    """1.2e7 draws: x_t ~ Bin(n, p_t) with births y = n - x_t must give x_s ~ Bin(n, p_s)."""
    n, p_t, p_s = 190, 0.23, 0.61
    x_0 = np.full((4, 1_000_000), n, np.uint8)
    seen = np.zeros(n + 1, np.int64)
    for call in range(3):
        rng = fb.Philox(77, call=call)
        thinned = fb.thin(x_0, p_t, rng=rng, outputs=("x_t", "births"))
        step = (p_s - p_t) / (1 - p_t)
        x_s = fb.bridge_step(thinned.x_t, births=thinned.births, step=step, rng=rng, outputs="x_s").x_s
        seen += np.bincount(x_s.ravel(), minlength=n + 1)
    assert _p_value(seen, n, p_s, 1 - p_s) > FALSE_ALARM


def test_bridge_law_of_fractional_births():
    """y = 6.4: N is 7 with probability 0.4, else 6; a mixture of two binomials, 4e6 draws, false alarm 1e-6."""
    zeros = np.zeros((4, 1_000_000), np.uint8)
    y = np.full(zeros.shape, 6.4, np.float32)
    x_s = fb.bridge_step(zeros, births=y, step=0.3, rng=fb.Philox(5), outputs="x_s").x_s
    part = float(y[0, 0]) - 6
    k = np.arange(8)
    expected = (part * stats.binom.pmf(k, 7, 0.3) + (1 - part) * stats.binom.pmf(k, 6, 0.3)) * x_s.size
    assert chi_square_counts(np.bincount(x_s.ravel(), minlength=8), expected) > FALSE_ALARM
