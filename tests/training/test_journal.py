"""What a training writes while it runs: the log, whose records no interruption changes, TensorBoard's files, which say
what the log says, and an end where a loss is not finite."""

import math
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from fastblackout.cli import main
from fastblackout.data import load
from fastblackout.heads import HEADS
from fastblackout.training import run as training
from fastblackout.training.checkpoint import EMA, NETWORK, load_checkpoint
from fastblackout.training.config import TrainConfig, preset
from fastblackout.training.journal import TAGS, SinceLog, read_log
from fastblackout.training.ranks import current

TINY = ["--batch=8", "--channels=8", "--threads=1", "--schedule-steps=60", "--quiet"]
TINY += ["--log-every=2", "--checkpoint-every=4", "--held-out-every=3", "--sample-every=4"]
TRAIN = ["train", "array", "--data=counts.npz", *TINY]


@pytest.fixture
def place(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="it is not installed")
    np.savez(tmp_path / "counts.npz", images=np.random.default_rng(0).integers(0, 12, (30, 4, 4)))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs/array"


def board(run):
    """What TensorBoard shows: (step, value) of every scalar, and the steps of the pictures."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "images": 0})
    events.Reload()
    scalars = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return scalars, events.Images("samples") if events.Tags()["images"] else []


def says_what_the_log_says(run):
    scalars, pictures = board(run)
    records = read_log(run / "log.jsonl")
    for name, tag in TAGS.items():
        wanted = [(record["step"], record[name]) for record in records if name in record]
        found = scalars.pop(tag, [])
        assert [step for step, _ in found] == [step for step, _ in wanted], tag
        assert np.allclose([value for _, value in found], [value for _, value in wanted], rtol=1e-6), tag
    assert not scalars
    assert [f"samples-{event.step:08d}.png" for event in pictures] == sorted(f.name for f in run.glob("samples-*.png"))
    for event in pictures:
        (run / "seen.png").write_bytes(event.encoded_image_string)
        with Image.open(run / "seen.png") as seen, Image.open(run / f"samples-{event.step:08d}.png") as written:
            assert np.array_equal(np.asarray(seen.convert("L")), np.asarray(written))
    return records


def test_the_board_says_what_the_log_says(place):
    assert main([*TRAIN, "--tensorboard", "--steps=6"]) == 0
    records = says_what_the_log_says(place)
    assert [r["step"] for r in records if "loss" in r] == [2, 4, 6]
    assert all(r["gradient_norm"] > 0 for r in records if "loss" in r)


def test_a_record_has_the_means_over_its_steps(place):
    more = ["--steps=6", "--sample-every=0", "--held-out-every=0"]
    assert main([*TRAIN, *more]) == 0
    assert main([*TRAIN, *more, "--log-every=1", "--out=each"]) == 0
    each = read_log(place.parent.parent / "each/log.jsonl")
    assert len({record["gradient_norm"] for record in each}) == 6
    for record in read_log(place / "log.jsonl"):
        step = record["step"]
        for name in ("loss", "gradient_norm"):
            assert record[name] == pytest.approx((each[step - 2][name] + each[step - 1][name]) / 2, rel=1e-6)


def test_a_killed_and_resumed_run_has_every_step_once(place, monkeypatch):
    step, at_the_kill = training.Trainer.train_step, {}

    def failing(self):
        if self.step == 7:
            at_the_kill.update(board(place)[0])
            raise RuntimeError("the lights go out")
        return step(self)

    monkeypatch.setattr(training.Trainer, "train_step", failing)
    assert main([*TRAIN, "--tensorboard", "--steps=12"]) == 1  # with step 6 on the board, after the checkpoint of 4
    monkeypatch.undo()
    monkeypatch.chdir(place.parent.parent)
    assert [step for step, _ in at_the_kill["loss/training"]] == [2, 4, 6]  # nothing waits to be written
    assert main(["train", "array", "--data=counts.npz", "--resume", "--quiet"]) == 0  # the run remembers the board
    records = says_what_the_log_says(place)
    assert [r["step"] for r in records if "loss" in r] == [2, 4, 6, 8, 10, 12]
    assert len(list((place / "tensorboard").iterdir())) == 2


def test_a_picture_made_before_the_kill_is_on_the_board_of_the_resumed_run(place):
    assert main([*TRAIN, "--tensorboard", "--steps=8"]) == 0
    shutil.rmtree(place / "checkpoints/step-00000008")  # as if it had been killed before it was saved
    assert main([*TRAIN, "--resume"]) == 0
    says_what_the_log_says(place)


def test_a_board_begun_late_has_all_that_was_before(place):
    assert main([*TRAIN, "--steps=6"]) == 0
    assert not (place / "tensorboard").exists()
    assert main([*TRAIN, "--resume", "--tensorboard", "--steps=10"]) == 0
    records = says_what_the_log_says(place)
    assert [r["step"] for r in records if "loss" in r] == [2, 4, 6, 8, 10]
    assert main([*TRAIN, "--resume", "--no-tensorboard", "--steps=12"]) == 0
    assert [step for step, _ in board(place)[0]["loss/training"]] == [2, 4, 6, 8, 10]


def test_without_the_package_nothing_begins(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # an import of it is an ImportError
    assert main(["train", "array", "--data=nothing.npz", "--tensorboard", *TINY]) == 1  # before the data are read
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "train: tensorboard: needs tensorboard" in err and "pip install 'fastblackout[tensorboard]'" in err
    assert not place.exists()
    with pytest.raises(ValueError, match="tensorboard: needs tensorboard"):
        training.train(load("array", "counts.npz"), place, TrainConfig(tensorboard=True), progress=False)
    assert not place.exists() or not list(place.iterdir())
    assert main([*TRAIN, "--steps=1"]) == 0


SMALL = {"batch": 8, "channels": 8, "threads": 1, "schedule_steps": 60, "warmup": 0, "device": "cpu"}
ASTRAY = {"learning_rate": 1e6, "ema": 0.0, "held_out_every": 0, "sample_every": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "a.npy"
    np.save(path, np.random.default_rng(0).integers(0, 9, (40, 4, 4)))
    return load("array", path)


@pytest.mark.parametrize("head", HEADS)
def test_a_network_that_has_gone_astray_is_told(data, tmp_path, head):
    """On a CPU at once, though the log is not due; the op of the head would refuse its output as an argument."""
    config = preset("array", **{**SMALL, **ASTRAY, "head": head, "steps": 20, "log_every": 50, "checkpoint_every": 1})
    with pytest.raises(FloatingPointError, match=r"^train: the loss is nan at step \d+; try a lower learning rate$"):
        training.train(data, tmp_path / "run", config, progress=False)
    assert load_checkpoint(tmp_path / "run").step < 20


@pytest.mark.parametrize("judged", ["held_out_every", "bits_every", "sample_every"])
@pytest.mark.parametrize("head", ["mean", "implicit", "beta-binomial"])
def test_so_are_averaged_weights(data, tmp_path, head, judged):
    config = preset("array", **{**SMALL, **ASTRAY, "head": head, "steps": 1, judged: 1})
    with pytest.raises(FloatingPointError, match="^train: the loss is nan at step 1; try a lower learning rate$"):
        training.train(data, tmp_path / "run", config, progress=False)


def test_no_checkpoint_has_the_weights_of_a_step_that_is_not_finite(data, tmp_path, monkeypatch):
    """Without a look at the network's output, as on a GPU, they are seen before a checkpoint though no log is due."""

    def step(self):
        self.step += 1
        self.gradient_norm = torch.tensor(math.nan if self.step == 5 else 1.0)
        return torch.tensor(2.0)

    monkeypatch.setattr(training.Trainer, "train_step", step)
    config = preset("array", **{**SMALL, "steps": 20, "log_every": 50, "checkpoint_every": 2, "held_out_every": 0})
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
