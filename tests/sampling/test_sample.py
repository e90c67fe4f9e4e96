"""The reverse process with the network replaced by fixed functions whose outcome is known."""

import math

import numpy as np
import pytest
import torch

from fastblackout.backends import available
from fastblackout.backends.select import use_backend
from fastblackout.philox import Philox
from fastblackout.sampling.names import SAMPLERS
from fastblackout.sampling.sampler import sample, sample_in_batches
from support.pixel_model import OPTIONS, SCHEDULE, PixelModel

SHAPE = (64, 3, 5, 7)
NONE = torch.zeros(4, dtype=torch.bool)


class Oracle(PixelModel):
    """Knows x_0: its expected births are exactly x_0 - x_t."""

    def __init__(self, x_0, max_count=255):
        super().__init__(max_count)
        self.x_0 = x_0

    def center(self, k):
        return 0.0

    def scale(self, k):
        return 1.0

    def gain(self, k):
        return 1.0

    def __call__(self, model_input, k, labels=None):
        births = (self.x_0 - model_input).double()
        inverse = torch.where(births > 0, births + torch.log(-torch.expm1(-births)), torch.tensor(-80.0).double())
        return inverse.float()


def photographs(max_count=255, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, max_count + 1, SHAPE, generator=generator)


def test_parts_have_their_own_rows_of_what_is_known():
    model, known, rows = PixelModel(), photographs(), (SHAPE[0], 1, 1, 1)
    how = {"known": known, "mask": torch.rand(rows) < 0.5, "start": photographs(seed=1)}
    whole = sample(model, SCHEDULE, SHAPE, steps=5, rng=3, **how)
    parts = sample_in_batches(model, SCHEDULE, SHAPE, 7, 3, steps=5, **how)
    assert torch.equal(torch.cat(list(parts)), whole)
    for name in ("known", "start"):
        wrong = sample_in_batches(model, SCHEDULE, SHAPE, 7, 3, steps=5, **how | {name: known[:7]})
        with pytest.raises(ValueError, match=f"^sample: {name}: must broadcast to .*, got .7, "):
            next(wrong)


@pytest.mark.parametrize("max_count", [16, 255, 1000])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_same_seed_same_bytes_whatever_the_batch(options, max_count):
    model, rng = PixelModel(max_count), Philox(seed=7, first_sample=3)
    labels = torch.arange(64) % 4
    whole = sample(model, SCHEDULE, SHAPE, steps=12, rng=rng, labels=labels, **options)
    threads = torch.get_num_threads()
    try:
        for batch, count in ((7, 1), (64, 2), (1, 2)):
            torch.set_num_threads(count)
            parts = list(sample_in_batches(model, SCHEDULE, SHAPE, batch, rng, labels, steps=12, **options))
            assert torch.equal(torch.cat(parts), whole)
    finally:
        torch.set_num_threads(threads)
    assert whole.dtype == (torch.uint8 if max_count < 256 else torch.int16)
    assert int(whole.min()) >= 0
    assert int(whole.max()) <= max_count
    assert whole.unique().numel() > 3
    assert not torch.equal(sample(model, SCHEDULE, SHAPE, steps=12, rng=Philox(8), labels=labels, **options), whole)


@pytest.mark.parametrize("sampler", ["bridge", "tau-leap"])
def test_same_bytes_on_every_instruction_set_and_thread_count(sampler):
    shape = (64, 3, 20, 20)  # 76,800 elements: enough for the kernels to use a second thread
    model, rng = PixelModel(), Philox(seed=9)
    with use_backend("reference"):
        whole = sample(model, SCHEDULE, shape, steps=5, rng=rng, sampler=sampler)
    for isa in available.load("_cpu").isas():
        for batch, threads in ((64, 1), (64, 2), (7, 2)):
            with use_backend("cpu", isa=isa, threads=threads):
                parts = list(sample_in_batches(model, SCHEDULE, shape, batch, rng, steps=5, sampler=sampler))
            assert torch.equal(torch.cat(parts), whole), (isa, batch, threads)


@pytest.mark.parametrize("max_count", [1, 255, 4000])
def test_an_oracle_is_led_to_its_image(max_count):
    x_0 = photographs(max_count)
    drawn = sample(Oracle(x_0, max_count), SCHEDULE, SHAPE, steps=10, rounding="nearest", rng=Philox(1))
    assert torch.equal(drawn.long(), x_0)


def test_the_path_has_the_forward_law():
    """On the way to x_0 = 200 the bridge's counts are Binomial(200, p_k): mean and variance within 5 standard errors.

    Two numbers at 10 times: under 2e-5 would be false alarms were the seed not fixed.
    """
    x_0 = torch.full((64, 1, 40, 40), 200)
    path = []

    def note(n, k, x):
        path.append((n, k, x.double()))

    sample(Oracle(x_0), SCHEDULE, tuple(x_0.shape), steps=10, rounding="nearest", rng=Philox(2), callback=note)
    assert [n for n, _, _ in path] == list(range(11))
    assert [k for _, k, _ in path] == SCHEDULE.grid(10).tolist()
    count = x_0.numel()
    for _, k, x in path[1:-1]:
        p = SCHEDULE.p[k]
        variance = 200 * p * (1 - p)
        assert abs(float(x.mean()) - 200 * p) < 5 * math.sqrt(variance / count) + 200 * SCHEDULE.p[-1]
        kurtosis = 3 + (1 - 6 * p * (1 - p)) / variance
        allowed = 5 * variance * math.sqrt((kurtosis - 1) / count) + 200 * SCHEDULE.p[-1]
        assert abs(float(x.var()) - variance) < allowed


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_known_pixels_stay_and_follow_the_forward_law(sampler):
    known = photographs()
    known[:, 0] = 240
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :2] = True
    seen = []

    class Watched(PixelModel):
        def __call__(self, model_input, k, labels=None):
            seen.append((int(k[0]), model_input[:, 0].double() / self.scale(0) + self.center(int(k[0]))))
            return super().__call__(model_input, k, labels)

    drawn = sample(Watched(), SCHEDULE, SHAPE, steps=8, sampler=sampler, rng=Philox(3), known=known, mask=mask)
    assert torch.equal(drawn[:, :2].long(), known[:, :2])
    assert not torch.equal(drawn[:, 2].long(), known[:, 2])
    assert len(seen) == 8
    for k, x_t in seen:  # mean of 2,240 draws of Binomial(240, p_k), 8 times: within 5 standard errors
        p = SCHEDULE.p[k]
        assert abs(float(x_t.mean()) - 240 * p) < 5 * math.sqrt(240 * p * (1 - p) / 2240) + 1e-3
    parts = []
    for first in range(0, 64, 10):
        rows = slice(first, first + 10)
        part = known[rows]
        given = {"known": part, "mask": mask[rows], "rng": Philox(3, first_sample=first)}
        parts.append(sample(PixelModel(), SCHEDULE, tuple(part.shape), steps=8, sampler=sampler, **given))
    assert torch.equal(torch.cat(parts), drawn)


def test_guidance_is_the_ratio():
    """One step from black to image: x is y rounded without bias, so its mean is y (5 standard errors)."""
    model, shape = PixelModel(max_count=10_000), (8, 1, 100, 100)
    labels = torch.full((8,), 3)
    start = -model.center(SCHEDULE.steps) * model.scale(0)
    log_softplus = [math.log(math.log1p(math.exp(start * -1.5 + shift + 0.125))) for shift in (0.75, 0.0)]
    for guidance in (0.0, 0.5, 2.0):
        drawn = sample(model, SCHEDULE, shape, steps=1, rng=Philox(4), labels=labels, guidance=guidance).double()
        log_y = (1 + guidance) * log_softplus[0] - guidance * log_softplus[1]
        expected = model.gain(SCHEDULE.steps) * math.exp(log_y)
        assert abs(float(drawn.mean()) - expected) < 5 * 0.5 / math.sqrt(drawn.numel()) + 2e-6 * expected
        assert float(drawn.max() - drawn.min()) <= 1


def test_guidance_stays_finite():
    class Extreme(PixelModel):
        def __call__(self, model_input, k, labels=None):
            return torch.full_like(model_input, -200.0 if labels is None else 50.0)

    labels = torch.zeros(2).long()
    drawn = sample(Extreme(), SCHEDULE, (2, 1, 4, 4), steps=1, rng=Philox(5), labels=labels, guidance=5.0)
    assert int(drawn.min()) == 255


def test_start_is_where_it_begins():
    x_0 = photographs()
    start = x_0 // 2
    frames = []

    def note(n, k, x):
        frames.append(x.long().clone())

    given = {"rng": Philox(6), "start": start, "callback": note}
    drawn = sample(Oracle(x_0), SCHEDULE, SHAPE, steps=5, rounding="nearest", **given)
    assert torch.equal(frames[0], start)
    assert all((after >= before).all() for before, after in zip(frames, frames[1:], strict=False))
    assert torch.equal(drawn.long(), x_0)


def test_dropout_is_off_and_the_mode_is_given_back():
    class Dropping(torch.nn.Module, PixelModel):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.max_count = 255

        def forward(self, model_input, k, labels=None):
            assert not self.training
            assert not torch.is_grad_enabled()
            return -model_input

        __call__ = torch.nn.Module.__call__

    model = Dropping().train()
    sample(model, SCHEDULE, (2, 1, 4, 4), steps=3, rng=Philox(0))
    assert model.training


def test_without_rng_torch_seeds_the_draw():
    torch.manual_seed(0)
    first = sample(PixelModel(), SCHEDULE, SHAPE, steps=3)
    second = sample(PixelModel(), SCHEDULE, SHAPE, steps=3)
    torch.manual_seed(0)
    assert torch.equal(sample(PixelModel(), SCHEDULE, SHAPE, steps=3), first)
    assert not torch.equal(first, second)


def test_an_empty_batch():
    assert sample(PixelModel(), SCHEDULE, (0, 1, 4, 4), steps=3, rng=Philox(0)).shape == (0, 1, 4, 4)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"sampler": "euler"},
            ValueError,
            "sampler: must be one of bridge, tau-leap, tau-leap-rate, lanl-2023, got 'euler'",
        ),
        ({"rounding": "up"}, ValueError, "rounding"),
        (
            {"sampler": "tau-leap", "rounding": "nearest"},
            ValueError,
            "rounding: must be left at the default but with sampler bridge, got nearest with tau-leap",
        ),
        ({"attrition": 1.5}, ValueError, "attrition: must be in [0, 1], got 1.5"),
        ({"attrition": float("nan")}, ValueError, "attrition"),
        ({"steps": 0}, ValueError, "steps"),
        ({"steps": 41}, ValueError, "steps"),
        ({"grid": "square"}, ValueError, "sample: grid: must be one of cosine, index, early, got"),
        ({"grid": [40, 20, 20, 0]}, ValueError, "grid: time indices must be integers that decrease from 40 to 0"),
        ({"grid": [40, 20.5, 2, 0]}, ValueError, "grid: time indices must be integers that decrease from 40 to 0"),
        ({"grid": [0, 0.5, 0.7, 0.9]}, ValueError, "grid: survival probabilities must increase from 0 to 1"),
        ({"grid": [0.5, 0.6, 0.7, 1]}, ValueError, "grid: survival probabilities must increase from 0 to 1"),
        ({"grid": [0, float("nan"), 0.5, 1]}, ValueError, "grid: survival probabilities must increase from 0 to 1"),
        ({"grid": [0, 0.5, 1.0]}, ValueError, "steps: must be left out or 2 beside a grid of 3 times, got 3"),
        ({"guidance": [0, 0.5]}, ValueError, "guidance: must be a number, or a list of 3, one a step, got [0, 0.5]"),
        ({"shape": (2,)}, ValueError, "shape"),
        ({"shape": (-1, 3)}, ValueError, "shape"),
        ({"labels": torch.zeros(3).long()}, ValueError, "integers of shape (2,), got (3,)"),
        ({"guidance": 1.0}, ValueError, "guidance: needs labels"),
        ({"guidance": float("nan"), "labels": torch.zeros(2).long()}, ValueError, "guidance: must be finite"),
        ({"guidance": -0.5, "labels": torch.zeros(2).long()}, ValueError, "guidance: must be finite and at least 0"),
        ({"known": torch.zeros(2, 1, 4, 4).long()}, ValueError, "must come together"),
        (
            {"known": torch.zeros(2, 1, 4, 4).long(), "mask": torch.zeros(2, 1, 4, 4)},
            TypeError,
            "must be a bool tensor",
        ),
        ({"known": torch.zeros(4).long(), "mask": NONE[:3]}, ValueError, "mask: must broadcast"),
        ({"known": torch.zeros(3).long(), "mask": NONE}, ValueError, "known: must broadcast"),
        ({"known": torch.zeros(4), "mask": NONE}, TypeError, "integer counts"),
        ({"start": torch.full((2, 1, 4, 4), 256)}, ValueError, "start: counts must lie in 0..255, got 256"),
        ({"start": torch.full((2, 1, 4, 4), -1)}, ValueError, "start: counts must lie in 0..255, got -1"),
        ({"start": np.zeros((2, 1, 4, 4), dtype=np.uint8)}, TypeError, "start: must be a tensor"),
        ({"rng": 1.5}, TypeError, "rng"),
        ({"rng": -1}, ValueError, "rng"),
    ],
)
def test_wrong_arguments(options, error, words):
    arguments = {"shape": (2, 1, 4, 4), "steps": 3, "rng": Philox(0), **options}
    with pytest.raises(error) as raised:
        sample(PixelModel(), SCHEDULE, **arguments)
    assert words in str(raised.value)


def test_wrong_batch():
    with pytest.raises(ValueError, match="batch: must be in 1.*, got 0"):
        list(sample_in_batches(PixelModel(), SCHEDULE, SHAPE, 0, Philox(0)))
