"""`--tensorboard`: its files say what the log says, once a step, whatever happened to the run meanwhile."""

import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from fastblackout.cli import main
from fastblackout.training import run as training
from fastblackout.training.config import TrainConfig
from fastblackout.training.journal import TAGS, read_log

event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
)
TINY = ["--batch=8", "--channels=8", "--threads=1", "--schedule-steps=60", "--quiet"]
TINY += ["--log-every=2", "--checkpoint-every=4", "--held-out-every=3", "--sample-every=4"]
TRAIN = ["train", "array", "--data=counts.npz", *TINY]


@pytest.fixture
def place(tmp_path, monkeypatch):
    np.savez(tmp_path / "counts.npz", images=np.random.default_rng(0).integers(0, 12, (30, 4, 4)))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs/array"


def board(run):
    """What TensorBoard shows: (step, value) of every scalar, and the steps of the pictures."""
    events = event_accumulator.EventAccumulator(str(run / "tensorboard"), {"scalars": 0, "images": 0})
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
        training.train(training_data(), place, TrainConfig(tensorboard=True), progress=False)
    assert not place.exists() or not list(place.iterdir())
    assert main([*TRAIN, "--steps=1"]) == 0


def training_data():
    from fastblackout.data import load

    return load("array", "counts.npz")
