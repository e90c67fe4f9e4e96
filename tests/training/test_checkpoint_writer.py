"""Checkpoints written by a thread: of the moment they were asked for, one after the other, and no error is lost."""

import signal
import threading

import numpy as np
import pytest
import torch

import fastblackout.training.checkpoint as checkpoint
import fastblackout.training.run as training
from fastblackout.data.dataset import make_dataset
from fastblackout.training.checkpoint import EMA, NETWORK, OPTIMIZER, CheckpointWriter, load_checkpoint
from fastblackout.training.config import TrainConfig

CONFIG = TrainConfig(
    steps=13, batch=4, channels=8, threads=1, schedule_steps=20, held_out_every=0, sample_every=0, checkpoint_every=4
)


@pytest.fixture(scope="module")
def data():
    return make_dataset("few", np.arange(20 * 16).reshape(20, 1, 4, 4) % 7, max_count=6)


@pytest.fixture
def gate(monkeypatch):
    """The thread waits at this before it writes."""
    gate, write = threading.Event(), checkpoint.save_checkpoint

    def late(*arguments):
        assert gate.wait(60)
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "save_checkpoint", late)
    return gate


def test_it_holds_what_was_there_when_it_was_asked_for(tmp_path, gate):
    weight = torch.arange(3.0)
    with CheckpointWriter() as writer:
        writer.save(tmp_path, 1, {}, {NETWORK: {"w": weight}}, 5)
        weight.add_(1.0)
        writer.check()
        assert not checkpoint.has_checkpoint(tmp_path)
        gate.set()
        writer.save(tmp_path, 2, {}, {NETWORK: {"w": weight}}, 5)
        assert checkpoint.step_folder(tmp_path, 1).is_dir()  # the second waits for the first
    for step in (1, 2):
        saved = load_checkpoint(checkpoint.step_folder(tmp_path, step))
        assert torch.equal(saved.tensors(NETWORK)["w"], torch.arange(3.0) + (step - 1))


@pytest.mark.parametrize("stopped", [False, True])
def test_an_error_of_the_thread_ends_the_training(data, tmp_path, monkeypatch, stopped):
    """Also where the training was to end: then what was not saved is not said to be."""
    steps, step, write = [], training.Trainer.train_step, checkpoint.save_checkpoint

    def full(run, number, *more):
        if number > 4:
            raise OSError(28, "No space left on device")
        return write(run, number, *more)

    def counted(self):
        steps.append(self.step)
        if stopped and self.step == 5:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    monkeypatch.setattr(training.Trainer, "train_step", counted)
    with pytest.raises(OSError, match="No space left"):
        training.train(data, tmp_path / "run", CONFIG, progress=False)
    assert steps[-1] <= 11  # at the latest when the next is begun
    assert load_checkpoint(tmp_path / "run").step == 4
    assert not [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.startswith(".")]
    monkeypatch.undo()
    training.train(data, tmp_path / "run", CONFIG, resume=True, progress=False)
    training.train(data, tmp_path / "whole", CONFIG, progress=False)
    one, other = (load_checkpoint(tmp_path / name) for name in ("run", "whole"))
    for name in (NETWORK, EMA, OPTIMIZER):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes()


def test_an_error_is_noticed_without_a_wait(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    writer = CheckpointWriter()
    writer.save(tmp_path, 1, {}, {}, 1)
    with pytest.raises(OSError, match="No space left"):
        for _ in range(6000):
            writer.check()
            threading.Event().wait(0.01)
    writer.check()  # it is told once
    writer.save(tmp_path, 1, {}, {}, 1)
    with pytest.raises(KeyError), writer:
        raise KeyError  # and does not take the place of another


def test_an_error_of_a_step_leaves_the_checkpoint_that_was_begun(data, tmp_path, monkeypatch):
    """The thread begins to write when the step has failed already."""
    failed, step, write = threading.Event(), training.Trainer.train_step, checkpoint.save_checkpoint

    def late(run, number, *more):
        assert number < 4 or failed.wait(60)
        return write(run, number, *more)

    def failing(self):
        if self.step == 4:
            failed.set()
            raise RuntimeError("the lights go out")
        return step(self)

    monkeypatch.setattr(checkpoint, "save_checkpoint", late)
    monkeypatch.setattr(training.Trainer, "train_step", failing)
    with pytest.raises(RuntimeError, match="lights"):
        training.train(data, tmp_path / "run", CONFIG, progress=False)
    assert load_checkpoint(tmp_path / "run").step == 4
