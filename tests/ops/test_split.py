"""fb.split: the laws of the parts and their independence, the draws they are made of, keys, kinds and errors."""

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout.reference.beta_binomial import beta_binomial
from fastblackout.reference.binomial import binomial
from support.arrays import DLPackOnly, bits
from support.composed_keys import key_of
from support.helpers import chi_square_counts

RNG = fb.Philox(seed=2**63 + 41, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 20 of them a run
DRAWS = 60_000


def table_of(parts, laws):
    """p value of the joint table of parts against laws that are independent of one another."""
    ends = [int(law.ppf(0.999)) + 1 for law in laws]
    cells = [np.append(law.pmf(np.arange(end)), law.sf(end - 1)) for law, end in zip(laws, ends, strict=True)]
    expected = cells[0]
    for each in cells[1:]:
        expected = np.multiply.outer(expected, each)
    seen = np.zeros(expected.shape)
    np.add.at(seen, tuple(np.minimum(part.ravel(), end) for part, end in zip(parts, ends, strict=True)), 1)
    return chi_square_counts(seen.ravel(), expected.ravel() * parts[0].size)


@pytest.mark.parametrize("folds", [2, 3, (0.2, 0.8), (0.5, 0.1, 0.4), (0.1, 0.2, 0.3, 0.4)])
@pytest.mark.parametrize("mean", [1.5, 9.0])
def test_parts_of_poisson_counts_are_independent_poisson_counts(mean, folds):
    counts = np.random.default_rng(1).poisson(mean, (6, DRAWS // 6))
    shares = folds if isinstance(folds, tuple) else [1 / folds] * folds
    parts = fb.split(counts, folds, rng=RNG)
    assert np.array_equal(sum(parts), counts)
    assert table_of(parts, [stats.poisson(mean * share) for share in shares]) > FALSE_ALARM


@pytest.mark.parametrize("folds", [2, 3, (0.3, 0.7), (0.5, 0.1, 0.4)])
@pytest.mark.parametrize("mean, b", [(2.0, 0.4), (9.0, 3.0)])
def test_parts_of_negative_binomial_counts_are_independent_ones(mean, b, folds):
    counts = np.random.default_rng(2).negative_binomial(b, b / (b + mean), (6, DRAWS // 6))
    shares = folds if isinstance(folds, tuple) else [1 / folds] * folds
    parts = fb.split(counts, folds, b, rng=RNG)
    assert np.array_equal(sum(parts), counts)
    laws = [stats.nbinom(b * share, b / (b + mean)) for share in shares]
    assert table_of(parts, laws) > FALSE_ALARM
    if folds == 2:  # by halves as if they were Poisson, they are not independent
        assert table_of(fb.split(counts, rng=RNG), laws) < 1e-100


def test_it_is_made_of_binomial_draws(backend):
    """Five parts: 2 and 3 first, by draw 2; then draws 1, 3 and 4. To the bit."""
    counts, key = np.random.default_rng(3).integers(0, 300, (3, 700)), lambda number: key_of(RNG, "SPLIT", number)

    def drawn(n, left, right, number):
        p, q = (np.full(n.shape, part / (left + right)) for part in (left, right))
        return binomial(n, p, q, key(number))

    left = drawn(counts, 2, 3, 2)
    first, third = drawn(left, 1, 1, 1), drawn(counts - left, 1, 2, 3)
    fourth = drawn(counts - left - third, 1, 1, 4)
    expected = first, left - first, third, fourth, counts - left - third - fourth
    assert all(map(np.array_equal, fb.split(counts, 5, rng=RNG), expected))


def test_with_overdispersion_of_beta_binomial_draws(backend):
    counts, b = np.random.default_rng(3).integers(0, 300, (3, 700)), np.geomspace(0.1, 100, 700)
    size = np.broadcast_to(b, counts.shape)
    left = beta_binomial(counts, size * 0.5, size * 0.5, key_of(RNG, "SPLIT", 1))
    middle = beta_binomial(counts - left, size * 0.25, size * 0.25, key_of(RNG, "SPLIT", 2))
    expected = left, middle, counts - left - middle
    assert all(map(np.array_equal, fb.split(counts, (0.5, 0.25, 0.25), b, rng=RNG), expected))


@pytest.mark.parametrize("b", [None, 2.5])
def test_batch_split_and_keys(b):
    counts = np.random.default_rng(4).integers(0, 100, (6, 50))
    whole = fb.split(counts, 3, b, rng=RNG)
    for size in (1, 2, 3):
        made = [fb.split(counts[at : at + size], 3, b, rng=RNG.at(first_sample=2 + at)) for at in range(0, 6, size)]
        assert all(map(np.array_equal, np.concatenate(made, 1), whole))
    assert all(map(np.array_equal, fb.split(counts, 3, b, rng=RNG.tensor()), whole))
    assert not np.array_equal(fb.split(counts, 3, b, rng=RNG.at(call=6))[0], whole[0])
    # No draw follows another part's, nor fb.binomial's by the key itself.
    same = fb.split(np.full((1, 4000), 60), 4, rng=RNG)
    made = np.corrcoef([*(part[0] for part in same), fb.binomial(np.full((1, 4000), 60), 0.25, rng=RNG)[0]])
    expected = np.full((4, 4), -1 / 3)
    np.fill_diagonal(expected, 1)
    assert np.abs(made[:4, :4] - expected).max() < 0.08 and np.abs(made[4, :4]).max() < 0.08


def test_kinds_and_layouts(backend):
    counts = np.random.default_rng(5).integers(0, 100, (4, 5, 6))
    expected = fb.split(counts, 3, rng=RNG)
    for other in (np.asfortranarray(counts), np.repeat(counts, 2, 2)[..., ::2], DLPackOnly(counts)):
        assert all(bits(a) == bits(b) for a, b in zip(fb.split(other, 3, rng=RNG), expected, strict=True))
    for dtype in ("uint8", "int16", "int32", "int64", "float32", "float64"):
        given = torch.from_numpy(counts).to(getattr(torch, dtype))
        for drawn in (fb.split(given, 3, rng=RNG), fb.split(given.numpy(), 3, rng=RNG)):
            assert all(str(part.dtype).endswith(dtype) for part in drawn)
            assert all(np.array_equal(np.asarray(a), b) for a, b in zip(drawn, expected, strict=True))
    b = np.array([[0.5], [2.0], [1e6], [9.0], [1.0]])
    spread, there = fb.split(counts, 2, b, rng=RNG), fb.split(torch.from_numpy(counts), 2, torch.from_numpy(b), rng=RNG)
    assert all(part.shape == counts.shape for part in spread) and all(map(np.array_equal, there, spread))
    assert [part.shape for part in fb.split(7, 4, rng=RNG)] == [()] * 4 and sum(fb.split(7, 4, rng=RNG)) == 7
    assert [part.shape for part in fb.split(np.empty((0, 3), np.int64), rng=RNG)] == [(0, 3)] * 2
    assert sum(fb.split(2**53, (0.5, 0.5), 1e300, rng=RNG)) == 2**53
    torch.manual_seed(1)
    fresh = fb.split(counts)
    torch.manual_seed(1)
    assert all(map(np.array_equal, fb.split(counts), fresh))


def test_known_answers(backend):
    """Frozen draws."""
    counts = np.array([5, 300, 2**40])
    parts = [part.tolist() for part in fb.split(counts, 3, rng=fb.Philox(7, first_sample=1, call=2))]
    assert parts == [[1, 90, 366503462354], [1, 99, 366504144570], [3, 111, 366504020852]]
    parts = [part.tolist() for part in fb.split(counts, (0.25, 0.75), 2.0, rng=fb.Philox(7, first_sample=1, call=2))]
    assert parts == [[0, 75, 109266924301], [5, 225, 990244703475]]
