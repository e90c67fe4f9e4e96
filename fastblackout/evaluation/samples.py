"""How good samples are, in numbers that need no pretrained network and no download.

Every number about samples stands beside the same number about real images, because alone it says little: a Frechet
distance of raw pixels also falls for plain Gaussian noise, and a model that memorises scores best of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..ground.extras import is_there, lacking
from ..ground.terminal import wrap
from ..ground.values import array_of
from .gaussian import Gaussian
from .sets import Data, Samples, data_of, sets_of, spread_out
from .tables import compare_tables, rows_table

if TYPE_CHECKING:
    from torch import Tensor

NEAREST_TRAIN, NEAREST_QUERY = 10_000, 1_000  # the most images used for nearest neighbours
JUDGE_TRAIN = 5_000  # the most training images of the SVM, whose cost grows with the square
SURE_MARGIN = 0.5
ENOUGH = 1000  # samples below which the bias of a Frechet distance hides what it should tell

Array = NDArray[Any]


def frechet_distance(x: Array | Tensor, y: Array | Tensor) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of samples (N, ...) and (M, ...), pixels in counts.

    Raises ValueError with fewer than two samples or for unequal sizes. Source: Dowson and Landau 1982.
    """
    x, y = array_of(x), array_of(y)
    if len(x) < 2 or len(y) < 2 or x[0].size != y[0].size:
        raise ValueError(f"frechet_distance: x, y: need 2 or more samples of one size, got {x.shape} and {y.shape}")
    return Gaussian(x).distance(Gaussian(y))


def nearest_distance(queries: Array, references: Array) -> float:
    """Mean over `queries` of the Euclidean distance, in counts, to the nearest of `references`."""
    queries, references = (np.asarray(p, dtype=np.float64).reshape(len(p), -1) for p in (queries, references))
    squared_norms = (references**2).sum(axis=1)
    nearest = []
    for part in np.array_split(queries, -(-len(queries) // 256)):
        squared = (part**2).sum(axis=1)[:, None] - 2 * part @ references.T + squared_norms
        nearest.append(np.sqrt(squared.min(axis=1).clip(min=0)))
    return float(np.concatenate(nearest).mean())


def on_pixels(images: Array, max_count: int) -> float:
    """Share of the pixels whose count is above half of max_count."""
    return float((images > max_count / 2).mean())


class Judge:
    """An SVM (radial basis, C = 10) trained on real images, asked what samples show and whether it is sure.

    It is sure of an image when the class it names wins each of its contests with another class by a decision value of
    at least 0.5, half the margin.
    """

    def __init__(self, images: Array, labels: NDArray[np.int64], max_count: int) -> None:
        from sklearn.svm import SVC

        self.max_count = max_count
        self.svm = SVC(C=10.0, gamma="scale", decision_function_shape="ovo")
        self.svm.fit(self._flat(spread_out(images, JUDGE_TRAIN)), spread_out(labels, JUDGE_TRAIN))

    def _flat(self, images: Array) -> Array:
        return images.reshape(len(images), -1) / self.max_count

    def __call__(self, images: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(class named (N,), whether sure (N,))."""
        flat = self._flat(images)
        named = self.svm.predict(flat)
        values = self.svm.decision_function(flat).reshape(len(images), -1)  # one column for each pair of classes
        firsts, seconds = np.triu_indices(len(self.svm.classes_), k=1)
        if len(firsts) == 1:
            # With two classes, a positive value speaks for the second; with more, for the first of the pair.
            values = -values
        index = np.searchsorted(self.svm.classes_, named)[:, None]
        margins = np.where(firsts == index, values, np.where(seconds == index, -values, np.inf))
        return named, margins.min(axis=1) >= SURE_MARGIN


def takes_judge(op: str, dataset: Dataset) -> bool:
    """Whether samples of these data get verdicts of a `Judge`. Raises ValueError where it lacks scikit-learn."""
    labels = dataset.train_labels
    if labels is None or dataset.held_out_labels is None or len(np.unique(spread_out(labels, JUDGE_TRAIN))) < 2:
        return False
    if not is_there("scikit-learn"):
        raise lacking(f"{op}: labels", "scikit-learn")
    return True


def compare(samples: Samples | Sequence[Samples], dataset: Data) -> dict[str, Any]:
    """Compare samples with a data set, in numbers that need no pretrained network.

    Parameters
    ----------
    samples : numpy.ndarray, Tensor, AnnData, str or os.PathLike, or a sequence of them
        Samples (N, C, H, W) in counts, or rows (N, D) of a table; or several sets of so many. A path is of a .npy,
        .npz or TIFF file, such as `fastblackout sample` writes. Of cells an AnnData, or the path of an .h5ad file or a
        .zarr store, whose X has counts. Its genes are found by their names, so their order does not matter.
    dataset : Dataset, numpy.ndarray, Tensor, AnnData, str or os.PathLike
        The data. Of an array or a tensor of counts, of the same shapes, a keyed shuffle holds out a tenth. Paths are
        read likewise, or as `fb.data.load_array` or, of a folder of images, `fb.data.load_folder` does. An AnnData is
        read as by `fb.data.from_anndata`, which also takes a layer.

    Returns
    -------
    dict
        Numbers by name; `table` shows what they are. Rows of a table, such as cells, have other numbers than images.
        Distances are in counts. A number about samples is the mean over the sets. With two sets or more, "spread" holds
        the standard deviation of the sets' numbers, and "each" the numbers of each set of images. Labelled images also
        get the verdicts of an SVM and the histogram of classes.

    Raises
    ------
    ValueError
        If the shapes differ, if samples lack a gene of the data, or if the data have labels and scikit-learn is
        missing.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> made, train = random.poisson(4.0, (200, 3)), random.poisson(4.0, (500, 3))
    >>> fb.evaluation.compare(made, train)["held_out"]
    50
    """
    dataset = data_of(dataset)
    sets = sets_of(samples, dataset)
    if dataset.is_table:
        return compare_tables(sets, dataset)
    real = _Real(dataset, len(sets[0]))
    found = [real.judge(one) for one in sets]
    result: dict[str, Any] = {"samples": len(sets[0]), "sets": len(sets)}
    result |= {"train": len(dataset.train), "held_out": len(dataset.held_out)}
    result |= real.numbers | {name: np.mean([one[name] for one in found], axis=0).tolist() for name in found[0]}
    if len(sets) > 1:
        result["each"] = {name: [one[name] for one in found] for name in found[0]}
        result["spread"] = {name: np.std(each, axis=0, ddof=1).tolist() for name, each in result["each"].items()}
    return result


class _Real:
    """What every set of `count` samples is compared with: `numbers` of the data themselves, and `judge` for a set."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        train, held_out = dataset.train, dataset.held_out
        self.gaussian, self.few = Gaussian(train), min(count, len(held_out))
        half_1, half_2 = np.array_split(np.random.default_rng(0).permutation(len(train)), 2)
        self.train = train[np.sort(np.random.default_rng(1).permutation(len(train))[:NEAREST_TRAIN])]
        noise = np.rint(self.gaussian.draw(count, seed=0)).clip(0, dataset.max_count)
        self.numbers: dict[str, Any] = {
            "as_many": self.few,
            "frechet_noise": self._distance(noise),
            "frechet_split": frechet_distance(train[half_1], train[half_2]),
            "frechet_held_out": self._distance(held_out),
            "frechet_held_out_as_many": self._distance(spread_out(held_out, self.few)),
            "nearest_held_out": nearest_distance(spread_out(held_out, NEAREST_QUERY), self.train),
            "on_pixels_train": on_pixels(train, dataset.max_count),
            "on_pixels_held_out": on_pixels(held_out, dataset.max_count),
        }
        self.max_count = dataset.max_count
        self.judged = None
        labels, held_out_labels = dataset.train_labels, dataset.held_out_labels
        if labels is not None and held_out_labels is not None and takes_judge("compare", dataset):
            self.judged, self.classes = Judge(train, labels, dataset.max_count), dataset.classes or 0
            named, sure = self.judged(spread_out(held_out, NEAREST_QUERY))
            self.numbers["sure_held_out"] = float(sure.mean())
            self.numbers["judge_accuracy"] = float((named == spread_out(held_out_labels, NEAREST_QUERY)).mean())

    def judge(self, samples: Array) -> dict[str, Any]:
        """The numbers of one set of samples."""
        result: dict[str, Any] = {
            "frechet_samples": self._distance(samples),
            "frechet_samples_as_many": self._distance(spread_out(samples, self.few)),
            "nearest_samples": nearest_distance(spread_out(samples, NEAREST_QUERY), self.train),
            "on_pixels_samples": on_pixels(samples, self.max_count),
        }
        if self.judged is not None:
            named, sure = self.judged(samples)
            result["sure_samples"] = float(sure.mean())
            result["class_shares"] = (np.bincount(named, minlength=self.classes) / len(samples)).tolist()
        return result

    def _distance(self, images: Array) -> float:
        return self.gaussian.distance(Gaussian(images)) if len(images) > 1 else float("nan")


def table(result: dict[str, Any], more: Sequence[str] = ()) -> str:
    """The numbers of `compare`, for a reader.

    Parameters
    ----------
    result : dict
        What `compare` returned.
    more : sequence of str
        Lines to put before the notes.

    Returns
    -------
    str
        Lines of at most 80 columns.
    """
    if "columns" in result:
        return rows_table(result)
    samples, held_out, sets, few = (result[name] for name in ("samples", "held_out", "sets", "as_many"))
    spread = result.get("spread", {})

    def row(label: str, name: str, form: str = ".2f") -> str:
        more = f" +- {spread[name]:{form}}" if name in spread else ""
        return f"  {label:53}{result[name]:9{form}}{more}"

    lines = [
        f"{sets} set{'s' if sets > 1 else ''} of {samples} samples, {result['train']} training images, "
        f"{held_out} held-out images",
        "",
        "Frechet distance of raw pixels to the training images (lower is better)",
        row(f"{samples} samples", "frechet_samples"),
        *([row(f"{few} of them, as many as held-out images", "frechet_samples_as_many")] if few < samples else []),
        row(f"{held_out} held-out images", "frechet_held_out"),
        *([row(f"{few} of them, as many as samples", "frechet_held_out_as_many")] if few < held_out else []),
        row("rounded Gaussian noise, same mean and covariance", "frechet_noise"),
        row("one random half of the training images to the other", "frechet_split"),
        *more,
        *_notes(result),
        "",
        "Share of pixels above half of the largest count (as in real images is best)",
        row("samples", "on_pixels_samples", ".2%"),
        row("training images", "on_pixels_train", ".2%"),
        row("held-out images", "on_pixels_held_out", ".2%"),
        "",
        "Mean distance to the nearest training image",
        "(the same as held-out images is best; far below: memorised)",
        row("samples", "nearest_samples"),
        row("held-out images", "nearest_held_out"),
    ]
    if "class_shares" in result:
        lines += [
            "",
            f"Share that an SVM trained on real images ({result['judge_accuracy']:.1%} right on held-out) is sure of",
            "(the same as held-out images is best; below: fewer look like a class)",
            row("samples", "sure_samples", ".1%"),
            row("held-out images", "sure_held_out", ".1%"),
            "",
            "Class of the samples, by the SVM (the shares of the data are best)",
        ]
        for label, share in enumerate(result["class_shares"]):
            lines.append(f"  {label:2d} {share:6.1%} {'#' * round(share * 60)}".rstrip())
    return "\n".join(lines)


def _notes(result: dict[str, Any]) -> list[str]:
    """What to know before comparing the Frechet distances."""
    text = []
    if result["samples"] < ENOUGH:
        text.append(f"Warning: with fewer than {ENOUGH} samples a Frechet distance says little.")
    if result["samples"] != result["held_out"]:
        text.append(
            "The fewer images, the larger the distance, even of perfect ones: so held-out images may score worse than "
            "samples. Only equal numbers compare."
        )
    if "spread" in result:
        text.append(
            f"+- is the standard deviation over {result['sets']} sampling seeds of this one training; "
            "another training seed moves the figures too."
        )
    return [wrap(line, "  ", "  ") for line in text]
