"""Numbers in features of a network against formulas written another way, and against known cases."""

import importlib.util

import numpy as np
import pytest
import torch
from scipy import linalg

from fastblackout.data import Dataset
from fastblackout.evaluation import network_scores
from fastblackout.evaluation.features import Features
from fastblackout.evaluation.network_scores import (
    compare_features,
    features_lines,
    inception_score,
    kernel_distance,
    precision_and_recall,
    rgb_bytes,
)
from support.random_inception import write_random_inception

HAS_FIDELITY = importlib.util.find_spec("torch_fidelity") is not None
needs_fidelity = pytest.mark.skipif(not HAS_FIDELITY, reason="no torch-fidelity")


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


def by_formula(x, y):
    """The squared Frechet distance by the square root of a product, as scipy takes it."""
    c_x, c_y = np.cov(x.T), np.cov(y.T)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c_x + c_y - 2 * linalg.sqrtm(c_x @ c_y).real)


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


def test_wrong_samples_are_refused(random_features):
    for bad in ([], [images(5), images(4)], images(1), images(9)[:, :, 1:]):
        with pytest.raises(ValueError, match="compare: samples: need 2 or more"):
            compare_features(random_features, bad, DATA)


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
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-3)
    assert np.isnan(kernel_distance(x[:1], y))


@needs_fidelity
def test_score_precision_and_recall_of_known_cases():
    certain = np.eye(4)[np.arange(400) % 4]
    assert inception_score(certain) == pytest.approx(4, rel=0.05)  # four classes, each image sure of one
    assert inception_score(np.full((400, 4), 0.25)) == pytest.approx(1)
    assert np.isnan(inception_score(certain[:9]))
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 100
    both = np.concatenate([left[:100], right[:100]])
    assert precision_and_recall(left, both) == (pytest.approx(1, abs=0.1), pytest.approx(0.5, abs=0.05))
    assert precision_and_recall(both, left) == (pytest.approx(0.5, abs=0.05), pytest.approx(1, abs=0.1))
    assert precision_and_recall(left, right) == (0, 0)
    assert np.isnan(precision_and_recall(left[:3], both)).all()


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
    found = rgb_bytes(counts, 16)
    assert found.dtype == torch.uint8 and found.shape == (1, 3, 2, 3)
    assert found[0, 0].flatten().tolist() == [0, 16, 32, 128, 239, 255]
    assert torch.equal(found[:, 0], found[:, 1]) and torch.equal(found[:, 0], found[:, 2])
    colour = torch.arange(12.0).reshape(1, 3, 2, 2)
    assert torch.equal(rgb_bytes(colour, 255), colour.to(torch.uint8))
    with pytest.raises(ValueError, match="must have 1 or 3 channels, got 2"):
        rgb_bytes(colour[:, :2], 255)
