"""What a training makes of its losses: records that no interruption changes, and an end where one is not finite."""

import math

import numpy as np
import pytest
import torch

import fastblackout.training.run as training
from fastblackout.data import load
from fastblackout.heads import HEADS
from fastblackout.training.checkpoint import EMA, NETWORK, load_checkpoint
from fastblackout.training.config import preset
from fastblackout.training.journal import SinceLog
from fastblackout.training.ranks import current

TINY = {"batch": 8, "channels": 8, "threads": 1, "schedule_steps": 60, "warmup": 0, "device": "cpu"}
ASTRAY = {"learning_rate": 1e6, "ema": 0.0, "held_out_every": 0, "sample_every": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "a.npy"
    np.save(path, np.random.default_rng(0).integers(0, 9, (40, 4, 4)))
    return load("array", path)


@pytest.mark.parametrize("head", HEADS)
def test_a_network_that_has_gone_astray_is_told(data, tmp_path, head):
    """On a CPU at once, though the log is not due; the op of the head would refuse its output as an argument."""
    config = preset("array", **{**TINY, **ASTRAY, "head": head, "steps": 20, "log_every": 50, "checkpoint_every": 1})
    with pytest.raises(FloatingPointError, match=r"^train: the loss is nan at step \d+; try a lower learning rate$"):
        training.train(data, tmp_path / "run", config, progress=False)
    assert load_checkpoint(tmp_path / "run").step < 20


@pytest.mark.parametrize("judged", ["held_out_every", "bits_every", "sample_every"])
@pytest.mark.parametrize("head", ["mean", "implicit", "beta-binomial"])
def test_so_are_averaged_weights(data, tmp_path, head, judged):
    config = preset("array", **{**TINY, **ASTRAY, "head": head, "steps": 1, judged: 1})
    with pytest.raises(FloatingPointError, match="^train: the loss is nan at step 1; try a lower learning rate$"):
        training.train(data, tmp_path / "run", config, progress=False)


def test_no_checkpoint_has_the_weights_of_a_step_that_is_not_finite(data, tmp_path, monkeypatch):
    """Without a look at the network's output, as on a GPU, they are seen before a checkpoint though no log is due."""

    def step(self):
        self.step += 1
        self.gradient_norm = torch.tensor(math.nan if self.step == 5 else 1.0)
        return torch.tensor(2.0)

    monkeypatch.setattr(training.Trainer, "train_step", step)
    config = preset("array", **{**TINY, "steps": 20, "log_every": 50, "checkpoint_every": 2, "held_out_every": 0})
    with pytest.raises(FloatingPointError, match="norm of the loss's gradient is nan at step 6; try a lower learning"):
        training.train(data, tmp_path / "run", config, progress=False)
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.step == 4 and checkpoint.config["since_log"] == [8.0, 4.0, 4]
    assert all(value.isfinite().all() for name in (EMA, NETWORK) for value in checkpoint.tensors(name).values())


def test_means_do_not_depend_on_where_they_are_interrupted():
    rows = torch.from_numpy(np.random.default_rng(1).gamma(0.1, 1e3, (50, 2)).astype(np.float32))
    found = []
    for ends in ((49,), (0, 1, 20, 49), range(50)):
        seen = SinceLog(current())
        for at, (loss, norm) in enumerate(rows):
            seen.add(loss, norm)
            if at in ends:
                seen.read(at)
                state, seen = seen.state, SinceLog(current())
                seen.restore(state)
        found.append(seen.take_means())
    assert found[0] == found[1] == found[2]
    assert found[0]["loss"] == pytest.approx(float(rows[:, 0].double().mean()))
    assert seen.state == [0.0, 0.0, 0]


@pytest.mark.parametrize("state", [0, [], {"a": 1}, [0.0, 0.0, -1], [0.0, 0.0, True], ["a", 0.0, 1], [0.0, 0.0, 1.0]])
def test_states_that_cannot_be_right_are_refused(state):
    with pytest.raises(ValueError, match=r"^checkpoint: config.json is damaged: since_log cannot be right$"):
        SinceLog(current()).restore(state)
