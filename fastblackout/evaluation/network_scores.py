"""How good samples are in the features of a network, beside the same numbers of real images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..ground.extras import pip_line
from ..ground.terminal import wrap
from . import fidelity
from .features import Features
from .gaussian import Gaussian
from .sets import sets_of, spread_out

if TYPE_CHECKING:
    from ..data import Dataset

SUBSETS = 5  # random subsets of the training images whose mean distance is the floor

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
    real = _Real(features, train, dataset.held_out, len(sets[0]))
    found = [real.judge(*features.with_probabilities(one)) for one in sets]
    result: dict[str, Any] = {
        "name": features.name, "sha256": features.hash, "stand_in": features.stand_in,
        "torch_fidelity": fidelity.version(), "reference": len(train), "samples": len(sets[0]), "as_many": real.few,
        "train_as_many": real.size, "compared": real.compared, **real.numbers,
    }  # fmt: skip
    result |= {f"{name}_samples": float(np.mean([one[name] for one in found])) for name in found[0]}
    if len(sets) > 1:
        result["each"] = {f"{name}_samples": [one[name] for one in found] for name in found[0]}
        result["spread"] = {name: float(np.std(each, ddof=1)) for name, each in result["each"].items()}
    return result


class _Real:
    """What every set of `count` samples is compared with: `numbers` of the data themselves, and `judge` for a set."""

    def __init__(self, features: Features, train: Array, held_out: Array, count: int) -> None:
        self.fit: Any = Gaussian if features.stand_in else fidelity.Statistics
        self.train = features(train)
        self.law = self.fit(self.train)
        self.size, self.few = min(count, len(self.train)), min(count, len(held_out))
        self.compared = min(self.size, self.few, fidelity.MOST_NEIGHBOURS)
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
        if fidelity.version() is not None:
            found["kernel"] = fidelity.kernel_distance(values, self.train)
            found["score"] = fidelity.inception_score(probabilities)
            near = (spread_out(values, self.compared), spread_out(self.train, self.compared))
            found["precision"], found["recall"] = fidelity.precision_and_recall(*near)
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
