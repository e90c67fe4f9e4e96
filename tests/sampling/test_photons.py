"""Images of few photons given more: exact laws by enumeration, bits for any batch, tiles, and what is refused.

A chi-squared test at a fixed seed fails by chance once in 10^6; each law here is compared by at most six of them.
"""

import sys

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import fastblackout as fb
from fastblackout.photons import Tiled, axis_of
from support.new_heads import add_heads

MOST = 6
DOUBT = 1e-6  # the false-alarm rate of a comparison
PRIORS = np.array([[1, 2, 3, 4, 3, 2, 1], [8, 4, 2, 1, 1, 4, 8], [1, 1, 1, 1, 1, 1, 20]], float)
PRIORS /= PRIORS.sum(1, keepdims=True)
SHARES = np.array([0.2137, 0.5, 0.97])


class Known(nn.Module):
    """Gives what it holds, (outputs, 1, W), whatever the image."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = nn.Parameter(torch.as_tensor(outputs, dtype=torch.float32))

    def forward(self, given, time, labels=None):
        return self.outputs.expand(len(given), len(self.outputs), *given.shape[2:])


class Beside(nn.Module):
    """Of each pixel a number by its neighbours and the time, by operations whose bits do not depend on the batch."""

    def forward(self, given, time, labels=None):
        near = given + 0.5 * given.roll(1, -1) + 0.25 * given.roll(1, -2)
        return torch.cat((near, 0.3 * near - time.view(-1, 1, 1, 1) / 50), 1)


@pytest.fixture(autouse=True)
def states(monkeypatch):
    add_heads(monkeypatch)


def with_prior(logits):
    schedule = fb.Schedule.cosine(100)
    return fb.BlackoutModel(Known(logits), schedule, max_count=MOST, input="unit", head="known-states")


@pytest.fixture
def exact():
    """A model that knows the law of each of three pixels, which are independent."""
    return with_prior(np.log(PRIORS).T[:, None])


@pytest.fixture
def beside():
    return fb.BlackoutModel(Beside(), fb.Schedule.cosine(50), max_count=20, input="unit", head="beta-binomial")


def posterior(prior, y, p):
    x = np.arange(MOST + 1)
    law = prior * scipy.stats.binom.pmf(y, x, p)
    return law / law.sum()


def agree(drawn, law):
    """Whether counts are draws of a law over 0, 1, ...; what is expected less than five times stands together."""
    seen, expected = np.bincount(drawn, minlength=len(law)), law * len(drawn)
    assert seen.size == law.size and seen[law == 0].sum() == 0
    few = expected < 5
    seen, expected = (np.append(each[~few], each[few].sum()) for each in (seen, expected))
    keep = expected > 0
    if keep.sum() == 1:  # one number is certain, and the first assertion has looked
        return True
    return scipy.stats.chisquare(seen[keep], expected[keep]).pvalue > DOUBT


@pytest.mark.parametrize("steps", [1, 7])
def test_draws_have_the_posterior_law_of_each_image_at_its_own_share(exact, steps):
    images = np.array([[1, 0, 2], [3, 2, 0], [4, 5, 6]])[:, None, None, :]
    found = fb.photons.denoise(exact, images, SHARES, draws=4000, steps=steps, batch=4096)
    assert found.draws.shape == (4000, 3, 1, 1, 3) and found.draws.dtype == np.uint8
    for i in range(3):
        for pixel in range(3):
            law = posterior(PRIORS[pixel], images[i, 0, 0, pixel], SHARES[i])
            assert agree(found.draws[:, i, 0, 0, pixel], law), (i, pixel)
    assert np.array_equal(found.mean, found.draws.mean(0).astype(np.float32))


@pytest.mark.parametrize("steps, usual", [(10, 10), (50, 20)])
def test_steps_by_default(steps, usual, capsys):
    model = fb.BlackoutModel(Known(np.zeros((1, 1, 1))), fb.Schedule.cosine(steps), MOST, "unit", head="mean")
    images = np.ones((1, 1, 2, 2), int)
    found = fb.photons.denoise(model, images, 0.3, 2, progress=True)
    assert np.array_equal(found.draws, fb.photons.denoise(model, images, 0.3, 2, usual).draws)
    told = capsys.readouterr().err
    assert f"{2 * usual}/{2 * usual} steps" in told and fb.photons.denoise(model, images, 0.3, 0).draws.size == 0


def test_without_draws_there_is_one_bar(exact, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fb.photons.denoise(exact, np.ones((1, 1, 1, 3), int), 0.3, 0, progress=True)
    told = capsys.readouterr().err
    assert "1 images" in told and "0 draws" not in told


def test_without_draws_the_mean_is_of_the_law_itself(exact):
    images = np.array([[1, 0, 2], [3, 2, 0], [4, 5, 6]], np.uint16)[:, None, None, :]
    found = fb.photons.denoise(exact, images, SHARES, draws=0)
    means = [
        [posterior(PRIORS[pixel], images[i, 0, 0, pixel], SHARES[i]) @ np.arange(MOST + 1) for pixel in range(3)]
        for i in range(3)
    ]
    assert found.draws.shape == (0, 3, 1, 1, 3)
    assert np.allclose(found.mean[:, 0, 0], means, rtol=1e-5) and found.mean.dtype == np.float32


def test_pixels_that_depend_on_one_another():
    """Two pixels are mostly equal. The network knows the law of each by what is seen of the other; many steps then make
    draws of both together."""
    joint = np.full((3, 3), 0.02) + np.diag([0.4, 0.2, 0.22])
    joint /= joint.sum()
    schedule = fb.Schedule.cosine(400)

    class Two(nn.Module):
        def forward(self, given, time, labels=None):
            p = torch.tensor(schedule.p)[time + 1][:, None]
            x_t = (given[:, 0, 0].double() + p).round()  # input "unit" of max_count 2 is x_t - p
            x = torch.arange(3.0, dtype=torch.float64)
            survive = torch.distributions.Binomial(x, p[..., None]).log_prob
            seen = torch.where(x_t[..., None] <= x, survive(torch.minimum(x_t[..., None], x)), -torch.inf).exp()
            other = seen.flip(1) @ torch.from_numpy(joint)  # joint is symmetric
            return torch.log(other).float().movedim(2, 1)[:, :, None]

    model = fb.BlackoutModel(Two(), schedule, max_count=2, input="unit", head="known-states")
    share = float(schedule.p[250])
    drawn = fb.photons.denoise(model, np.array([[[[0, 1]]]]), share, draws=4000, steps=250, batch=4000).draws
    pairs = drawn[:, 0, 0, 0].astype(int) @ [3, 1]
    x = np.arange(3)
    law = joint * np.outer(scipy.stats.binom.pmf(0, x, share), scipy.stats.binom.pmf(1, x, share))
    assert agree(pairs, (law / law.sum()).ravel())
    apart = np.outer(law.sum(1), law.sum(0)).ravel() / law.sum() ** 2
    assert not agree(pairs, apart)


@pytest.fixture
def unbounded():
    """Counts without a bound: gamma-Poisson numbers, by a network that leaves the law of its data as it is."""
    model = fb.BlackoutModel(
        Known(np.zeros((2, 1, 2))), fb.Schedule.cosine(80), None, "log1p", head="negative-binomial"
    )
    data = np.random.default_rng(0).negative_binomial([2.0, 5.0], [0.02, 0.001], (400, 1, 1, 2))
    model.fit_input(data)
    start = model.fitted.start[:, 0].double()
    mean, size = torch.exp(start[0] + 0.5 * np.log(model.max_count)), torch.exp(start[1] + 1)
    return model, mean.numpy(), size.numpy()


def test_unbounded_counts_of_uint16(unbounded):
    model, m, r = unbounded
    y, p = np.array([[[[7, 900]]]], np.uint16), 0.2468
    drawn = fb.photons.denoise(model, y, p, draws=3000, steps=4, batch=3000).draws
    assert drawn.dtype == np.int32
    for pixel in range(2):
        size = r[pixel] + y[0, 0, 0, pixel]
        theta = (1 - p) * m[pixel] / (r[pixel] + p * m[pixel])
        law = scipy.stats.nbinom(size, 1 / (1 + theta))
        places = np.searchsorted(law.ppf(np.arange(1, 20) / 20), drawn[:, 0, 0, 0, pixel] - y[0, 0, 0, pixel])
        edges = np.concatenate(([0], law.cdf(law.ppf(np.arange(1, 20) / 20)), [1]))
        assert agree(places, np.diff(edges))


@pytest.mark.parametrize("p", [0.3, 0.99991, 1.0])
def test_rate_is_the_mean_of_the_rate(unbounded, p):
    """Of a gamma rate of mean m and size r, y photons at the share p make the mean (r + y) m / (r + p m)."""
    model, m, r = unbounded
    y = np.array([[[[7, 900]]], [[[0, 4]]]])
    assert np.allclose(fb.photons.rate(model, y, p), (r + y) * m / (r + p * m), rtol=1e-5)


@pytest.mark.parametrize("parametrization", ["likelihood", "paper"])
def test_between_times_a_mean_holds_its_rate(parametrization):
    network = Known(np.full((1, 1, 1), 0.7))
    model = fb.BlackoutModel(network, fb.Schedule.cosine(10), 8, "unit", parametrization)
    share = np.array([model.schedule.p[5], 0.52])
    rates = fb.photons.rate(model, np.zeros((2, 1, 1, 1), int), share)
    assert np.allclose(rates[0], rates[1], rtol=1e-6)
    assert np.allclose(rates[0] * model.schedule.q[5], model.gain(5) * np.log1p(np.exp(0.7)), rtol=1e-6)
    drawn = fb.photons.denoise(model, np.zeros((2, 1, 1, 1), int), share, draws=4000, steps=1, batch=8000).draws
    births = drawn.reshape(4000, 2).mean(0)
    assert np.allclose(births, rates.ravel() * (1 - share), atol=6 * drawn.std() / 4000**0.5)


def test_a_share_of_1_leaves_an_image(beside):
    images = np.random.default_rng(0).integers(0, 21, (3, 1, 4, 4))
    found = fb.photons.denoise(beside, images, [1.0, 0.5, 1.0], draws=5)
    assert (found.draws[:, [0, 2]] == images[[0, 2]]).all() and (found.mean[[0, 2]] == images[[0, 2]]).all()
    assert (found.draws[:, 1] >= images[1]).all() and (found.draws[:, 1] != images[1]).any()
    almost = fb.photons.denoise(beside, images, 1 - 1e-12, draws=2, steps=30)
    assert (almost.draws == images).all()
    before = 0.9994  # of which the nearest time, p_1 = .99901, lies further back: there is no step to it
    assert (fb.photons.denoise(beside, images, before, draws=2, steps=30).draws >= images).all()


def test_bits_do_not_depend_on_the_batch_and_not_on_other_images(beside):
    images = np.random.default_rng(0).integers(0, 12, (3, 1, 6, 6))
    share = np.array([0.1, 0.4, 0.8])
    whole = fb.photons.denoise(beside, images, share, draws=4, rng=5)
    for batch in (1, 5):
        found = fb.photons.denoise(beside, images, share, draws=4, rng=5, batch=batch)
        assert np.array_equal(found.draws, whole.draws)
    for i in range(3):
        key = fb.Philox(5, first_sample=i)
        alone = fb.photons.denoise(beside, images[i : i + 1], share[i], draws=1, rng=key)
        assert np.array_equal(alone.draws[0, 0], whole.draws[0, i])
    tiled = [fb.photons.denoise(beside, images, share, draws=4, tile=4, batch=batch).draws for batch in (1, 7, 99)]
    assert all(np.array_equal(each, tiled[0]) for each in tiled)


def test_libraries_dtypes_and_dimensions(beside):
    images = np.random.default_rng(0).integers(0, 12, (3, 1, 6, 6))
    usual = fb.photons.denoise(beside, images, 0.3, draws=2, rng=1)
    for given in (images.astype(np.uint16), images.astype(np.float64)):
        assert np.array_equal(fb.photons.denoise(beside, given, 0.3, draws=2, rng=1).draws, usual.draws)
    tensor = fb.photons.denoise(beside, torch.from_numpy(images), torch.tensor(0.3, dtype=torch.float64), 2, rng=1)
    assert torch.equal(tensor.draws, torch.from_numpy(usual.draws)) and tensor.mean.dtype == torch.float32
    flat = fb.photons.denoise(beside, images[:, 0], 0.3, draws=2, rng=1)
    assert np.array_equal(flat.draws, usual.draws[:, :, 0]) and flat.mean.shape == (3, 6, 6)
    assert fb.photons.rate(beside, images[:, 0], 0.3).shape == (3, 6, 6)


def test_a_network_of_single_pixels_gives_the_same_in_tiles(exact):
    model = with_prior(np.log(PRIORS[0])[:, None, None])
    images = np.random.default_rng(0).integers(0, 4, (2, 1, 9, 13))
    whole = fb.photons.denoise(model, images, 0.4, draws=3, steps=4)
    tiled = fb.photons.denoise(model, images, 0.4, draws=3, steps=4, tile=5, overlap=2)
    assert np.array_equal(tiled.draws, whole.draws)
    means = (fb.photons.denoise(model, images, 0.4, draws=0, **how).mean for how in ({}, {"tile": 5}))
    assert np.allclose(*means, rtol=1e-6)


def test_noise_of_an_implicit_head_is_cut_as_the_image_is():
    class Noise(nn.Module):
        def forward(self, given, time, labels=None):
            return given[:, 1:]

    model = fb.BlackoutModel(Noise(), fb.Schedule.cosine(20), 9, "unit", head="implicit", noise_channels=1)
    images = np.zeros((2, 1, 6, 6), int)
    whole, tiled = (fb.photons.denoise(model, images, 0.5, draws=2, **how).draws for how in ({}, {"tile": 4}))
    assert np.array_equal(whole, tiled) and whole.any()


def test_a_mean_without_draws_is_no_more_than_the_model_can_count():
    model = fb.BlackoutModel(Known(np.full((1, 1, 1), 50.0)), fb.Schedule.cosine(10), 8, "unit", head="mean")
    found = fb.photons.denoise(model, np.full((1, 1, 2, 2), 7), 0.3, draws=0)
    assert (found.mean == 8).all()


@pytest.mark.parametrize(
    "length, tile, overlap", [(9, 5, 2), (13, 5, 4), (64, 28, 7), (28, 28, 0), (30, 28, 20), (5, 1, 0)]
)
def test_tiles_cover_an_axis_and_their_weights_sum_to_1(length, tile, overlap):
    starts, weights = axis_of(length, tile, overlap)
    total = np.zeros(length)
    for start, each in zip(starts, weights.numpy(), strict=True):
        assert (each > 0).all()
        total[start : start + tile] += each
    assert np.allclose(total, 1, rtol=1e-14) and starts[0] == 0 and starts[-1] == length - tile
    assert all(a < b <= a + tile - overlap for a, b in zip(starts, starts[1:], strict=False))
    ends = weights[0][-1].item(), weights[-1][0].item()
    assert len(starts) == 1 or max(ends) <= 1 / (1 + overlap)  # a tile fades out where it ends within the image
    assert weights[0][0] == weights[-1][-1] == 1 or overlap > tile / 2


def test_outputs_of_tiles_are_averaged_as_their_weights_say():
    class Corner:
        max_count = 9

        def __call__(self, given, time, labels=None):
            return given + torch.arange(4.0)[:, None] * 100 + torch.arange(4.0) + time.view(-1, 1, 1, 1) * 1000

    axes = axis_of(7, 4, 1), axis_of(6, 4, 2)
    images, times = torch.arange(84.0).view(2, 1, 7, 6), torch.tensor([3, 5])
    expected = np.zeros((2, 1, 7, 6))
    for top, rows in zip(axes[0].starts, axes[0].weights.numpy(), strict=True):
        for left, columns in zip(axes[1].starts, axes[1].weights.numpy(), strict=True):
            for i in range(2):
                for row in range(4):
                    for column in range(4):
                        at, weight = (i, 0, top + row, left + column), rows[row] * columns[column]
                        expected[at] += weight * (images[at].item() + 100 * row + column + 1000 * times[i].item())
    for batch in (1, 3, 100):
        tiled = Tiled(Corner(), axes, batch)
        assert tiled.max_count == 9 and tiled.tiles == 4
        assert np.allclose(tiled(images, times), expected, rtol=1e-6)
