"""Times as lists and guidance that differs from step to step; settings tuned for few steps, which a model carries."""

import json

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.models import NetworkConfig
from fastblackout.sampling.plan import Tuned, moves_of, to_json, tuned_at, tuned_from, usual_steps
from fastblackout.sampling.sampler import sample
from support.pixel_model import SCHEDULE, PixelModel

LONG = fb.Schedule.cosine(1000)
SHAPE = (4, 1, 5, 6)
FIVE = Tuned((40, 33, 30, 22, 9, 0), (0.5, 0.25, 0.0, 0.0, 1.0), "mean", 1.5, "2026-11-30")
TWO = Tuned((40, 25, 0), (0.75, 0.0), "draw", 1.6, "2026-11-29")


class TunedModel(PixelModel):
    tuned = {2: TWO, 5: FIVE}
    schedule = SCHEDULE


def test_a_grid_may_be_a_list_of_times():
    """Of time indices, or of survival probabilities, of which the nearest are meant."""
    named = sample(PixelModel(), SCHEDULE, SHAPE, 7, "early", rng=fb.Philox(6))
    times = SCHEDULE.grid(7, "early", 255)
    p = SCHEDULE.p[times]
    for grid in (times, times.tolist(), torch.from_numpy(times), p, [0, *1.0001 * p[1:-1], 1]):
        assert torch.equal(sample(PixelModel(), SCHEDULE, SHAPE, grid=grid, rng=fb.Philox(6)), named)
    assert SCHEDULE.grid(kind=[0, 1e-9, 2e-9, 1]).tolist() == [40, 39, 38, 0]  # neighbours move apart


@pytest.mark.parametrize("head", ["mean", "beta-binomial", "implicit"])
def test_guidance_may_differ_from_step_to_step(head):
    """A step without guidance calls the network once, and each step draws what it does with that guidance in all."""

    class Counted(torch.nn.Module):
        calls = 0

        def forward(self, x, time, labels=None):
            Counted.calls += 1
            shift = 0 if labels is None else labels.view(-1, 1, 1, 1) / 4 + 0.5
            return torch.cat([x[:, :1] * 0.01 + shift] * (2 if head == "beta-binomial" else 1), dim=1)

    model = BlackoutModel(Counted(), SCHEDULE, 255, head=head, noise_channels=int(head == "implicit"))

    def path(guidance):
        states = []
        given = {"labels": torch.arange(3), "rng": fb.Philox(7), "callback": lambda n, k, x: states.append(x)}
        sample(model, SCHEDULE, (3, 1, 4, 4), 5, guidance=guidance, **given)
        return states

    guidance = [0.5, 0, 0, 1.25, 0]
    states = path(guidance)
    assert Counted.calls == 5 + 2
    for n in range(3):
        others = path([*guidance[: n + 1], *[2.0] * (4 - n)])
        assert torch.equal(others[n + 1], states[n + 1]) and not torch.equal(others[n + 2], states[n + 2])
    assert torch.equal(path([0.5] * 5)[-1], path(0.5)[-1])


def test_json_and_back():
    values = json.loads(json.dumps(to_json(TunedModel.tuned)))
    assert tuned_from(values, SCHEDULE) == TunedModel.tuned
    network = NetworkConfig("mlp", {"shape": [3, 1, 1], "channels": 8, "blocks": 1}).build()
    model = BlackoutModel(network, SCHEDULE, 255)
    assert model.tuned == {}
    model.tuned = {**TunedModel.tuned, 2: TWO._replace(distance=None)}
    assert BlackoutModel.from_config(json.loads(json.dumps(model.to_config()))).tuned == model.tuned
    model.tuned = {}
    assert "tuned" not in model.to_config()


@pytest.mark.parametrize(
    "change",
    [
        {"times": [40, 25, 1]},
        {"times": [40, 25, 25, 0]},
        {"times": [39, 25, 0]},
        {"times": ["40", 25, 0]},
        {"guidance": [0.5]},
        {"guidance": [0.5, -1]},
        {"guidance": [0.5, float("inf")]},
        {"last_step": "median"},
        {"distance": -1.0},
        {"distance": "near"},
        {"day": "yesterday"},
        {"more": 1},
    ],
    ids=str,
)
def test_what_tune_does_not_write_is_refused(change):
    values = {"2": {**to_json({2: TWO})["2"], **change}}
    with pytest.raises(ValueError, match="^tuned: must be what fastblackout tune writes, got"):
        tuned_from(values, SCHEDULE)
    for damaged in ([], {"2": 3}, {"3": to_json({2: TWO})["2"]}):
        with pytest.raises(ValueError, match="^tuned: "):
            tuned_from(damaged, SCHEDULE)


def early(steps):
    return Tuned(tuple(LONG.grid(steps, "early", 255).tolist()), (0.3,) * steps, "mean", 1.0, "2026-11-30")


@pytest.mark.parametrize("searched", [2, 5, 20])
def test_between_the_searched_numbers_times_follow_those_of_the_nearest(searched):
    """A model whose tuned times are the times of the grid early has these for every number of steps, but for rounding
    to whole times; where they lie lower in logit p by 1, they do so for every number."""
    for steps in (n for n in (1, 2, 3, 7, 10, 30) if searched / 3 <= n <= 3 * searched):
        found = tuned_at({searched: early(searched)}, steps, LONG, 255)
        wanted = LONG.grid(steps, "early", 255)
        assert np.abs(np.array(found.times) - wanted).max() <= 2, (steps, found.times)
        assert found.guidance == pytest.approx((0.3,) * steps)
    lower = np.array([LONG.p[list(early(searched).times)[1:-1]]])
    odds = lower / (1 - lower) / np.e
    p = [0, *(odds / (1 + odds))[0], 1]
    one = early(searched)._replace(times=tuple(LONG.grid(kind=p).tolist()))
    for steps in (n for n in (4, 12, 25) if searched / 3 <= n <= 3 * searched):
        moves = moves_of(LONG, 255, tuned_at({searched: one}, steps, LONG, 255).times)
        assert moves.mean() == pytest.approx(-1, abs=0.1), (steps, moves)


def test_every_number_of_steps_has_times():
    tuned = {5: early(5), 20: early(20)._replace(guidance=tuple(np.linspace(0, 2, 20)))}
    for steps in (2, 4, 6, 9, 11, 40, 60):
        found = tuned_at(tuned, steps, LONG, 255)
        assert len(found.times) == steps + 1 and (np.diff(found.times) < 0).all()
        assert (found.times[0], found.times[-1]) == (1000, 0)
    assert tuned_at(tuned, 1, LONG, 255) is tuned_at(tuned, 61, LONG, 255) is None  # too far from any
    assert tuned_at(tuned, 5, LONG, 255) == tuned[5]
    assert set(tuned_at(tuned, 9, LONG, 255).guidance) == {0.3}  # 9 / 5 is less than 20 / 9
    rising = tuned_at(tuned, 11, LONG, 255).guidance
    assert rising == pytest.approx(np.linspace(0, 2, 20)[0] + np.linspace(0.05, 1.95, 11) - 0.05, abs=0.06)


def test_the_usual_number_of_steps_is_the_fewest_that_is_nearly_the_best():
    assert usual_steps(TunedModel.tuned) == 2
    assert usual_steps({2: TWO._replace(distance=1.66), 5: FIVE}) == 5
    assert usual_steps({2: TWO._replace(distance=None), 5: FIVE}) == 5
    assert usual_steps({2: TWO._replace(distance=None)}) is usual_steps({}) is None


def test_times_that_were_not_searched_serve_the_numbers_between_them():
    """Without a number of steps the grid is then the grid of an untuned model."""
    rule = {2: TWO._replace(distance=None), 5: FIVE._replace(distance=None)}
    assert tuned_at(rule, 4, SCHEDULE, 255).times != tuple(SCHEDULE.grid(4, "early", 255))
    assert tuned_at(rule, 1, SCHEDULE, 255) is tuned_at(rule, 6, SCHEDULE, 255) is None
    both = {2: TWO, 5: rule[5], 20: rule[5]}  # beside one that was searched they stand for their own numbers
    assert tuned_at(both, 5, SCHEDULE, 255) == rule[5]
    assert tuned_at(both, 6, SCHEDULE, 255) == tuned_at({2: TWO}, 6, SCHEDULE, 255)
    assert tuned_at(both, 7, SCHEDULE, 255).day == FIVE.day

    class Trained(PixelModel):
        tuned = rule

    given = {"rng": fb.Philox(3), "labels": torch.arange(4)}
    assert torch.equal(sample(Trained(), SCHEDULE, SHAPE, **given), sample(PixelModel(), SCHEDULE, SHAPE, **given))
    five = sample(PixelModel(), SCHEDULE, SHAPE, grid=FIVE.times, guidance=FIVE.guidance, last_step="mean", **given)
    assert torch.equal(sample(Trained(), SCHEDULE, SHAPE, 5, **given), five)


def test_a_tuned_model_is_sampled_as_tuned():
    model, labels, rng = TunedModel(), torch.arange(4), fb.Philox(3)
    five = {"grid": FIVE.times, "guidance": FIVE.guidance, "last_step": "mean"}
    two = {"grid": TWO.times, "guidance": TWO.guidance, "last_step": "draw"}

    def drawn(**options):
        return sample(model, SCHEDULE, SHAPE, rng=rng, **{"labels": labels, **options})

    assert torch.equal(drawn(steps=5), drawn(**five))
    assert torch.equal(drawn(), drawn(**two))
    assert torch.equal(drawn(steps=5, guidance=2.0), drawn(**{**five, "guidance": 2.0}))
    assert torch.equal(drawn(steps=5, last_step="draw"), drawn(**{**five, "last_step": "draw"}))
    assert torch.equal(drawn(steps=5, labels=None), drawn(**{**five, "guidance": 0.0, "labels": None}))
    plain = sample(PixelModel(), SCHEDULE, SHAPE, steps=5, rng=rng, labels=labels, grid="early")
    assert torch.equal(drawn(steps=5, grid="early"), plain)
    assert not torch.equal(drawn(steps=5), plain)
    far = drawn(steps=16, guidance=0.5, last_step="draw")
    assert torch.equal(far, drawn(steps=16, grid="cosine", guidance=0.5))
    assert torch.equal(drawn(steps=5, sampler="tau-leap"), drawn(steps=5, grid="cosine", sampler="tau-leap"))
    between = tuned_at(model.tuned, 4, SCHEDULE, 255)
    shown = []
    drawn(steps=4, callback=lambda n, k, x: shown.append(k))
    assert tuple(shown) == between.times


def test_an_untuned_model_is_sampled_as_ever():
    wanted = sample(PixelModel(), SCHEDULE, SHAPE, 40, "cosine", rng=fb.Philox(1), guidance=0.0, last_step="draw")
    assert torch.equal(sample(PixelModel(), SCHEDULE, SHAPE, 40, rng=fb.Philox(1)), wanted)
