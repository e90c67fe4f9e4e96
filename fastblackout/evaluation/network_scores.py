"""How good samples are in the features of a network, beside the same numbers of real images.

Where torch-fidelity is installed, it adds FID, KID, Inception score, precision and recall. With a local file of weights
it also gives the Inception network of the published figures.
"""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..atomic_files import read_plain
from ..ground.extras import lacking, pip_line
from ..ground.terminal import wrap
from .features import Features, checked
from .samples import Gaussian, sets_of, spread_out

if TYPE_CHECKING:
    from ..data import Dataset

SUBSETS = 5  # random subsets of the training images whose mean distance is the floor
KID_SUBSET = 1000  # most images of each of KID's 100 random subsets
MOST_NEIGHBOURS = 10_000  # most images of precision and recall, which compare each image with each
NEIGHBOURS = 3
SPLITS = 10  # parts of the samples, over which the Inception score is a mean
_SMALLEST = 1e-300  # a probability of 0 has no logarithm

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"  # of torch-fidelity's releases, version 0.2.0
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
MOST_BYTES = 1 << 28  # the file has 95,628,359
BATCH = 50
LAYERS = ("2048", "logits_unbiased")  # what torch-fidelity takes for FID, KID, precision and recall; for the score

Array = NDArray[Any]


def compare_features(
    features: Features, samples: Array | Sequence[Array], dataset: Dataset, reference: int | None = None
) -> dict[str, Any]:
    """Samples (N, C, H, W), or several sets of so many, against a data set, in features; keys: see `features_lines`.

    The Frechet distances are to all training images, or to `reference` of them spread evenly over all: of the samples,
    of as many held-out images, and of random subsets of the training images, the floor for so many. By torch-fidelity,
    where it is installed, come the kernel distance, the Inception score, precision and recall, of samples and of
    held-out images.
    A number about samples is the mean over the sets; result["spread"] holds the standard deviation of the sets' numbers
    and result["each"] the numbers, where there are two sets or more. Raises ValueError when the shapes differ.
    """
    sets = sets_of(samples, dataset)
    if reference is not None and reference < 2:
        raise ValueError(f"compare: reference: must be at least 2, got {reference}")
    train = spread_out(dataset.train, reference or len(dataset.train))
    real = _RealFeatures(features, train, dataset.held_out, len(sets[0]))
    found = [real.judge(*features.with_probabilities(one)) for one in sets]
    result: dict[str, Any] = {
        "name": features.name, "sha256": features.hash, "stand_in": features.stand_in,
        "torch_fidelity": fidelity_version(), "reference": len(train), "samples": len(sets[0]), "as_many": real.few,
        "train_as_many": real.size, "compared": real.compared, **real.numbers,
    }  # fmt: skip
    result |= {f"{name}_samples": float(np.mean([one[name] for one in found])) for name in found[0]}
    if len(sets) > 1:
        result["each"] = {f"{name}_samples": [one[name] for one in found] for name in found[0]}
        result["spread"] = {name: float(np.std(each, ddof=1)) for name, each in result["each"].items()}
    return result


class _RealFeatures:
    """What every set of `count` samples is compared with: `numbers` of the data themselves, and `judge` for a set."""

    def __init__(self, features: Features, train: Array, held_out: Array, count: int) -> None:
        self.fit: Any = Gaussian if features.stand_in else Statistics
        self.train = features(train)
        self.law = self.fit(self.train)
        self.size, self.few = min(count, len(self.train)), min(count, len(held_out))
        self.compared = min(self.size, self.few, MOST_NEIGHBOURS)
        seen = features.with_probabilities(spread_out(held_out, self.few))
        self.numbers = {f"{name}_held_out": value for name, value in self.judge(*seen).items()}
        if self.size < len(self.train):  # all of them have no distance to themselves
            random = np.random.default_rng(0)
            parts = [self.train[random.permutation(len(self.train))[: self.size]] for _ in range(SUBSETS)]
            floors = [self._distance(part) for part in parts]
            self.numbers["frechet_train"] = float(np.mean(floors))
            self.numbers["frechet_train_spread"] = float(np.std(floors, ddof=1))

    def judge(self, values: Array, probabilities: Array) -> dict[str, float]:
        """The numbers of one set of images, by their features and the probabilities of their classes."""
        found = {"frechet": self._distance(values)}
        if self.few < len(values):
            found["frechet_as_many"] = self._distance(spread_out(values, self.few))
        if fidelity_version() is not None:
            found["kernel"] = kernel_distance(values, self.train)
            found["score"] = inception_score(probabilities)
            near = (spread_out(values, self.compared), spread_out(self.train, self.compared))
            found["precision"], found["recall"] = precision_and_recall(*near)
        return found

    def _distance(self, values: Array) -> float:
        return self.law.distance(self.fit(values)) if len(values) > 1 else float("nan")


def features_lines(result: dict[str, Any]) -> list[str]:
    """The numbers of `compare_features`, for a reader, in lines of at most 80 columns."""
    samples, few, compared = result["samples"], result["as_many"], result["compared"]
    spread = {**result.get("spread", {}), "frechet_train": result.get("frechet_train_spread")}

    def row(label: str, name: str, form: str = ".2f", unit: float = 1.0) -> str:
        more = f" +- {unit * spread[name]:{form}}" if name in spread else ""
        return f"  {label:53}{unit * result[name]:9{form}}{more}"

    inception = not result["stand_in"]
    stand_in = "" if inception else " (a stand-in; not FID)"
    title = f"{'FID: ' if inception else ''}Frechet distance in features of {result['name']}{stand_in}"
    lines = [
        "",
        wrap(title),
        f"  to {result['reference']} training images (lower is better)",
        row(f"{samples} samples", "frechet_samples"),
    ]
    if "frechet_as_many_samples" in result:
        lines.append(row(f"{few} of them, as many as held-out images", "frechet_as_many_samples"))
    lines.append(row(f"{few} held-out images", "frechet_held_out"))
    if "frechet_train" in result:
        lines.append(row(f"{result['train_as_many']} training images, the floor ({SUBSETS} draws)", "frechet_train"))
    weights = ["", "The SHA-256 of the network's weights is", f"  {result['sha256']}"]
    if "kernel_samples" not in result:
        more = f"{pip_line('torch-fidelity')} adds a kernel distance, a score of the classes, precision and recall."
        return [*lines, wrap(more, "  ", "  "), *weights]
    kernel, score = ("KID", "Inception score") if inception else ("kernel distance", "score of the classes")
    title = f"By torch-fidelity {result['torch_fidelity']} in the same features"
    stand_in = "" if inception else " (stand-ins for KID and Inception score)"
    lines += ["", wrap(f"{title}{stand_in}")]
    for images, kind in (("samples", "samples"), (f"{few} held-out images", "held_out")):
        lines.append(row(f"{kernel} x 1000, {images} (lower is better)", f"kernel_{kind}", ".3f", 1000.0))
    for images, kind in (("samples", "samples"), (f"{few} held-out images", "held_out")):
        lines.append(row(f"{score}, {images} (higher is better)", f"score_{kind}"))
    shares = (
        "precision: share of samples that look real; recall: share of real images that samples cover (higher is better)"
    )
    lines.append(wrap(shares, "  ", "  "))
    for number in ("precision", "recall"):
        for images, kind in (("samples", "samples"), ("held-out images", "held_out")):
            lines.append(row(f"{number} of {compared} {images}", f"{number}_{kind}", ".3f"))
    against = f"Precision and recall are against {compared} training images, and depend on that number."
    return [*lines, wrap(against, "  ", "  "), *weights]


def fidelity_version() -> str | None:
    """The version of torch-fidelity; None where it, or the torchvision that it needs, is not installed or not whole."""
    try:
        import torch_fidelity
    except (ImportError, RuntimeError):  # RuntimeError: a torchvision made for another torch
        return None
    return torch_fidelity.__version__


class Statistics:
    """Mean and covariance of features (N, D), N at least 2, as torch-fidelity takes them; `Gaussian` of FID."""

    def __init__(self, features: Array) -> None:
        self.numbers = _part("fid").fid_features_to_statistics(_tensor(features))

    def distance(self, other: Statistics) -> float:
        """FID: the squared Frechet distance. Source: Heusel et al. 2017."""
        found = _part("fid").fid_statistics_to_metric(self.numbers, other.numbers, verbose=False)
        return found["frechet_inception_distance"]


def kernel_distance(x: Array, y: Array) -> float:
    """KID: the mean over 100 random subsets of the unbiased squared distance of kernel means; NaN for fewer than two.

    The kernel is (a b / D + 1)^3. Source: Binkowski et al. 2018.
    """
    if (size := min(KID_SUBSET, len(x), len(y))) < 2:
        return float("nan")
    found = _part("kid").kid_features_to_metric(_tensor(x), _tensor(y), kid_subset_size=size, verbose=False)
    return found["kernel_inception_distance_mean"]


def inception_score(probabilities: Array) -> float:
    """exp of the mean divergence of an image's classes (N, K) from all images', by tenths; NaN for fewer than ten."""
    if len(probabilities) < SPLITS:
        return float("nan")
    logits = torch.from_numpy(np.log(np.maximum(probabilities, _SMALLEST)))
    return _part("isc").isc_features_to_metric(logits, splits=SPLITS)["inception_score_mean"]


def precision_and_recall(x: Array, real: Array) -> tuple[float, float]:
    """Share of samples near real images, and of real ones near samples; NaN for no more than three of either.

    Near is at most as far as the third nearest of the same kind. Source: Kynkaanniemi et al. 2019.
    """
    if min(len(x), len(real)) <= NEIGHBOURS:
        return float("nan"), float("nan")
    options = {"prc_neighborhood": NEIGHBOURS, "save_cpu_ram": True, "verbose": False}
    found = _part("prc").prc_features_to_metric(_tensor(x), _tensor(real), **options)
    return found["precision"], found["recall"]


def _part(name: str) -> Any:
    return importlib.import_module(f"torch_fidelity.metric_{name}")


def _tensor(features: Array) -> torch.Tensor:
    return torch.from_numpy(features.astype(np.float32))


def read_inception(path: str | os.PathLike[str]) -> bytes:
    """The content of the weights' file, after its SHA-256 was compared and before anything in it was read.

    Raises ValueError without torch-fidelity, for a file that cannot be read, and for any other than `INCEPTION_FILE`.
    """
    if fidelity_version() is None:
        raise lacking("evaluate: inception", "torch-fidelity")
    try:
        content = read_plain(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"evaluate: inception: {path}: {reason}") from None
    return checked(f"inception: {path}: must be {INCEPTION_FILE}", content, INCEPTION_SHA256)


def inception_features(content: bytes, max_count: int, device: str | torch.device = "cpu") -> Features:
    """The 2,048 features of FID and the class probabilities of the Inception score, by torch-fidelity's network.

    content: what `read_inception` gave. Counts are scaled to 0..255 and rounded, grey images repeated to three
    channels; the network resizes them to 299x299 itself. Raises ValueError from a call for other numbers of channels.
    """
    from torch_fidelity import FeatureExtractorInceptionV3

    # It reads the weights with torch.load, from the bytes that were compared and not from a file that may have changed.
    weights: Any = io.BytesIO(content)
    network = FeatureExtractorInceptionV3("inception-v3-compat", list(LAYERS), feature_extractor_weights_path=weights)
    network.to(device)

    def of_counts(counts: Tensor) -> tuple[Tensor, Tensor]:
        return network(rgb_bytes(counts, max_count))  # type: ignore[no-any-return]

    name = f"Inception of torch-fidelity {fidelity_version()}"
    return Features(name, INCEPTION_SHA256, of_counts, device, BATCH, stand_in=False)


def rgb_bytes(counts: Tensor, max_count: int) -> Tensor:
    """Counts (N, 1 or 3, H, W) in 0..max_count as RGB images (N, 3, H, W) of uint8."""
    if counts.shape[1] not in (1, 3):
        raise ValueError(f"evaluate: inception: images must have 1 or 3 channels, got {counts.shape[1]}")
    scaled = torch.round(counts * (255 / max_count)).to(torch.uint8)
    return scaled.expand(-1, 3, -1, -1)
