"""A new head is one file with its class and one line in HEADS; all else asks them."""

import json
import sys

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout import heads
from fastblackout.blackout import BlackoutModel
from fastblackout.cli.command_line import build_parser, main
from fastblackout.training.config import TrainConfig, preset
from support.squares import squares

SCHEDULE, RNG = fb.Schedule.cosine(50), fb.Philox(5, first_sample=2)

LOG_MEAN = '''
import torch

from fastblackout.heads.head import Head
from fastblackout.heads.poisson_births import rows_of


class LogMean(Head):
    """log E[x_0 - x_t | x_t] = outputs + log(1 - p)."""

    def loss(self, model, noised):
        log_y = model(noised.model_input, noised.k, noised.labels) + rows_of(noised.number, noised.births)
        return noised.weight * (log_y.exp() - noised.births * log_y).flatten(1).sum(1)

    def births(self, query, x, number, key):
        return {"births": torch.exp(query.guided() + rows_of(torch.as_tensor(number).float(), x))}

    def log_mean(self, at, between=None):
        return at.outputs + rows_of(at.number if between is None else between[0].log(), at.outputs)
'''


@pytest.fixture
def log_mean(monkeypatch, tmp_path):
    """The name of a head that is there as long as the test."""
    (tmp_path / "log_mean.py").write_text(LOG_MEAN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "log_mean", raising=False)
    monkeypatch.setitem(heads.HEADS, "log-mean", heads.Listed("log_mean:LogMean", {"schedule": "cosine"}))
    yield "log-mean"
    heads._MADE.pop("log-mean", None)


class Zero(torch.nn.Module):
    def forward(self, x, time, labels=None):
        return x * 0


def test_of_poisson_counts_its_samples_and_its_bound_are_exact(log_mean):
    """Births of a mean 1 - p, whatever was seen, are the births of Poisson counts of mean 1."""
    model = BlackoutModel(Zero(), SCHEDULE, 30, head=log_mean)
    draw = {"steps": 5, "sampler": "tau-leap", "rng": RNG}
    drawn = fb.sample(model, SCHEDULE, (40, 1, 32, 32), **draw)
    counts = np.bincount(drawn.flatten().numpy(), minlength=8)
    chance = stats.poisson.pmf(np.arange(7), 1.0)
    observed, wanted = [*counts[:7], counts[7:].sum()], np.append(chance, 1 - chance.sum()) * drawn.numel()
    assert stats.chisquare(observed, wanted).pvalue > 1e-6
    assert torch.equal(fb.sample(model, SCHEDULE, drawn.shape, cuda_graph=True, **draw), drawn)
    bound = fb.bits_per_dim(model, SCHEDULE, drawn, rng=RNG, steps=50, draws=16, repeats=4)
    entropy = -stats.poisson.logpmf(drawn.numpy(), 1.0).mean() / np.log(2)
    for each in bound:
        assert abs(each.bits - entropy) < 5 * each.monte_carlo_error + 1e-3


def test_the_command_line_trains_samples_and_evaluates_it(log_mean, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    squares(tmp_path / "squares.npz")
    run, given = str(tmp_path / "run"), ["--data", str(tmp_path / "squares.npz")]
    options = ["--steps=4", "--batch=8", "--channels=8", "--threads=1", "--schedule-steps=50", "--bits-every=4"]
    assert main(["train", "array", *given, "--out", run, f"--head={log_mean}", *options, "--quiet"]) == 0
    config = json.loads(next((tmp_path / "run").rglob("config.json")).read_text())["config"]
    assert (config["model"]["head"], config["train"]["schedule"]) == (log_mean, "cosine")
    assert main(["sample", run, "--num=3", "--quiet"]) == 0
    assert main(["evaluate", run, *given, "--num=30", "--seeds=1", "--steps=5", "--bits=2", "--quiet"]) == 0
    assert "5 tau-leaping steps, at the times above" in capsys.readouterr().out
    assert main(["plot", run, *given, "--steps=3", "--quiet"]) == 0
    assert "laws.png: head log-mean gives one number of births" in " ".join(capsys.readouterr().out.split())


def test_its_options_are_known(log_mean, capsys):
    assert preset("array", head=log_mean).schedule == "cosine" != preset("array").schedule
    with pytest.raises(SystemExit):
        build_parser().parse_args(["train", "array", "--help-all"])
    assert "head log-mean" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ValueError, match="^train: draws: belongs to head implicit, here head log-mean, got 4$"):
        TrainConfig(head=log_mean, draws=4)
    with pytest.raises(ValueError, match="^train: head: must be one of mean, .*, log-mean, got 'none'$"):
        TrainConfig(head="none")
