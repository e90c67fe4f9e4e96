"""`--patience`: a training that stops when a held-out number no longer falls, and keeps its best checkpoint."""

import json
import shutil

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.data.dataset import make_dataset
from fastblackout.training.config import TrainConfig
from fastblackout.training.journal import read_log
from fastblackout.training.run import since_best

TINY = {"steps": 40, "batch": 8, "channels": 8, "threads": 1, "schedule_steps": 60, "log_every": 4, "warmup": 1}
TINY |= {"held_out_every": 4, "sample_every": 0, "checkpoint_every": 3, "patience": 2, "dropout": 0.0, "ema": 0.0}


def data():
    rng = np.random.default_rng(0)
    return make_dataset("array", rng.integers(0, 9, (42, 1, 4, 4)), None, max_count=8, held_out_count=10)


def judged(run, name="held_out_loss"):
    return [(record["step"], record[name]) for record in read_log(run / "log.jsonl") if name in record]


def test_the_best_of_numbers():
    found = [since_best(numbers) for numbers in ([], [1.0], [2.0, 1.0], [1.0, 2.0, 1.0], [1.0, 3.0, 2.0])]
    assert found == [-1, 0, 0, 2, 2]


@pytest.mark.parametrize("by", ["loss", "bits"])
def test_a_training_that_gets_no_better_stops_and_keeps_its_best(tmp_path, by, capsys):
    """At an enormous learning rate it only gets worse."""
    config = TrainConfig(**{**TINY, "stop_by": by, "bits_every": 4, "learning_rate": 0.5, "clip": 1e9})
    folder = fb.train(data(), tmp_path / "run", config)
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
    config = TrainConfig(**{**TINY, "learning_rate": 0.5, "clip": 1e9, "keep": 100})
    whole = fb.train(data(), tmp_path / "whole", config, progress=False)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    for checkpoint in sorted((tmp_path / "parts" / "checkpoints").iterdir())[2:]:  # as if killed after step 3
        shutil.rmtree(checkpoint)
    shutil.rmtree(tmp_path / "parts" / "best")
    parts = fb.train(data(), tmp_path / "parts", config, resume=True, progress=False)
    again = fb.train(data(), tmp_path / "parts", config, resume=True, progress=False)  # has stopped already
    for file in ("network.safetensors", "ema.safetensors"):
        assert (whole / file).read_bytes() == (parts / file).read_bytes() == (again / file).read_bytes()
        if file.startswith("ema"):
            assert (tmp_path / "whole/best" / file).read_bytes() == (tmp_path / "parts/best" / file).read_bytes()
    steps = [json.loads((tmp_path / run / "best/config.json").read_text())["step"] for run in ("whole", "parts")]
    assert steps[0] == steps[1]


def test_the_last_number_may_be_the_best(tmp_path):
    config = TrainConfig(**{**TINY, "steps": 3})  # the only number is the last one
    fb.train(data(), tmp_path / "short", config, progress=False)
    assert fb.load_run(tmp_path / "short" / "best", device="cpu").checkpoint.step == 3


def test_a_number_that_is_never_taken_cannot_stop_a_training():
    with pytest.raises(ValueError, match="patience: needs bits_every above 0 for stop_by bits, got 2"):
        TrainConfig(**{**TINY, "stop_by": "bits"})
