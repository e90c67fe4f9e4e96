"""The trial of compiled steps that a long training on a CPU begins with: what it chooses, says and leaves alone."""

import re
import signal
import time

import numpy as np
import pytest
import torch

from fastblackout.data import load
from fastblackout.training import run as trial
from fastblackout.training.checkpoint import EMA, TRIED, export_checkpoint, load_checkpoint
from fastblackout.training.config import TrainConfig
from fastblackout.training.run import train
from fastblackout.training.stopping import Terminated
from fastblackout.training.trainer import Trainer

TINY = {"batch": 8, "channels": 8, "schedule_steps": 20, "warmup": 1, "dropout": 0.1, "threads": 1, "device": "cpu"}
QUIET = {"held_out_every": 0, "sample_every": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "a.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 9, (40, 8, 8)))
    return load("array", path)


@pytest.fixture
def clock(monkeypatch):
    """Seconds of a step, by whether it is compiled; every training is worth a look. Steps are taken, and counted."""
    seconds, taken = {False: 1.0, True: 0.5}, []

    def timed(trainer):
        trainer.train_step()
        taken.append(trainer.execution.compiled)
        return seconds[trainer.execution.compiled]

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: None)  # inductor takes a minute
    monkeypatch.setattr(trial, "_seconds", timed)
    monkeypatch.setattr(trial, "FEWEST", 1)
    monkeypatch.setattr(trial, "LONG", 3.0)
    seconds["taken"] = taken
    return seconds


def run(data, out, resume=False, **options):
    return train(data, out, TrainConfig(**{**TINY, **QUIET, "steps": 3, **options}), resume=resume)


@pytest.mark.parametrize(("seconds", "compiled"), [(0.5, True), (0.98, False), (1.3, False)])
def test_the_faster_way_is_kept_and_told(seconds, compiled, data, clock, tmp_path, capsys):
    clock[True] = seconds
    saved = run(data, tmp_path / "run")
    chosen = "compiled" if compiled else "as written"
    told = capsys.readouterr().err
    assert re.search(rf"a step takes 1 s as written, {seconds:.3g} s compiled \(in \d+ s\): {chosen}\n", told)
    assert all(len(line) <= 80 or str(tmp_path) in line for line in told.splitlines())
    assert load_checkpoint(saved).config.get(TRIED) is (True if compiled else None)
    ways = trial.ROUNDS * trial.STEPS
    assert (clock["taken"].count(False), clock["taken"].count(True)) == (1 + trial.STEPS + ways, 1 + ways)
    exported = export_checkpoint(saved, tmp_path / "exported")
    assert TRIED not in load_checkpoint(exported).config


def test_a_resumed_training_keeps_its_way_without_a_trial(data, clock, tmp_path, monkeypatch):
    run(data, tmp_path / "run")
    clock["taken"].clear()
    laid = []
    monkeypatch.setattr("fastblackout.training.execution.Execution.compile", lambda self, n: laid.append(self.compiled))
    saved = run(data, tmp_path / "run", resume=True, steps=4)
    assert (clock["taken"], laid, load_checkpoint(saved).config[TRIED]) == ([], [True], True)
    saved = run(data, tmp_path / "run", resume=True, steps=5, compile="off")
    assert (clock["taken"], laid) == ([], [True, False])
    assert load_checkpoint(saved).step == 5


def test_a_trial_leaves_the_training_alone(data, clock, tmp_path):
    """The weights after a trial that keeps the steps as written are those without one, to the bit."""
    clock[True] = 2.0
    one = load_checkpoint(run(data, tmp_path / "tried")).tensors(EMA)
    other = load_checkpoint(run(data, tmp_path / "off", compile="off")).tensors(EMA)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_short_trainings_and_other_options_have_no_trial(data, clock, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trial, "LONG", 3.01)
    assert TRIED not in load_checkpoint(run(data, tmp_path / "short")).config
    assert clock["taken"] == [False] * (1 + trial.STEPS)
    clock["taken"].clear()
    monkeypatch.setattr(trial, "LONG", 0.0)
    for name, compile in (("off", "off"), ("on", "on")):
        assert TRIED not in load_checkpoint(run(data, tmp_path / name, compile=compile)).config
    monkeypatch.setattr(trial, "FEWEST", 3 * 8 + 1)
    run(data, tmp_path / "few")
    monkeypatch.setattr(trial, "FEWEST", 3 * 8)
    monkeypatch.setattr(trial, "why_not_compiled", lambda device: "a C++ compiler")
    run(data, tmp_path / "without")
    assert clock["taken"] == []
    assert "compil" not in capsys.readouterr().err


def test_a_compiler_that_fails_is_told(data, clock, tmp_path, monkeypatch, capsys):
    def broken(self):
        raise RuntimeError("InductorError:\nno such header")

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: setattr(self, "forward", lambda *x: broken(self)))
    assert TRIED not in load_checkpoint(run(data, tmp_path / "run")).config
    assert "compiling failed (InductorError: no such header): as written\n" in capsys.readouterr().err


def test_a_signal_ends_the_trial(data, clock, tmp_path, monkeypatch):
    timed = trial._seconds

    def interrupted(trainer):
        if len(clock["taken"]) == 2:
            signal.raise_signal(signal.SIGTERM)
        return timed(trainer)

    monkeypatch.setattr(trial, "_seconds", interrupted)
    with pytest.raises(Terminated):
        run(data, tmp_path / "run")
    assert len(clock["taken"]) == 2
    assert not (tmp_path / "run").exists()


def test_a_busy_machine_makes_no_short_training_long(data, tmp_path, monkeypatch, capsys):
    """Nor does a slow step among the first."""
    step, slow = Trainer.train_step, []

    def waits(self):
        if len(slow) < 2:
            slow.append(np.linalg.svd(np.ones((400, 400))))
        time.sleep(0.2)
        return step(self)

    monkeypatch.setattr(Trainer, "train_step", waits)
    monkeypatch.setattr(trial, "FEWEST", 1)
    monkeypatch.setattr(trial, "LONG", 0.2 * 3)
    run(data, tmp_path / "run")
    assert "compil" not in capsys.readouterr().err
