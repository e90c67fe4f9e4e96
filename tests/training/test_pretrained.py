"""The models that come with the package: they load, sample by their name, and their samples are of their data."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.cli import main
from fastblackout.data import load
from fastblackout.evaluation.features import load_classifier
from fastblackout.evaluation.samples import Judge
from fastblackout.pretrained import folder_of, names

MOST_BYTES = 2 << 20


@pytest.mark.parametrize("name", names())
def test_a_model_is_small_and_loads(name):
    assert sum(path.stat().st_size for path in folder_of(name).rglob("*")) < MOST_BYTES
    run = fb.load_pretrained(name, device="cpu")
    assert run.dataset["name"] == name and not run.model.training
    x = fb.sample(run.model, run.schedule, (2, *run.shape), steps=3, grid="early", rng=fb.Philox(0))
    assert x.shape == (2, *run.shape) and 0 < int(x.max()) <= run.model.max_count


def test_digits_are_taken_for_digits():
    """Of real digits the SVM is sure of 93%, of Gaussian noise with their mean and covariance of 24%."""
    run, data = fb.load_pretrained("digits", device="cpu"), load("digits", None)
    x = fb.sample(run.model, run.schedule, (300, *run.shape), steps=20, grid="early", rng=fb.Philox(0))
    named, sure = Judge(data.train, data.train_labels, 16)(x.numpy())
    assert sure.mean() > 0.6
    assert (np.bincount(named, minlength=10) > 9).all()


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_class_that_is_asked_for_is_drawn(name):
    """Of 1,000 samples of 20 steps with this guidance the classifier takes three quarters for what was asked for."""
    run, labels = fb.load_pretrained(name, device="cpu"), torch.arange(40) % 10
    how = {"steps": 5, "grid": "early", "labels": labels, "guidance": 0.5}
    x = fb.sample(run.model, run.schedule, (40, *run.shape), rng=fb.Philox(0), **how)
    found = load_classifier(name)(x.float() / 255)[1].argmax(1)
    assert (found == labels).float().mean() > 0.4  # by chance a tenth, 0.4 or more in one of 1e7


def test_a_name_samples_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "digits", "--num", "4", "--steps", "3", "--quiet", "--device", "cpu"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "digits-samples-film.png",
        "digits-samples.npz",
        "digits-samples.png",
    ]
    run = fb.load_pretrained("digits", device="cpu")
    wanted = fb.sample(run.model, run.schedule, (4, *run.shape), steps=3, rng=fb.Philox(1))  # as tuned
    with np.load("digits-samples.npz") as made:
        assert np.array_equal(made["images"], wanted.numpy())
    assert main(["sample", "digits", "--num", "4", "--steps", "3", "--quiet"]) == 1  # the file is there now
    assert "exists; overwrite it with --force" in capsys.readouterr().err


def test_a_name_is_exported_and_plotted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "digits", "mine"]) == 0
    for wrong, words in (("digits", "must be a new one"), ("nowhere", "there is no folder nowhere")):
        assert main(["export", wrong, "mine"]) == 1
        assert words in capsys.readouterr().err
    for file in ("config.json", "ema.safetensors"):
        assert (tmp_path / "mine" / file).read_bytes() == (folder_of("digits") / file).read_bytes()
    before = sorted((tmp_path / "mine").iterdir())
    assert main(["sample", "mine", "--num", "2", "--steps", "3", "--quiet", "--device", "cpu"]) == 0
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"mine", "mine-samples.npz", "mine-samples.png", "mine-samples-film.png"}
    assert sorted((tmp_path / "mine").iterdir()) == before  # an exported model is left as it is
    assert main(["plot", "digits", "--steps", "3", "--quiet", "--device", "cpu"]) == 0
    assert {path.name for path in (tmp_path / "digits-plots").iterdir()} == {"film.png", "schedule.png", "laws.png"}


def test_a_run_of_that_name_goes_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert main(["sample", "digits"]) == 1
    assert "holds no checkpoint" in capsys.readouterr().err


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"^load_pretrained: name: must be one of digits.*got 'letters'"):
        fb.load_pretrained("letters")
    with pytest.raises(ValueError, match=r"^load_pretrained: name: must be one of digits.*got 3"):
        fb.load_pretrained(3)
