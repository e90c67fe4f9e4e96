"""How good sampled rows of a table are: their means, variances and correlations beside real rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import parts_of
from ..ground.terminal import wrap
from .gaussian import Gaussian
from .sets import spread_out

if TYPE_CHECKING:
    from ..data import Dataset

SHOWN = 12  # columns of which the numbers themselves are printed
_MEASURES = {
    "means": "means, in standard deviations",
    "variances": "variances, by the logarithm of their ratio",
    "correlations": "correlations of pairs of columns",
    "zeros": "shares of zeros",
}

Array = NDArray[Any]


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
