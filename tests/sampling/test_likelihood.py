"""Bits per dimension: where the truth is known it is the entropy, and every wrong model costs more."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import fastblackout as fb
from fastblackout.heads.head import negative_entropy
from fastblackout.likelihood.blackout import Line, Steps, exact_bound
from support.toy_data import LAW, toy_data

torch.set_num_threads(1)

ENTROPY = 1.27985422583367  # nats
COUNTS = np.arange(6)


def survivors(x_t, x_0, p, q):
    """Binomial(x_0, p) at x_t by scipy, counting the side that keeps its digits."""
    return stats.binom.pmf(x_t, x_0, p) if p < 0.5 else stats.binom.pmf(x_0 - x_t, x_0, q)


def mean_births(x_t, p, q):
    """E[x_0 - x_t | x_t] by Bayes, from scipy's binomial."""
    joint = LAW * survivors(x_t[:, None], COUNTS, p, q)
    total = joint.sum(1)
    return np.divide((joint * (COUNTS - x_t[:, None])).sum(1), total, out=np.zeros(len(x_t)), where=total > 0)


class ToyModel:
    """The exact mean of the births, times a factor, behind the interface of BlackoutModel."""

    max_count = 5

    def __init__(self, schedule, factor=1.0):
        self.schedule = schedule
        values = [factor * mean_births(COUNTS, p, q) / q for p, q in zip(schedule.p[1:], schedule.q[1:], strict=True)]
        self.values = torch.tensor(np.array(values))

    def center(self, k):
        return 0.0

    def scale(self, k):
        return 1.0

    def gain(self, k):
        return self.schedule.survival(k).q

    def __call__(self, model_input, k, labels=None):
        y = self.values[k - 1].gather(1, model_input.long().flatten(1)).view(model_input.shape)
        return torch.where(y > 0, y + torch.log(-torch.expm1(-y)), torch.tensor(-80.0).double())  # inverse softplus


def bits(schedule, x_0, key, *, factor=1.0, **how):
    """fb.bits_per_dim of the toy model."""
    return fb.bits_per_dim(ToyModel(schedule, factor), schedule, x_0, rng=fb.Philox(key), **how)


def test_the_exact_posterior_mean_gives_the_entropy():
    assert -(LAW[LAW > 0] * np.log(LAW[LAW > 0])).sum() == pytest.approx(ENTROPY, abs=1e-14)
    assert exact_bound(mean_births, LAW) == pytest.approx(ENTROPY, abs=1e-12)
    assert exact_bound(mean_births, LAW, reach=90.0, step=0.1) == pytest.approx(ENTROPY, abs=1e-12)


def test_the_cost_above_the_entropy_is_the_relative_entropy_of_the_rates():
    # Independently: E[D(births || y)] - E[D(births || mean)] = D(mean || y), integrated by scipy's quad.
    def excess(lam):
        p, q = 1 / (1 + math.exp(-lam)), 1 / (1 + math.exp(lam))
        marginal = (LAW * survivors(COUNTS[:, None], COUNTS, p, q)).sum(1)
        mean = mean_births(COUNTS, p, q)
        y = mean + q
        return p * (marginal * (y - mean + mean * np.log(np.where(mean > 0, mean, 1) / y))).sum()

    expected = integrate.quad(excess, -40, 40, limit=400, epsabs=1e-11)[0]
    assert exact_bound(lambda x, p, q: mean_births(x, p, q) + q, LAW) - ENTROPY == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("schedule", [fb.Schedule.logit(1000, 15.0), fb.Schedule.cosine(1000)], ids=["logit", "cosine"])
def test_monte_carlo_finds_the_information_of_each_image(schedule):
    # 4.5 standard errors: false alarm below 1e-3 with the 15 repeats that the error itself is estimated from.
    x_0, information = toy_data(600)
    continuous, discrete = bits(schedule, x_0, 3, repeats=16, batch=5000)
    assert abs(continuous.bits - information.mean()) < 4.5 * continuous.monte_carlo_error
    assert continuous.monte_carlo_error < 0.02
    assert continuous.bits == pytest.approx(continuous.per_image.mean(), abs=1e-12)
    assert np.corrcoef(continuous.per_image, information)[0, 1] > 0.7
    assert continuous.image_error == pytest.approx(information.std() / math.sqrt(600), rel=0.25)
    assert continuous.bits < discrete.bits < information.mean() + 0.1
    worse = bits(schedule, x_0, 3, factor=1.5, batch=5000)
    assert worse.continuous.bits > continuous.bits + 10 * continuous.monte_carlo_error


def test_between_and_beyond_the_times_the_nearest_model_is_held():
    # Six times far apart: y / (1 - p) of the nearest in angle, by quadrature, against Monte Carlo on the exact law.
    schedule = fb.Schedule.logit(6, 2.0)
    model = ToyModel(schedule)
    angles = np.arccos(np.sqrt(schedule.p[1:]))

    def held(x_t, p, q):
        k = np.argmin(np.abs(angles - math.atan2(math.sqrt(q), math.sqrt(p))))
        return model.values[k].numpy()[x_t] * q

    expected = exact_bound(held, LAW, step=0.01) / math.log(2)
    x_0 = torch.tensor([0] * 20 + [1] * 80 + [2] * 60 + [5] * 40, dtype=torch.uint8).view(-1, 1)
    found = bits(schedule, x_0, 2, steps=6, draws=64, repeats=16, batch=20_000)
    # 5 errors of 16 repeats: t with 15 degrees of freedom, false alarm 2e-4.
    assert abs(found.continuous.bits - expected) < 5 * found.continuous.monte_carlo_error
    assert found.continuous.monte_carlo_error < 0.02
    assert expected > ENTROPY / math.log(2) + 0.02


def test_the_discrete_bound_is_the_sum_over_all_steps():
    # Enumerated with scipy: the sampler's own chain, which starts at black, one KL a step.
    schedule = fb.Schedule.logit(12, 1.2)  # which ends at p = 0.3, where black is far from true
    times = schedule.grid(12, "index")
    total = np.zeros(6)
    for k_t, k_s in zip(times[:-1], times[1:], strict=True):
        p_t, p_s, q = schedule.p[k_t], schedule.p[k_s], schedule.bridge(int(k_t), int(k_s)).p
        y = 1.25 * mean_births(COUNTS, p_t, 1 - p_t)
        for x_0 in COUNTS:
            start = k_t == times[0]
            for x_t in range(1 if start else x_0 + 1):
                born = np.arange(x_0 - x_t + 1)
                law = stats.binom.pmf(born, x_0 - x_t, p_s if start else q)
                kl = (law * (np.log(np.where(law > 0, law, 1)) - stats.poisson.logpmf(born, q * y[x_t])))[law > 0].sum()
                total[x_0] += (1.0 if start else stats.binom.pmf(x_t, x_0, p_t)) * (kl if x_0 > x_t else q * y[x_t])
    x_0 = torch.from_numpy(np.repeat(COUNTS, 400).astype(np.uint8)).view(-1, 1)
    # 24 draws visit each of the 12 steps twice: only the noise of thinning is left.
    found = bits(schedule, x_0, 5, factor=1.25, steps=12, grid="index", draws=24, repeats=8, batch=10000).discrete
    expected = total / math.log(2)
    assert found.monte_carlo_error < 0.012
    # 5 errors of 8 repeats, t with 7 degrees of freedom: false alarm 2e-3; of the six counts at 6 errors together 4e-3.
    assert abs(found.bits - expected.mean()) < 5 * found.monte_carlo_error
    seen = found.per_image.reshape(6, 400)
    assert (np.abs(seen.mean(1) - expected) < 6 * seen.std(1) / 20 + 1e-12).all()


def test_doubling_the_range_of_lambda_moves_the_estimate_by_less_than_a_thousandth(monkeypatch):
    # One key, so that nothing else differs: the schedule's own range, twice it, and the whole line.
    schedule = fb.Schedule.logit(1000, 15.0)
    x_0, _ = toy_data(200)
    whole = Line.at

    def cut(times):
        def at(line, u):
            lam, slope = whole(line, u)
            return lam, torch.where((lam < times * line.low) | (lam > times * line.high), 0.0, slope)

        return at

    found = []
    for times in (0.5, 1.0, 2.0, math.inf):
        monkeypatch.setattr(Line, "at", cut(times))
        found.append(bits(schedule, x_0, 4, steps=10, batch=5000).continuous.bits)
    half, once, twice, everything = found
    assert abs(once - twice) < 1e-3
    assert abs(twice - everything) < 1e-3
    assert once < twice < everything  # the tails are there,
    assert abs(half - once) > 1e-3  # and half the range would not do


@pytest.mark.parametrize(
    "schedule", [fb.Schedule.logit(100, 15.0), fb.Schedule.cosine(50), fb.Schedule.linear(1), fb.Schedule.linear(2)]
)
def test_the_line_of_lambda_is_covered(schedule):
    line = Line(schedule, "cpu")
    u = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    lam, slope = line.at(u)
    assert (lam.diff() >= 0).all()
    assert lam[0] < line.low - 20 and lam[-1] > line.high + 20
    for center in (line.low - 3, 0.0, line.high + 3):  # pieces of the line that make 1
        integral = float((slope * torch.exp(-(lam - center).square() / 2)).mean()) / math.sqrt(2 * math.pi)
        assert integral == pytest.approx(1, rel=1e-4)
    logistic = float((slope * torch.sigmoid(lam) * torch.sigmoid(-lam)).mean())
    assert logistic == pytest.approx(1, rel=1e-4)


def test_the_monte_carlo_error_is_the_spread_of_the_answers():
    # 60 keys: their variance over the mean of the claimed ones is F(59, 180); [0.5, 1.7] has false alarm below 1e-3.
    schedule = fb.Schedule.logit(50, 10.0)
    x_0, _ = toy_data(30)
    found = [bits(schedule, x_0, key, steps=10, draws=4, repeats=4, batch=4000) for key in range(60)]
    for name in ("continuous", "discrete"):
        bounds = [getattr(one, name) for one in found]
        claimed = np.mean([bound.monte_carlo_error**2 for bound in bounds])
        assert 0.5 < np.var([bound.bits for bound in bounds], ddof=1) / claimed < 1.7


def test_keys_and_batches():
    schedule = fb.Schedule.logit(50, 10.0)
    x_0, _ = toy_data(7)
    how = {"steps": 10, "draws": 4, "repeats": 2}
    once = bits(schedule, x_0, 1, **how)
    split = bits(schedule, x_0, 1, batch=3, **how)
    other = bits(schedule, x_0, 2, **how)
    for a, b, c in zip(once, split, other, strict=True):
        np.testing.assert_allclose(a.per_image, b.per_image, rtol=1e-12)
        assert a.bits != c.bits
    one = bits(schedule, x_0[:1], 1, **how)
    assert math.isnan(one.continuous.image_error)
    assert one.continuous.monte_carlo_error > 0


def test_both_bounds_are_taken_in_turn(monkeypatch):
    """So that the time of a part of the work tells that of the rest."""
    schedule, asked = fb.Schedule.logit(50, 10.0), []
    for place in (Line, Steps):
        cost = place.cost
        monkeypatch.setattr(place, "cost", lambda own, *given, cost=cost: asked.append(own) or cost(own, *given))
    bits(schedule, toy_data(7)[0], 1, steps=10, draws=2, repeats=2, batch=5)
    assert [type(own) for own in asked] == [Line, Steps] * 6


@pytest.mark.parametrize("f", [1e-9, 0.013, 0.5, 0.97, 1.0])
def test_the_known_part_of_the_discrete_bound(f):
    a = np.array([0, 1, 2, 7, 255, 4000])
    expected = []
    for n in a:
        b = np.arange(n + 1)
        pmf = stats.binom.pmf(b, n, f)
        term = stats.binom.logpmf(b, n, f) + np.array([math.lgamma(k + 1) for k in b])
        expected.append((pmf * np.where(pmf > 0, term, 0)).sum())
    step = fb.Prob(*torch.tensor([[0.5, f], [0.5, 1 - f]], dtype=torch.float64))
    births = torch.tensor(a).double()[None].repeat(2, 1)
    found = negative_entropy(births, step, torch.tensor([0, 1]), 4000)
    np.testing.assert_allclose(found[1].numpy(), expected, rtol=3e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x_0": np.zeros((2, 2))}, TypeError, "x_0: must be a tensor of integer counts, got ndarray"),
        ({"x_0": torch.zeros(2, 2)}, TypeError, "x_0: must be a tensor of integer counts, got torch.float32"),
        ({"x_0": torch.full((2, 2), 6)}, ValueError, r"x_0: counts must lie in 0..5, got 6"),
        ({"x_0": torch.full((2, 2), -1)}, ValueError, r"x_0: counts must lie in 0..5, got -1"),
        ({"x_0": torch.zeros(3, dtype=torch.int64)}, ValueError, r"x_0: must be \(B, ...\)"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, ValueError, r"labels: .*integers of shape \(2,\), got"),
        ({"draws": 0}, ValueError, "draws: must be in 1"),
        ({"repeats": 1}, ValueError, "repeats: must be in 2"),
        ({"batch": 0}, ValueError, "batch: must be in 1"),
        ({"draws": 1 << 20, "x_0": torch.zeros(4096, 1).long()}, ValueError, "images times draws must be below"),
    ],
)
def test_errors(change, error, words):
    schedule = fb.Schedule.logit(10, 5.0)
    arguments = {"x_0": torch.zeros(2, 2, dtype=torch.int64), "steps": 5} | change
    with pytest.raises(error, match=f"bits_per_dim: .*{words}"):
        bits(schedule, arguments.pop("x_0"), 0, **arguments)
    with pytest.raises(ValueError, match="exact_bound: data_law"):
        exact_bound(mean_births, [0.5, 0.6])
