"""A new sampler is one class in rules.py and one line in SAMPLERS; all else finds it there."""

from dataclasses import dataclass

import pytest
import torch

from fastblackout.cli.command_line import build_parser
from fastblackout.ops import Leaped, tau_leap_step
from fastblackout.philox import Philox
from fastblackout.sampling import rules
from fastblackout.sampling.names import SAMPLERS
from fastblackout.sampling.sampler import sample, sample_in_batches
from support.pixel_model import SCHEDULE, PixelModel

SHAPE, RNG = (6, 2, 5, 7), Philox(5, first_sample=2)


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
    drawn = sample(PixelModel(), SCHEDULE, SHAPE, sampler=slow_leap, **given)
    assert torch.equal(drawn, sample(PixelModel(), SCHEDULE, SHAPE, sampler="tau-leap", **given))
    slower = sample(PixelModel(), SCHEDULE, SHAPE, sampler=slow_leap, attrition=0.5, **given)
    assert 0 < slower.double().mean() < drawn.double().mean()
    captured = sample(PixelModel(), SCHEDULE, SHAPE, sampler=slow_leap, attrition=0.5, cuda_graph=True, **given)
    assert torch.equal(captured, slower)
    how = {name: given[name] for name in ("steps", "guidance")} | {"sampler": slow_leap, "attrition": 0.5}
    parts = sample_in_batches(PixelModel(), SCHEDULE, SHAPE, 4, RNG, given["labels"], **how)
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
            sample(PixelModel(), SCHEDULE, SHAPE, rng=RNG, **options)
        assert str(raised.value) == f"sample: {words}"


def test_every_name_has_its_rule():
    assert list(SAMPLERS) == ["bridge", "tau-leap", "tau-leap-rate", "lanl-2023"]
    assert all(issubclass(rules.load_rule(name), rules.Rule) for name in SAMPLERS)
