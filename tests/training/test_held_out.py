"""Held-out numbers while a network is trained: `--bits-every`, the bound of fb.bits_per_dim, and `--patience`, which
stops when a number no longer falls and keeps the best checkpoint."""

import json
import shutil

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.data.dataset import make_dataset
from fastblackout.heads import HEADS
from fastblackout.training import run as training
from fastblackout.training.config import TrainConfig
from fastblackout.training.held_out import HeldOutBits
from fastblackout.training.journal import read_log
from fastblackout.training.run import since_best
from fastblackout.training.trained_model import load_run, make_model

TINY = {"steps": 12, "batch": 8, "channels": 8, "threads": 1, "schedule_steps": 60, "log_every": 4}
TINY |= {"held_out_every": 0, "sample_every": 0, "checkpoint_every": 4}
CPU = torch.device("cpu")


def dataset(held_out=10):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 9, (30 + held_out, 1, 4, 4)), np.arange(30 + held_out) % 3
    return make_dataset("array", images, labels, max_count=8, held_out_count=held_out)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_has_the_bound_of_bits_per_dim(head):
    torch.manual_seed(0)
    data = dataset()
    model = make_model(TrainConfig(**{**TINY, **HEADS[head].options, "head": head, "conditional": True}), data).eval()
    with torch.no_grad():  # a fresh network gives 0, whatever the label
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    bits, seen = HeldOutBits(data, model, True, CPU), []
    bound = bits.bound(model, 50, seen.append)
    draws, noises = (2, 8) if head == "implicit" else (8, 1)
    wanted = fb.bits_per_dim(
        model, model.schedule, torch.from_numpy(data.held_out), labels=torch.from_numpy(data.held_out_labels),
        rng=fb.Philox(298), steps=2, draws=draws, repeats=4, noises=noises,
    ).continuous  # fmt: skip
    assert bound.bits == pytest.approx(wanted.bits, rel=1e-5)
    assert bound.monte_carlo_error == pytest.approx(wanted.monte_carlo_error, rel=1e-3)
    assert sum(seen) == bits.total == 10 * draws * 4
    assert np.isfinite(bound.bits) and bound.bits > 0


def test_many_held_out_samples_are_thinned_out_evenly():
    data = dataset(held_out=130)
    model = make_model(TrainConfig(**TINY), data)
    bits = HeldOutBits(data, model, False, CPU)
    assert len(bits.x_0) == 64 and bits.labels is None
    assert torch.equal(bits.x_0[[0, 1, 63]], torch.from_numpy(data.held_out[[0, 2, 127]]))


def log(run):
    return [{k: v for k, v in record.items() if k != "images_per_second"} for record in read_log(run / "log.jsonl")]


def test_bits_are_taken_at_ends_of_epochs_and_at_the_end(tmp_path, monkeypatch):
    data, config = dataset(), TrainConfig(**TINY, bits_every=5)
    training.train(data, tmp_path / "run", config, progress=False)
    taken = [record for record in log(tmp_path / "run") if "bits_per_dim" in record]
    assert [record["step"] for record in taken] == [8, 12]  # of 30 samples, the epochs end with steps 4, 8 and 12
    assert {record["bits_images"] for record in taken} == {10}
    trained = load_run(tmp_path / "run", "cpu")
    bound = HeldOutBits(data, trained.model, False, CPU).bound(trained.model, 256)
    assert taken[-1]["bits_per_dim"] == pytest.approx(bound.bits, rel=1e-6)
    assert taken[-1]["bits_error"] == pytest.approx(bound.monte_carlo_error, rel=1e-4)
    # Taking them changes no bit of the training, and a resumed run takes none twice.
    training.train(data, tmp_path / "without", TrainConfig(**TINY), progress=False)
    without = [record for record in log(tmp_path / "run") if "bits_per_dim" not in record]
    assert log(tmp_path / "without") == without
    step = training.Trainer.train_step
    monkeypatch.setattr(training.Trainer, "train_step", lambda self: 1 / 0 if self.step == 9 else step(self))
    with pytest.raises(ZeroDivisionError):
        training.train(data, tmp_path / "again", config, progress=False)
    monkeypatch.undo()
    training.train(data, tmp_path / "again", config, resume=True, progress=False)
    assert log(tmp_path / "again") == log(tmp_path / "run")


def test_a_record_of_bits_without_its_error_is_no_record(tmp_path):
    good = {"step": 3, "epoch": 0, "bits_per_dim": float("inf"), "bits_error": 0.5}
    lines = [{"step": 2, "bits_per_dim": 1.5}, good]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert read_log(tmp_path / "log.jsonl") == [good]


def test_what_a_pipe_reads(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training.train(dataset(), "run", TrainConfig(**TINY, bits_every=5), progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("step 12: bits per dimension ")
    assert ", bits/dim " in lines[-2]
    assert max(map(len, lines)) <= 80


PATIENT = TINY | {"steps": 40, "held_out_every": 4, "checkpoint_every": 3, "patience": 2, "warmup": 1}
PATIENT |= {"dropout": 0.0, "ema": 0.0}


def unlabelled():
    images = np.random.default_rng(0).integers(0, 9, (42, 1, 4, 4))
    return make_dataset("array", images, None, max_count=8, held_out_count=10)


def judged(run, name="held_out_loss"):
    return [(record["step"], record[name]) for record in read_log(run / "log.jsonl") if name in record]


def test_the_best_of_numbers():
    found = [since_best(numbers) for numbers in ([], [1.0], [2.0, 1.0], [1.0, 2.0, 1.0], [1.0, 3.0, 2.0])]
    assert found == [-1, 0, 0, 2, 2]


@pytest.mark.parametrize("by", ["loss", "bits"])
def test_a_training_that_gets_no_better_stops_and_keeps_its_best(tmp_path, by, capsys):
    """At an enormous learning rate it only gets worse."""
    config = TrainConfig(**{**PATIENT, "stop_by": by, "bits_every": 4, "learning_rate": 0.5, "clip": 1e9})
    folder = fb.train(unlabelled(), tmp_path / "run", config)
    found = judged(tmp_path / "run", "held_out_loss" if by == "loss" else "bits_per_dim")
    best = min(range(len(found)), key=lambda n: found[n][1])
    assert len(found) == best + 3 and found[-1][0] < 40  # stopped after two more
    assert folder.name == f"step-{found[-1][0]:08d}"  # and what was reached is there, too
    kept = fb.load_run(tmp_path / "run" / "best", device="cpu")
    assert kept.checkpoint.step == found[best][0] and not (kept.checkpoint.path / "state").exists()
    assert fb.load_run(tmp_path / "run", device="cpu").checkpoint.step == found[-1][0]
    said = " ".join(capsys.readouterr().err.split())
    assert f"step {found[-1][0]}: stopped, as the" in said and f"at step {found[best][0]}, is in" in said


def test_a_resumed_training_stops_where_one_that_was_never_interrupted_does(tmp_path):
    config = TrainConfig(**{**PATIENT, "learning_rate": 0.5, "clip": 1e9, "keep": 100})
    whole = fb.train(unlabelled(), tmp_path / "whole", config, progress=False)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    for checkpoint in sorted((tmp_path / "parts" / "checkpoints").iterdir())[2:]:  # as if killed after step 3
        shutil.rmtree(checkpoint)
    shutil.rmtree(tmp_path / "parts" / "best")
    parts = fb.train(unlabelled(), tmp_path / "parts", config, resume=True, progress=False)
    again = fb.train(unlabelled(), tmp_path / "parts", config, resume=True, progress=False)  # has stopped already
    for file in ("network.safetensors", "ema.safetensors"):
        assert (whole / file).read_bytes() == (parts / file).read_bytes() == (again / file).read_bytes()
        if file.startswith("ema"):
            assert (tmp_path / "whole/best" / file).read_bytes() == (tmp_path / "parts/best" / file).read_bytes()
    steps = [json.loads((tmp_path / run / "best/config.json").read_text())["step"] for run in ("whole", "parts")]
    assert steps[0] == steps[1]


def test_the_last_number_may_be_the_best(tmp_path):
    config = TrainConfig(**{**PATIENT, "steps": 3})  # the only number is the last one
    fb.train(unlabelled(), tmp_path / "short", config, progress=False)
    assert fb.load_run(tmp_path / "short" / "best", device="cpu").checkpoint.step == 3


def test_a_number_that_is_never_taken_cannot_stop_a_training():
    with pytest.raises(ValueError, match="patience: needs bits_every above 0 for stop_by bits, got 2"):
        TrainConfig(**{**PATIENT, "stop_by": "bits"})
