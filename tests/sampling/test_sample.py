"""The reverse process with the network replaced by fixed functions whose outcome is known.

Steps that read their numbers from a table on the device give the bytes of the ordinary loop; on a machine with a CUDA
device they are also captured and replayed. A new sampler is one class in rules.py and one line in SAMPLERS.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fastblackout.backends import available
from fastblackout.backends.select import use_backend
from fastblackout.blackout import BlackoutModel
from fastblackout.call.head import FAMILIES
from fastblackout.cli.command_line import build_parser
from fastblackout.heads import head_named
from fastblackout.ops import Leaped, tau_leap_step
from fastblackout.philox import Philox
from fastblackout.sampling import rules
from fastblackout.sampling.names import SAMPLERS
from fastblackout.sampling.sampler import sample, sample_in_batches
from fastblackout.sampling.steps import Setting, run_from_table, step_from_table, table_of_steps
from support.pixel_model import OPTIONS, SCHEDULE, PixelModel

SHAPE = (64, 3, 5, 7)
SMALL = (6, 2, 5, 7)
RNG = Philox(seed=2**63 + 1, first_sample=3, call=99)  # the call of the key given is not used: steps count from 0
NONE = torch.zeros(4, dtype=torch.bool)
of_options = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))


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
@of_options
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


def test_without_rng_torch_seeds_the_draw():
    torch.manual_seed(0)
    first = sample(PixelModel(), SCHEDULE, SHAPE, steps=3)
    second = sample(PixelModel(), SCHEDULE, SHAPE, steps=3)
    torch.manual_seed(0)
    assert torch.equal(sample(PixelModel(), SCHEDULE, SHAPE, steps=3), first)
    assert not torch.equal(first, second)


def test_an_empty_batch():
    assert sample(PixelModel(), SCHEDULE, (0, 1, 4, 4), steps=3, rng=Philox(0)).shape == (0, 1, 4, 4)


# --- steps from a table


@pytest.mark.parametrize("max_count", [16, 255, 1000])
@of_options
def test_same_bytes_as_the_ordinary_loop(options, max_count):
    model = PixelModel(max_count)
    random = torch.Generator().manual_seed(0)
    image = torch.randint(0, max_count + 1, SMALL, generator=random)
    mask = torch.rand(SMALL[1:], generator=random) < 0.5
    labels = torch.arange(6) % 3
    for more in (
        {},
        {"labels": labels, "guidance": 1.5},
        {"labels": labels, "guidance": [0, 0.1, 0, 2.3] * 3},
        {"known": image, "mask": mask},
        {"known": image, "mask": mask, "labels": labels, "guidance": 0.5, "start": image // 2},
        {"start": image},
    ):
        given = {"steps": 12, "rng": RNG, **options, **more}
        before = None if "start" not in more else more["start"].clone()
        expected = sample(model, SCHEDULE, SMALL, **given)
        drawn = sample(model, SCHEDULE, SMALL, cuda_graph=True, **given)
        assert drawn.dtype == expected.dtype and torch.equal(drawn, expected)
        assert before is None or torch.equal(before, more["start"])


@pytest.mark.parametrize("steps", [1, 2, 3, 40])
def test_any_number_of_steps_and_any_split(steps):
    model = PixelModel()
    whole = sample(model, SCHEDULE, SMALL, steps=steps, rng=RNG)
    parts = sample_in_batches(model, SCHEDULE, SMALL, 4, RNG, steps=steps, cuda_graph=True)
    assert torch.equal(torch.cat(list(parts)), whole)


class Network(torch.nn.Module):
    """Notes what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.5))
        self.max_count, self.seen = 255, []

    center, scale, gain = PixelModel.center, PixelModel.scale, PixelModel.gain

    def forward(self, model_input, k, labels=None):
        self.seen.append((self.training, torch.is_grad_enabled(), k.tolist(), model_input.clone()))
        return model_input * self.weight


def test_the_network_sees_the_same_and_its_mode_comes_back():
    networks = Network(), Network()
    for network, graph in zip(networks, (False, True), strict=True):
        sample(network, SCHEDULE, SMALL, steps=5, rng=RNG, cuda_graph=graph)
        assert network.training
    for one, other in zip(networks[0].seen, networks[1].seen, strict=True):
        assert one[:3] == other[:3] and one[:2] == (False, False) and torch.equal(one[3], other[3])


def test_a_step_only_works_on_tensors():
    """The step changes x, model_input and the key's call, and reads its numbers by that call: it can be replayed."""
    setting = Setting(PixelModel(), SCHEDULE, rules.Bridge())
    times = SCHEDULE.grid(8).tolist()
    x = torch.zeros(SMALL, dtype=torch.uint8)
    table, state = table_of_steps(setting, x, times, [0.0] * 8, RNG)
    places = [tensor.data_ptr() for tensor in state]
    frozen = table.clone()
    for n in range(8):
        assert state.key.tolist() == [1 - 2**63, 3, n]
        step_from_table(setting, table, state)
    assert [tensor.data_ptr() for tensor in state] == places
    assert torch.equal(table, frozen)
    assert torch.equal(state.x, run_from_table(setting, x, times, [0.0] * 8, RNG).x) and not x.any()


# --- the last step


MOST, STATES = 200, torch.tensor([0, 1, 40, 150, 199, 200])


class Constant(torch.nn.Module):
    """The same outputs in every pixel, so many that a head of `number` has enough."""

    def __init__(self, number):
        super().__init__()
        self.outputs = 0.7 * torch.randn(number, generator=torch.Generator().manual_seed(3))

    def forward(self, x, time, labels=None):
        return self.outputs.view(1, -1, 1, 1).expand(len(x), -1, *x.shape[2:])


def model_of(head):
    return BlackoutModel(Constant(head_named(head).numbers_per_count(MOST)[0]), SCHEDULE, MOST, head=head)


@pytest.mark.parametrize("head", [*FAMILIES, "mean"])
def test_the_mean_is_that_of_what_is_drawn(head):
    """Of 4,000 draws of one step to time 0: within the half that rounding takes and 5 standard errors, so that a right
    mean is refused with a probability below 1e-5 for all heads together."""
    number = 4000
    start = STATES.view(1, 1, 1, -1).expand(number, 1, 1, -1)
    model, shape = model_of(head), (number, 1, 1, len(STATES))
    sampler = "tau-leap" if head == "mean" else "bridge"  # the bridge draws nothing in its last step but the rounding
    drawn = sample(model, SCHEDULE, shape, 1, start=start, rng=RNG, sampler=sampler).double().view(number, -1)
    mean = sample(model, SCHEDULE, shape, 1, start=start, rng=RNG, sampler=sampler, last_step="mean").view(number, -1)
    assert (mean == mean[0]).all()
    cut = (drawn == MOST).double().mean(0) > 1e-3 if head in ("mean", "negative-binomial") else torch.zeros(len(STATES))
    gap = (mean[0] - drawn.mean(0)).abs()
    assert cut.sum() <= 4 and ((gap <= 0.5 + 5 * drawn.std(0) / number**0.5) | cut.bool()).all(), gap


def test_the_mean_of_a_beta_binomial_law_to_the_last_digit():
    outputs = model_of("beta-binomial").network.outputs.double()
    k = SCHEDULE.steps
    births = (MOST - STATES) * torch.sigmoid(outputs[0] + np.log(SCHEDULE.q[k]))
    start = STATES.view(1, 1, 1, -1)
    got = sample(model_of("beta-binomial"), SCHEDULE, start.shape, 1, start=start, rng=RNG, last_step="mean")
    assert torch.equal(got, (start + torch.floor(births + 0.5)).to(torch.uint8))


@of_options
def test_the_steps_before_it_draw_what_they_drew(options):
    films = {}
    for last_step in ("draw", "mean"):
        film = films[last_step] = []
        how = {"callback": lambda n, k, x, film=film: film.append((n, k, x.clone())), "last_step": last_step}
        sample(PixelModel(), SCHEDULE, (3, 1, 4, 4), 7, rng=RNG, **how, **options)
    assert [row[:2] for row in films["draw"]] == [row[:2] for row in films["mean"]] and len(films["mean"]) == 8
    for drawn, mean in zip(films["draw"][:-1], films["mean"][:-1], strict=True):
        assert torch.equal(drawn[2], mean[2])
    before, after = films["mean"][-2][2], films["mean"][-1][2]
    model, k = PixelModel(), films["mean"][-2][1]
    logits = model((before.float() - model.center(k)) * model.scale(k), k).double()
    births = model.gain(k) * torch.nn.functional.softplus(logits)
    assert (after - (before + births).clamp(max=255)).abs().max() <= 0.5 + 1e-4


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("head", ["mean", "beta-binomial"])
def test_a_table_of_steps_draws_the_same(head, steps):
    model = model_of(head)
    mask = torch.zeros((3, 1, 4, 4), dtype=torch.bool)
    mask[..., 1] = True
    for how in ({}, {"known": torch.tensor(9), "mask": mask}):
        one, other = (
            sample(model, SCHEDULE, (3, 1, 4, 4), steps, rng=RNG, last_step="mean", cuda_graph=graph, **how)
            for graph in (False, True)
        )
        assert torch.equal(one, other) and (not how or (one[mask] == 9).all())


# --- a new sampler


@dataclass(frozen=True)
class SlowLeap(rules.Rule):
    """Tau-leaping with a share of the births."""

    attrition: float = 0.0

    def numbers(self, schedule, k_t, k_s):
        return schedule.leap(k_t, k_s), 1.0 - self.attrition

    def step(self, x, numbers, out, **arguments):
        step = numbers[0] * numbers[1]
        return tau_leap_step(x, step=step, out=None if out is None else Leaped(*out), **arguments)


@pytest.fixture
def slow_leap(monkeypatch):
    """The name of a sampler that is there as long as the test."""
    monkeypatch.setattr(rules, "SlowLeap", SlowLeap, raising=False)
    monkeypatch.setitem(SAMPLERS, "slow-leap", "SlowLeap")
    return "slow-leap"


def test_it_draws_in_both_loops(slow_leap):
    given = {"steps": 9, "rng": RNG, "labels": torch.arange(6) % 3, "guidance": 0.5}
    drawn = sample(PixelModel(), SCHEDULE, SMALL, sampler=slow_leap, **given)
    assert torch.equal(drawn, sample(PixelModel(), SCHEDULE, SMALL, sampler="tau-leap", **given))
    slower = sample(PixelModel(), SCHEDULE, SMALL, sampler=slow_leap, attrition=0.5, **given)
    assert 0 < slower.double().mean() < drawn.double().mean()
    captured = sample(PixelModel(), SCHEDULE, SMALL, sampler=slow_leap, attrition=0.5, cuda_graph=True, **given)
    assert torch.equal(captured, slower)
    how = {name: given[name] for name in ("steps", "guidance")} | {"sampler": slow_leap, "attrition": 0.5}
    parts = sample_in_batches(PixelModel(), SCHEDULE, SMALL, 4, RNG, given["labels"], **how)
    assert torch.equal(torch.cat(list(parts)), slower)


def test_the_command_line_and_the_errors_know_it(slow_leap, capsys):
    for command in ("sample", "evaluate"):
        assert build_parser().parse_args([command, "--sampler", slow_leap]).sampler == slow_leap
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, "--help-all"])
        page = "".join(capsys.readouterr().out.split())  # lines may end at any hyphen
        assert "ruleofareversestep:bridge,tau-leap,tau-leap-rate,lanl-2023,slow-leap.Default:bridge." in page
    belong = "must be left at the default but with sampler bridge"
    for words, options in (
        (
            "sampler: must be one of bridge, tau-leap, tau-leap-rate, lanl-2023, slow-leap, got 'euler'",
            {"sampler": "euler"},
        ),
        (f"rounding: {belong}, got nearest with slow-leap", {"sampler": slow_leap, "rounding": "nearest"}),
        (f"attrition: {belong}, slow-leap, got 0.5 with tau-leap", {"sampler": "tau-leap", "attrition": 0.5}),
    ):
        with pytest.raises(ValueError) as raised:
            sample(PixelModel(), SCHEDULE, SMALL, rng=RNG, **options)
        assert str(raised.value) == f"sample: {words}"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
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
        ({"shape": (-1, 3)}, ValueError, "shape"),
        ({"guidance": [0, 0.5]}, ValueError, "guidance: must be a number, or a list of 3, one a step, got [0, 0.5]"),
        ({"guidance": 1.0}, ValueError, "guidance: needs labels"),
        ({"guidance": float("nan"), "labels": torch.zeros(2).long()}, ValueError, "guidance: must be finite"),
        ({"guidance": -0.5, "labels": torch.zeros(2).long()}, ValueError, "guidance: must be finite and at least 0"),
        ({"known": torch.zeros(2, 1, 4, 4).long()}, ValueError, "must come together"),
        ({"known": torch.zeros(4).long(), "mask": torch.zeros(4)}, TypeError, "must be a bool tensor"),
        ({"known": torch.zeros(4).long(), "mask": NONE[:3]}, ValueError, "mask: must broadcast"),
        ({"known": torch.zeros(3).long(), "mask": NONE}, ValueError, "known: must broadcast"),
        ({"known": torch.zeros(4), "mask": NONE}, TypeError, "integer counts"),
        ({"start": torch.full((2, 1, 4, 4), 256)}, ValueError, "start: counts must lie in 0..255, got 256"),
        ({"start": torch.full((2, 1, 4, 4), -1)}, ValueError, "start: counts must lie in 0..255, got -1"),
        ({"rng": -1}, ValueError, "rng"),
        ({"cuda_graph": True, "callback": print}, ValueError, "callback: must be None with cuda_graph, got one"),
    ],
)
def test_wrong_arguments(options, error, words):
    arguments = {"shape": (2, 1, 4, 4), "steps": 3, "rng": Philox(0), **options}
    with pytest.raises(error) as raised:
        sample(PixelModel(), SCHEDULE, **arguments)
    assert words in str(raised.value)
