"""How good samples are, in numbers that need no pretrained network and no download.

Every number about samples stands beside the same number about real images, because alone it says little: a Frechet
distance of raw pixels also falls for plain Gaussian noise, and a model that memorises scores best of all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..call.foreign import is_annotated
from ..data.cell_files import H5AD, ZARR
from ..data.cells import dataset_of, read_cells, rows_like
from ..data.dataset import Dataset, make_dataset, parts_of
from ..data.files import load_array, load_folder, read_counts
from ..ground.extras import is_there, lacking
from ..ground.terminal import wrap
from ..ground.values import array_of, is_tensor

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

NEAREST_TRAIN, NEAREST_QUERY = 10_000, 1_000  # the most images used for nearest neighbours
JUDGE_TRAIN = 5_000  # the most training images of the SVM, whose cost grows with the square
SURE_MARGIN = 0.5
ENOUGH = 1000  # samples below which the bias of a Frechet distance hides what it should tell
SHOWN = 12  # columns of which the numbers themselves are printed
_MEASURES = {
    "means": "means, in standard deviations",
    "variances": "variances, by the logarithm of their ratio",
    "correlations": "correlations of pairs of columns",
    "zeros": "shares of zeros",
}

CELLS = (H5AD, ZARR)
Array = NDArray[Any]
Samples: TypeAlias = "Array | Tensor | AnnData | str | os.PathLike[str]"
Data: TypeAlias = "Dataset | Samples"


class Gaussian:
    """The Gaussian fitted to samples (N, ...), N at least 2, flattened: `mean`, unbiased `covariance`, float64."""

    def __init__(self, samples: Array) -> None:
        if len(samples) < 2:
            raise ValueError(f"Gaussian: samples: must be at least 2, got {len(samples)}")
        self.mean = samples.mean(axis=0, dtype=np.float64).reshape(-1)
        self.covariance = np.zeros((self.mean.size, self.mean.size))
        for rows in parts_of(samples):  # CIFAR-10 in float64 takes 1.2 GB
            part = rows.reshape(len(rows), -1) - self.mean
            self.covariance += part.T @ part
        self.covariance /= len(samples) - 1

    @cached_property
    def root(self) -> Array:
        """The symmetric square root of the covariance, by eigh; eigenvalues that rounding made negative count as 0."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T

    def distance(self, other: Gaussian) -> float:
        """Squared Frechet distance: |mean - mean'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)."""
        cross = np.sqrt(np.linalg.eigvalsh(self.root @ other.covariance @ self.root).clip(min=0)).sum()
        traces = np.trace(self.covariance) + np.trace(other.covariance)
        return max(float(((self.mean - other.mean) ** 2).sum() + traces - 2 * cross), 0.0)

    def draw(self, count: int, seed: int) -> Array:
        """`count` draws (count, D)."""
        return self.mean + np.random.default_rng(seed).standard_normal((count, len(self.mean))) @ self.root


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


class _Moments:
    """Means, variances, shares of zeros and the correlations of the columns of rows (N, D), N at least 2."""

    def __init__(self, rows: Array) -> None:
        law = Gaussian(rows)
        self.mean, self.variance = law.mean, law.covariance.diagonal()
        self.zeros = sum((part == 0).sum(axis=0) for part in parts_of(rows)).reshape(-1) / len(rows)
        root = np.sqrt(np.where(self.variance > 0, self.variance, np.inf))
        self.correlation = law.covariance / root / root[:, None]

    def difference(self, train: _Moments) -> dict[str, float]:
        """Root mean squares over the columns, or pairs of them, that vary in `train`; NaN where there are none.

        A column that does not vary here counts in "variances" as one with 1e-6 of the variance of `train`.
        """
        varied = train.variance > 0
        pairs = np.triu_indices(int(varied.sum()), k=1)
        mine, theirs = (one.correlation[np.ix_(varied, varied)][pairs] for one in (self, train))
        ratio = np.maximum(self.variance[varied] / train.variance[varied], 1e-6)
        return {
            "means": _root(((self.mean - train.mean)[varied]) / np.sqrt(train.variance[varied])),
            "variances": _root(np.log(ratio)),
            "correlations": _root(mine - theirs),
            "zeros": _root(self.zeros - train.zeros),
        }


def _root(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else float("nan")


def compare_tables(sets: Sequence[Array], dataset: Dataset) -> dict[str, Any]:
    """Sets of rows, as `sets_of` gives them, against a data set that is a table; keys: see `rows_table`.

    Every difference is to the training rows: of the samples, of as many samples as there are held-out rows, and of the
    held-out rows. A number about samples is the mean over the sets; result["spread"] holds the standard deviation of
    the sets' numbers where there are two sets or more.
    """
    train, few = _Moments(dataset.train), min(len(sets[0]), len(dataset.held_out))
    found = [_Moments(one) for one in sets]
    differences = [one.difference(train) for one in found]
    fewer = [_of_few(one, few, train) for one in sets]
    held_out = _Moments(dataset.held_out) if len(dataset.held_out) > 1 else None
    of_held_out = held_out.difference(train) if held_out else dict.fromkeys(_MEASURES, float("nan"))
    result: dict[str, Any] = {
        "samples": len(sets[0]), "sets": len(sets), "train": len(dataset.train), "held_out": len(dataset.held_out),
        "columns": dataset.shape[0], "as_many": few, "constant_columns": int((train.variance == 0).sum()),
        "difference_samples": _mean(differences), "difference_samples_as_many": _mean(fewer),
        "difference_held_out": of_held_out, "difference_held_out_as_many": _of_few(dataset.held_out, few, train),
    }  # fmt: skip
    for name, known in (("train", [train]), ("held_out", [held_out] if held_out else []), ("samples", found)):
        for number in ("mean", "variance"):
            columns = [getattr(one, number) for one in known]
            result[f"{number}_{name}"] = np.mean(columns, axis=0).tolist() if columns else None
    if len(sets) > 1:
        result["spread"] = {name: float(np.std([one[name] for one in differences], ddof=1)) for name in _MEASURES}
    return result


def _of_few(rows: Array, few: int, train: _Moments) -> dict[str, float]:
    """The difference of so many rows, spread evenly over all of them."""
    if few < 2:
        return dict.fromkeys(_MEASURES, float("nan"))
    return _Moments(spread_out(rows, few)).difference(train)


def _mean(each: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in each])) for name in _MEASURES}


def rows_table(result: dict[str, Any]) -> str:
    """The numbers of `compare_tables`, for a reader, in lines of at most 80 columns."""
    sets, spread = result["sets"], result.get("spread", {})
    kinds = ("samples", "samples_as_many", "held_out_as_many", "held_out")
    sizes = (result["samples"], result["as_many"], result["as_many"], result["held_out"])
    lines = [
        f"{sets} set{'s' if sets > 1 else ''} of {result['samples']} samples, {result['train']} training rows, "
        f"{result['held_out']} held-out rows of {result['columns']} columns",
        "",
        "Difference to the training rows, root mean square over the columns",
        "(lower is better; real rows reach what held-out rows have)",
        f"  {'':43}{'samples':>16}{'held out':>18}".rstrip(),
        f"  {'rows':43}{sizes[0]:8d}{sizes[1]:8d}{sizes[2]:10d}{sizes[3]:8d}",
    ]
    for name, words in _MEASURES.items():
        values = [result[f"difference_{kind}"][name] for kind in kinds]
        lines.append(f"  {words:43}{values[0]:8.3f}{values[1]:8.3f}{values[2]:10.3f}{values[3]:8.3f}")
        if name in spread:
            lines.append(f"  {'':43}+-{spread[name]:6.3f}")
    notes = ["The fewer rows, the larger the difference, even of perfect ones: only equal numbers compare."]
    if spread:
        notes.append(f"+- is the standard deviation over {sets} sampling seeds of this one training.")
    if constant := result["constant_columns"]:
        notes.append(f"{constant} columns are constant in the training rows; shares of zeros alone count them.")
    lines += [wrap(note, "  ", "  ") for note in notes]
    shown = min(SHOWN, result["columns"])
    which = "the" if shown == result["columns"] else "the first"
    lines += ["", f"Mean and variance of {which} {shown} columns (nearest to the training rows is best)"]
    lines.append(f"  {'':8}{'training':>20}{'held out':>22}{'samples':>22}")
    for column in range(shown):
        pairs = [
            "-" if result[f"mean_{name}"] is None
            else f"{result[f'mean_{name}'][column]:.4g}  {result[f'variance_{name}'][column]:.4g}"
            for name in ("train", "held_out", "samples")
        ]  # fmt: skip
        lines.append(f"  {column:8d}{pairs[0]:>20}{pairs[1]:>22}{pairs[2]:>22}")
    return "\n".join(lines)


def data_of(given: Data) -> Dataset:
    """What samples are compared with, as a data set; ValueError for less than two that are not held out."""
    data = _read(given)
    if len(data.train) < 2:
        raise ValueError(f"compare: dataset: must have 2 or more beside those held out, got {len(data.train)}")
    return data


def _read(given: Data) -> Dataset:
    if isinstance(given, Dataset):
        return given
    if isinstance(given, (str, os.PathLike)) and Path(given).suffix not in CELLS:
        return load_folder(given) if Path(given).is_dir() else load_array(given)
    value = read_cells("compare", "dataset", given)
    if is_annotated(value):
        return dataset_of("compare", "dataset", value)
    counts = _array("dataset", value)
    if counts.ndim != 4 or 0 in counts.shape:
        rule = "must have shape (N, C, H, W) or (N, D) without a zero"
        raise ValueError(f"compare: dataset: {rule}, got {tuple(value.shape)}")
    return make_dataset("compare: dataset", counts, max_count=max(1, int(counts.max())))


def _array(argument: str, value: Any) -> Array:
    """Counts as whole numbers, (N, C, H, W): rows (N, D) of a table become (N, D, 1, 1)."""
    if not isinstance(value, np.ndarray) and not is_tensor(value):
        rule = "must be an array or a tensor of counts, an AnnData or a path"
        raise TypeError(f"compare: {argument}: {rule}, got {type(value).__name__}")
    counts = array_of(value)
    whole = True if counts.dtype.kind in "iu" else counts == np.rint(counts)
    if (wrong := counts[~((counts >= 0) & whole)]).size:
        raise ValueError(f"compare: {argument}: must be counts, whole numbers of at least 0, got {wrong[0]}")
    counts = counts if counts.dtype.kind in "iu" else counts.astype(np.int64)
    return counts[:, :, None, None] if counts.ndim == 2 else counts


def sets_of(samples: Samples | Sequence[Samples], dataset: Dataset) -> list[Array]:
    """One set of samples, or several, as a list; ValueError unless all have as many, 2 or more, of the data's shape.

    A tensor becomes an array. An AnnData, or the path of a file with one, becomes its counts of the data's genes, in
    their order.
    """
    alone = isinstance(samples, (np.ndarray, str, os.PathLike)) or is_tensor(samples) or is_annotated(samples)
    sets = [_counts(one, dataset) for one in ([samples] if alone else samples)]  # type: ignore[union-attr]
    if not sets or any(one.shape[1:] != dataset.shape or len(one) < 2 or len(one) != len(sets[0]) for one in sets):
        more = f" and {len(sets) - 4} more" if len(sets) > 4 else ""
        got = (", ".join(str(tuple(one.shape)) for one in sets[:4]) or "none") + more
        raise ValueError(f"compare: samples: need 2 or more of shape {dataset.shape}, all sets alike, got {got}")
    return sets


def _counts(samples: Any, dataset: Dataset) -> Array:
    if isinstance(samples, (str, os.PathLike)) and Path(samples).suffix not in CELLS:
        return read_counts("compare: samples", Path(samples))[0]  # type: ignore[no-any-return]
    value = read_cells("compare", "samples", samples)
    if is_annotated(value):
        return rows_like("compare", "samples", value, dataset)  # type: ignore[no-any-return]
    return _array("samples", value)


def spread_out(images: Array, count: int) -> Array:
    """So many of the images, or of their labels, spread evenly over all of them; all where there are fewer."""
    count = min(count, len(images))
    return images[np.arange(count) * len(images) // count]
