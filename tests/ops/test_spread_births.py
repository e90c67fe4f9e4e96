"""Steps whose gain, whose step beside logits, or whose max_count differ within a sample."""

import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from fastblackout.call.elements import seed_change
from fastblackout.reference import portfloat as pf
from fastblackout.reference.philox import Stream
from support.helpers import chi_square, chi_square_counts
from support.spread_calls import GAIN, KEY, LOGITS, MASK, MOST, SHAPE, P, X, steps

FULL = np.broadcast_to(np.array([1.0, 20, 30, 5.5]).reshape(4, 1, 1), SHAPE)
Y = GAIN.astype(np.float32) * pf.softplus(LOGITS)
LEAPED = fb.Philox(KEY.seed ^ seed_change(Stream.TAU_LEAP, 0), first_sample=KEY.first_sample, call=KEY.call)


def same(results, others):
    for a, b in zip(results, others, strict=True):
        a, b = (np.asarray(each) for each in (a, b))
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()


def test_uniform_numbers_leap_and_thin_as_one_number():
    for factor in (2.0, 3 * P):
        plain = fb.tau_leap_step(X, LOGITS, factor, gain=FULL[:, 0, 0], max_count=200, rng=KEY)
        for gain, most in ((FULL, 200), (FULL[:, 0, 0], np.full(SHAPE, 200))):
            same(fb.tau_leap_step(X, LOGITS, factor, gain=gain, max_count=most, rng=KEY), plain)
        assert plain.overshoot.sum() > 0
    for alive in (0.4, P):
        same(fb.thin(X, alive, max_count=MOST, rng=KEY), fb.thin(X, alive, max_count=220, rng=KEY))
        one_a_sample = X.max((1, 2))
        same(fb.thin(X, alive, max_count=one_a_sample, rng=KEY), fb.thin(X, alive, max_count=220, rng=KEY))


def test_the_births_of_each_gain():
    """y of the portable softplus, written out; the draws are the same as with births=y."""
    made = steps()
    how = {"births": Y, "rng": KEY, "max_count": 220}
    same(made["gain"], fb.bridge_step(X, step=0.4, attrition=0.1, **how))
    same(made["gain, rounded"], fb.bridge_step(X, step=P, rounding="nearest", **how))
    same(made["leap, gain"], fb.tau_leap_step(X, step=0.4, **how))
    many, certain = np.zeros_like(X), {"step": 1.0, "rounding": "nearest", "max_count": 1 << 30, "rng": KEY}
    whole = np.floor(((1e7 / 3 * GAIN).astype(np.float32) * pf.softplus(LOGITS)).astype(np.float64) + 0.5)
    assert (fb.bridge_step(many, LOGITS, gain=1e7 / 3 * GAIN, **certain).x_s == whole.clip(max=1 << 30)).all()
    y = np.float32(30) * pf.softplus(LOGITS)
    drawn, room = fb.poisson(y.astype(np.float64) * P, rng=LEAPED), 220 - X
    assert (made["leap, step"].x_s == X + np.minimum(drawn, room)).all()
    assert made["leap, step"].overshoot.tolist() == (drawn > room).sum((1, 2)).tolist()


def test_the_room_of_each_max_count():
    """Births that all take place; deaths apart; Poisson births and their overshoot."""
    y = np.float32(50) * pf.softplus(LOGITS)
    born = np.minimum(np.floor(y + np.float32(0.5)).astype(int), MOST - X)
    certain = {"step": 1.0, "rounding": "nearest", "max_count": MOST, "rng": KEY}
    assert (fb.bridge_step(X, births=y, **certain).x_s == X + born).all() and (X + born == MOST).any()
    dead = fb.bridge_step(X, births=y, step=0.0, attrition=0.3, max_count=220, rng=KEY).x_s - X
    assert (fb.bridge_step(X, births=y, attrition=0.3, **certain).x_s == X + born + dead).all()
    made = steps()
    assert (made["room and deaths"].x_s == made["room"].x_s + dead).all()
    wide = fb.tau_leap_step(X, births=y, step=0.4, max_count=1 << 30, rng=KEY).x_s - X
    assert (made["leap, room"].x_s == X + np.minimum(wide, MOST - X)).all()
    assert made["leap, room"].overshoot.tolist() == (wide > MOST - X).sum((1, 2)).tolist() != [0] * 4
    inside = np.broadcast_to(MASK, SHAPE)
    drawn = fb.poisson(Y.astype(np.float64) * P * inside, rng=LEAPED)
    assert (made["leap, all of each"].x_s == X + np.minimum(drawn, MOST - X)).all()


def test_counts_up_to_2_53():
    """Of which float32 and int32 hold none of these exactly; and a feature that is always 0."""
    x = np.array([[2**53 - 9, 2**40 + 1, 0]] * 3)
    most = np.array([[2**53 - 2, 2**40 + 5, 0]])
    how = {"step": 1.0, "max_count": most, "rng": KEY}
    for births, expected in ((1e9, most), (3.0, x + np.minimum(3, most - x))):
        assert (fb.bridge_step(x, births=np.full(x.shape, births), **how).x_s == expected).all()
    assert (fb.tau_leap_step(x, births=np.full(x.shape, 1e9), **how).x_s == most).all()


def test_what_a_network_gives_may_be_of_the_other_library():
    """And max_count a bfloat16 tensor."""
    expected = fb.tau_leap_step(X, births=Y, step=P, max_count=220, rng=KEY)
    tensors = fb.tau_leap_step(torch.from_numpy(X), births=Y, step=P, max_count=220, rng=KEY)
    numbers = fb.tau_leap_step(X, births=torch.from_numpy(Y), step=P, max_count=220, rng=KEY)
    same(tensors, expected)
    same(numbers, expected)
    x, most = torch.from_numpy(X).to(torch.uint8), torch.full((1, 3, 1), 200.0).bfloat16()
    same(fb.thin(x, 0.5, max_count=most, rng=KEY), fb.thin(x, 0.5, max_count=200, rng=KEY))


def mixture(y, p, most):
    """The law of Binomial(N, p), N = min(floor(y) + Bernoulli(frac y), most), as probabilities of 0..most."""
    whole, n = int(y), np.arange(most + 1)
    laws = [stats.binom(min(each, most), p).pmf(n) for each in (whole, whole + 1)]
    return (1 - (y - whole)) * laws[0] + (y - whole) * laws[1]


def test_law_of_each_feature():
    """Chi-square of 30,000 draws for each of five gains and rooms, of both steps; false alarm 1e-9 in all."""
    gain, most, logit, p = np.array([[0.3, 2.0, 7.7, 30.0, 55.0]]), np.array([[9, 60, 14, 40, 21]]), 0.4, 0.6
    y = gain[0] * special.softplus(logit)
    x, logits = np.full((30_000, 5), 4), np.full((30_000, 5), logit, np.float32)
    how = {"gain": gain, "max_count": most, "rng": KEY, "outputs": ("x_s",)}
    born = fb.bridge_step(x, logits, p, **how).x_s - 4
    leaped = fb.tau_leap_step(x, logits, p, **how)
    over = 0.0
    for column, room in enumerate(most[0] - 4):
        expected = 30_000 * mixture(y[column], p, room)
        assert chi_square_counts(np.bincount(born[:, column], minlength=room + 1), expected) > 1e-10
        drawn, law = leaped.x_s[:, column] - 4, stats.poisson(y[column] * p)
        assert drawn.max() <= room and chi_square(drawn[drawn < room], Cut(law, room), 0, room - 1) > 1e-10
        over += law.sf(room)
    assert abs(leaped.overshoot.sum() - 30_000 * over) < 6.5 * np.sqrt(30_000 * over)


class Cut:
    """A law of 0, 1, ..., given that it is below `end`."""

    def __init__(self, law, end):
        self.pmf, self.cdf = (lambda k, each=each: each(k) / law.cdf(end - 1) for each in (law.pmf, law.cdf))
        self.sf = lambda k: 1 - self.cdf(k)


def bridge(x, logits, gain, most, key):
    return (fb.bridge_step(x, logits, 0.4, gain=gain, max_count=most, rng=key, outputs=("x_s",)).x_s,)


def others(x, logits, gain, most, key):
    how = {"max_count": most, "rng": key, "outputs": ("x_s",)}
    deaths = fb.bridge_step(x, logits, 0.4, gain=gain, attrition=0.3, **how).x_s
    leaped = fb.tau_leap_step(x, logits, gain / 300, gain=gain, **how)
    return deaths, leaped.x_s, leaped.overshoot, fb.thin(x, 0.3, max_count=most, rng=key, outputs=("x_t",)).x_t


@pytest.mark.parametrize("step", [bridge, pytest.param(others, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [torch.uint8, pytest.param(torch.int32, marks=pytest.mark.slow)])
def test_compiled(step, dtype):
    """Where no value may be looked at, so that the largest max_count is the largest of the dtype."""
    torch._dynamo.reset()
    tensors = torch.from_numpy(X).to(dtype), *map(torch.from_numpy, (LOGITS, GAIN, MOST)), KEY.tensor()
    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend="aot_eager")
    for a, b in zip(compiled(*tensors), step(X, LOGITS, GAIN, MOST, KEY), strict=True):
        assert (a.numpy() == b).all()
    with pytest.raises(ValueError, match="x_t: must be whole numbers in 0..|must be at most"):
        compiled(*tensors[:3], tensors[3] - 100, tensors[4])
