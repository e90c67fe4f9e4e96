"""fb.posterior_step: the law of a step, its limits, keys, kinds of arrays, given outputs and errors."""

import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from fastblackout.reference.beta import beta_pair
from fastblackout.reference.binomial import binomial
from fastblackout.reference.philox import Stream
from fastblackout.reference.posterior_loss import beta_binomial_shapes
from fastblackout.reference.posterior_step import STREAMS
from support.arrays import DLPackOnly, same
from support.helpers import chi_square_counts

RNG = fb.Philox(seed=17, first_sample=3, call=4)
LAW = {"family": "beta-binomial"}
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 81 of them
DRAWS = 100_000
# o_1, o_2, offset: U-shaped, flat, bell-shaped, beyond both clamps, nearly always 0, nearly always 1.
HEADS = [
    (0.3, -2.0, -0.5), (0.0, -0.3, 0.0), (1.2, 2.5, -1.0), (0.5, -9.0, 0.0), (-1.0, 50.0, 0.5), (-9.0, 1.0, -2.0),
    (7.0, 0.0, 2.0), (2.0, 3.0, -4.0),
]  # fmt: skip


def shapes(o_1, o_2, offset):
    """(a, b) of a head of float32."""
    z = float(np.float32(o_1)) + float(np.float32(offset))
    c = np.exp(np.clip(float(np.float32(o_2)) + 1, -5, 7))
    return special.expit(z) * c, special.expit(-z) * c


def step_law(room, a, b, q):
    """Pr(births = k): the sum over N, of the beta-binomial law, of Binomial(N, q) at k."""
    n = np.arange(room + 1)
    log_p = special.betaln(n + a, room - n + b) - special.betaln(a, b)
    log_p = log_p - special.betaln(n + 1, room - n + 1) - np.log(room + 1)
    return np.exp(log_p) @ stats.binom.pmf(n[None, :], n[:, None], q)


def drawn(head, room, q, draws=DRAWS, rng=RNG, most=255):
    o_1, o_2, offset = head
    x_t = np.full((1, draws), most - room, np.uint8 if most == 255 else np.int64)
    arrays = [np.full((1, draws), each, np.float32) for each in (o_1, o_2)]
    made = fb.posterior_step(x_t, arrays, q, offset=offset, rng=rng, max_count=most, outputs=("x_s",), **LAW)
    return made.x_s[0].astype(np.int64) - (most - room)


def state(shape=(4, 3, 8, 8), seed=0):
    random = np.random.default_rng(seed)
    head = [random.normal(0, 3, shape).astype(np.float32) for _ in range(2)]
    return random.integers(0, 256, shape, dtype=np.uint8), head


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("q", [1e-3, 0.07, 0.5, 1 - 1e-4, 1.0])
def test_law(head, q):
    for room in (6, 255):
        births = drawn(head, room, q)
        assert births.min() >= 0 and births.max() <= room
        seen = np.bincount(births, minlength=room + 1)
        assert chi_square_counts(seen, DRAWS * step_law(room, *shapes(*head), q)) > FALSE_ALARM


def test_the_step_of_all_time_left_has_the_law_of_the_loss():
    """-log Pr(births) by fb.posterior_loss belongs to the law with which the draws were compared."""
    for o_1, o_2, offset in HEADS:
        arrays = [np.full((256, 1), each, np.float32) for each in (o_1, o_2)]
        x_t, births = np.zeros((256, 1), np.uint8), np.arange(256)[:, None]
        loss = fb.posterior_loss(arrays, x_t, births, 1.0, offset=offset, **LAW)
        expected = step_law(255, *shapes(o_1, o_2, offset), 1.0)
        likely = expected > 1e-30
        assert likely.sum() > 50
        np.testing.assert_allclose(loss[likely], -np.log(expected[likely]), rtol=2e-6, atol=2e-6)


def test_means_and_single_particles(backend):
    """The mean is R m q for every concentration; with R = 1 the concentration is not seen at all. 6 standard errors."""
    m, q = special.expit(0.5), 0.3
    for o_2 in (-9.0, 0.0, 3.0, 9.0):
        births, one = (drawn((1.0, o_2, -0.5), room, q, draws=20_000) for room in (200, 1))
        assert abs(births.mean() - 200 * m * q) < 6 * births.std() / np.sqrt(births.size)
        assert set(one) == {0, 1} and abs(one.mean() - m * q) < 6 * np.sqrt(m * q * (1 - m * q) / one.size)
    a, b = shapes(1.0, 9.0, -0.5)
    assert np.isclose(a + b, np.exp(7.0)) and np.isclose(births.var(), stats.binom(200, m * q).var(), rtol=0.15)


def test_limits(backend):
    """No room, steps of 0 and 1, heads with a shape below what the gamma draw takes, and the largest counts."""
    for o_1 in (-3e38, -705.0, -1.0, 2.0, 705.0, 3e38):
        for o_2 in (-3e38, 0.0, 3e38):
            for q in (0.0, 5e-324, 0.4, 1 - 2.0**-53, 1.0):
                births = drawn((o_1, o_2, 0.0), 9, q, draws=40)
                assert births.min() >= 0 and births.max() <= 9
                if o_1 < -9 or q < 1e-9:
                    assert (births == 0).all()
                elif o_1 > 9 and q > 1 - 1e-9:
                    assert (births == 9).all()
                assert (drawn((o_1, o_2, 0.0), 0, q, draws=40) == 0).all()
    births = drawn((0.0, 0.0, 0.0), 2**53, 0.5, draws=100, most=2**53)
    assert births.min() >= 0 and births.max() <= 2**52 * 1.001 and np.unique(births).size > 90
    far = drawn((3e38, 1.0, -3e38), 255, 1.0, draws=200)  # the sum is 0
    assert 60 < far.mean() < 195


def test_nothing_cancels_next_to_all_births():
    """R = 2^53: deaths by f have Pr(j) = Gamma(j + b) Gamma(a + b) / (j! Gamma(a) Gamma(b)) R^-b, and those
    by the step, whose 1 - q is 1e-16, are Poisson(0.9)."""
    room, head, j = 2**53, (4.6, -1.0, 0.0), np.arange(150)
    a, b = shapes(*head)
    log_p = special.gammaln(j + b) - special.gammaln(j + 1) - special.gammaln(b) - b * np.log(room)
    by_f = np.exp(log_p + special.gammaln(a + b) - special.gammaln(a))
    expected = DRAWS * np.convolve(by_f, stats.poisson.pmf(j, room * 1e-16))[:150]
    deaths = room - drawn(head, room, fb.Prob(1.0, 1e-16), most=room)
    seen = np.bincount(deaths[deaths < 150], minlength=150)
    rest = DRAWS - seen.sum(), DRAWS - expected.sum()
    assert chi_square_counts(np.append(seen, rest[0]), np.append(expected, rest[1])) > FALSE_ALARM
    assert seen[0] > 0.2 * DRAWS


def test_it_is_the_binomial_of_the_pair(backend):
    """One pass gives what the parts give: the pair of a beta draw, thinned, and the draw for each element."""
    x, head = state((3, 2000))
    q, offset = np.array([0.2, 0.9, 1.0]), np.array([-1.0, 0.0, -700.0], np.float32)
    f, g = beta_pair(*(np.maximum(each, 1e-300) for each in beta_binomial_shapes(head, offset)), RNG, STREAMS)
    born, rest = f * q[:, None], g + f * (1 - q)[:, None]
    births = binomial(255 - x.astype(np.int64), born, np.minimum(rest, 1.0), RNG, Stream.POSTERIOR_ELEMENT)
    stepped = fb.posterior_step(x, head, q, offset=offset, rng=RNG, center=3.0, scale=0.5, **LAW)
    assert isinstance(stepped, fb.Stepped) and np.array_equal(stepped.x_s, x + births)
    assert np.array_equal(stepped.model_input, (stepped.x_s.astype(np.float32) - np.float32(3.0)) * np.float32(0.5))


def test_kinds_of_arrays(backend):
    x, head = state()
    expected = fb.posterior_step(x, head, 0.4, rng=RNG, **LAW)
    tensor, output = (
        torch.from_numpy(x).to(memory_format=torch.channels_last),
        torch.from_numpy(np.concatenate(head, 1)),
    )
    got = fb.posterior_step(tensor, output.requires_grad_().chunk(2, 1), 0.4, rng=RNG, **LAW)
    assert all(v.stride() == tensor.stride() and not v.requires_grad for v in got)
    same(fb.Stepped(*(v.numpy() for v in got)), expected)
    same(fb.posterior_step(DLPackOnly(x), [DLPackOnly(each) for each in head], 0.4, rng=RNG, **LAW), expected)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        given = [torch.from_numpy(each).to(dtype) for each in head]
        rounded = [each.float() for each in given]
        tensor = torch.from_numpy(x)
        same(
            fb.posterior_step(tensor, given, 0.4, rng=RNG, **LAW),
            fb.posterior_step(tensor, rounded, 0.4, rng=RNG, **LAW),
        )
    for dtype in (np.int16, np.int32, np.int64):
        made = fb.posterior_step(x.astype(dtype), head, 0.4, rng=RNG, max_count=255, **LAW).x_s
        assert made.dtype == dtype and np.array_equal(made, expected.x_s)


def test_in_place_and_out(backend):
    x, head = state()
    expected = fb.posterior_step(x.copy(), head, 0.4, rng=RNG, **LAW)
    value = np.full(x.shape, np.nan, np.float32)
    got = fb.posterior_step(x, head, 0.4, rng=RNG, out=fb.Stepped(x, value), **LAW)
    assert got.x_s is x and got.model_input is value
    same(got, expected)
    assert fb.posterior_step(x, head, 0.4, rng=RNG, outputs="model_input", **LAW).x_s is None


def test_batch_split_and_keys(backend):
    x, head = state((6, 7, 3))
    step, offset = np.linspace(0, 1, 6), np.linspace(-3, 0, 6)

    def run(rows, rng=RNG):
        rng = rng.at(first_sample=rng.first_sample + rows.start)
        given = [each[rows] for each in head]
        return fb.posterior_step(x[rows], given, step[rows], offset=offset[rows], rng=rng, **LAW)

    whole = run(slice(0, 6))
    for rows in (slice(0, 2), slice(2, 3), slice(3, 6)):
        same(run(rows), fb.Stepped(*(v[rows] for v in whole)))
    assert not np.array_equal(run(slice(0, 6), RNG.at(call=5)).x_s, whole.x_s)
    torch.manual_seed(1)
    tensors = torch.from_numpy(x), [torch.from_numpy(each) for each in head]
    first, second = (fb.posterior_step(*tensors, 0.5, **LAW).x_s for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(fb.posterior_step(*tensors, 0.5, **LAW).x_s, first) and not torch.equal(first, second)


def test_streams_of_its_own(backend):
    """With the key of other draws it gives other numbers: correlations within 6 standard errors."""
    births = drawn((0.0, -0.3, 0.0), 100, 0.5, draws=10_000)
    n = np.full((1, 10_000), 100)
    others = fb.beta_binomial(n, *shapes(0.0, -0.3, 0.0), rng=RNG)[0], fb.beta(n * 0.01, 1.0, rng=RNG)[0]
    others += (
        fb.binomial(n, 0.5, rng=RNG)[0],
        fb.bridge_step(0 * n, births=n, step=0.5, rng=RNG, max_count=300).x_s[0],
    )
    assert np.abs(np.corrcoef([births, *others])[0, 1:]).max() < 0.06


def test_empty_and_known_answers(backend):
    for shape in ((0, 3), (3, 0)):
        none = np.empty(shape, np.float32)
        assert all(
            v.shape == shape for v in fb.posterior_step(np.empty(shape, np.uint8), (none, none), 0.5, rng=RNG, **LAW)
        )
    x, o_1, o_2 = np.array([[0, 9, 200, 255]], np.uint8), np.array([[-2.0, 0, 1, 9]]), np.array([[9.0, -9, 0, 3]])
    made = fb.posterior_step(x, (o_1, o_2), 0.6, offset=-0.5, rng=fb.Philox(7, first_sample=1, call=2), **LAW)
    assert made.x_s.tolist() == [[4, 157, 213, 255]]


NAN, INF = float("nan"), float("inf")
