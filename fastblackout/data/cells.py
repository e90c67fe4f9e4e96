"""Counts of genes in cells: from AnnData and its files (.h5ad) into a data set, and samples back into AnnData."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import atomic_path
from ..call.foreign import checked, is_annotated, listed, matrix_of
from ..call.numbers import MAX_COUNT, max_count_of
from ..ground.extras import lacking as lacking_package
from ..ground.values import array_of, shown
from .cell_files import H5AD, ZARR, check_stored, elements, import_zarr, made, opened
from .dataset import MOST_CLASSES, Dataset, SparseRows, count_dtype, kept_and_held_out

if TYPE_CHECKING:
    from anndata import AnnData

RAW = "must hold raw counts, whole numbers that were neither normalized nor logarithmized"


def from_anndata(
    data: AnnData,
    layer: str | None = None,
    labels_key: str | None = None,
    max_count: int | None = None,
    var_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Make a data set of an AnnData.

    Parameters
    ----------
    data : AnnData
        The cells, in memory. Their counts are whole numbers of any dtype, dense or sparse. A sparse matrix stays
        sparse: only the cells of a minibatch are made dense.
    layer : str, optional
        The layer that holds the counts. By default X does.
    labels_key : str, optional
        The column of obs that holds the classes of a conditional model, such as cell types. They are names, integers or
        booleans.
    max_count : int, optional
        The largest count that is possible. By default it is the largest in the data.
    var_names : sequence of str, optional
        The genes to take, in this order. By default all.
    class_names : sequence of str, optional
        The classes in the order of their labels 0, 1, ... By default the values of the column, sorted.

    Returns
    -------
    Dataset
        What `fb.train` takes. A keyed shuffle holds out a tenth of the cells. Names of genes and classes go along, into
        checkpoints too.

    Raises
    ------
    TypeError
        If `data` is no AnnData, or names are no sequence.
    ValueError
        If the counts are not whole, a layer, a column, a gene or a class is not there, or a name comes twice.

    Examples
    --------
    >>> import anndata
    >>> counts = np.random.default_rng(0).poisson(2.0, (50, 3)).astype(np.float32)
    >>> cells = anndata.AnnData(counts, obs={"type": ["T", "B"] * 25})
    >>> data = fb.data.from_anndata(cells, labels_key="type")
    >>> data.shape, data.cells["class_names"]
    ((3, 1, 1), ['B', 'T'])
    """
    return dataset_of("from_anndata", "data", data, layer, labels_key, max_count, var_names, class_names)


def load_h5ad(
    path: str | os.PathLike[str],
    max_count: int | None = None,
    layer: str | None = None,
    labels_key: str | None = None,
    var_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """The data set of an .h5ad file or a .zarr store, as from_anndata makes it."""
    data = read_cells("load", "data", path)
    return dataset_of("load", "data", data, layer, labels_key, max_count, var_names, class_names)


def read_cells(op: str, argument: str, value: Any) -> Any:
    """The AnnData of a path; any other value as it is. ValueError where the path is of none, or anndata is missing."""
    if not isinstance(value, (str, os.PathLike)):
        return value
    path = Path(value)
    check_stored(op, argument, path)
    module = import_anndata(op, argument)
    if path.suffix == ZARR:
        import_zarr(f"{op}: {argument}")
    try:
        with opened(f"{op}: {argument}", path):
            pass  # it checks what the file promises
        data = module.read_h5ad(path) if path.suffix == H5AD else module.read_zarr(path)
        held = (data.layers, data.obsm, data.varm, data.obsp, data.varp)  # whoever takes some cells indexes all of them
        for matrix in (data.X, data.raw and data.raw.X, *(each for mapping in held for each in mapping.values())):
            checked(op, argument, matrix)
        return data
    except Exception as error:  # reading a damaged file may fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]
        raise ValueError(f"{op}: {path}: not a readable {path.suffix} file: {reason}") from None


def import_anndata(op: str, argument: str) -> Any:
    """The module. ValueError, which names how to get it, where it is not installed."""
    try:
        import anndata
    except ImportError:
        raise lacking_package(f"{op}: {argument}", "anndata") from None
    return anndata


def dataset_of(
    op: str,
    argument: str,
    data: Any,
    layer: str | None = None,
    labels_key: str | None = None,
    max_count: int | None = None,
    var_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """`from_anndata` for another op."""
    if not is_annotated(data):
        raise TypeError(f"{op}: {argument}: must be an AnnData, got {type(data).__name__}")
    matrix = matrix_of(op, argument, data, layer)
    if 0 in matrix.shape:
        raise ValueError(f"{op}: {argument}: must have cells and genes, got shape {matrix.shape}")
    genes = [str(name) for name in data.var_names]
    wanted, classes = names_of(op, "var_names", var_names), names_of(op, "class_names", class_names)
    if classes is not None and labels_key is None:
        raise ValueError(f"{op}: class_names: must be None without labels_key, got {shown(classes)}")
    places = places_of(op, argument, genes, genes if wanted is None else wanted)
    if wanted is not None:
        matrix = matrix[:, places]
    counts, top = whole_counts(op, argument, matrix, data.layers)
    most = max_count_of(op, max(top, 1) if max_count is None else max_count, "int64")
    if top > most:
        raise ValueError(f"{op}: {argument}: counts must be in 0..{most} (max_count), got {top}")
    labels, names = None, None
    if labels_key is not None:
        labels, names = labels_of(op, data.obs, labels_key, classes)
    kept, held_out = kept_and_held_out(f"{op}: {argument}: cells", len(data))
    if labels is not None and classes is None:
        _check_every_class(op, labels, kept, names or [])
    known = {
        "var_names": genes if wanted is None else wanted, "class_names": names,
        "layer": layer, "labels_key": labels_key,
    }  # fmt: skip
    train, test = (rows_of(counts[places], most) for places in (kept, held_out))
    train_labels, test_labels = (None, None) if labels is None else (labels[kept], labels[held_out])
    return Dataset("h5ad", train, test, most, train_labels, test_labels, cells=known)


def rows_like(op: str, argument: str, data: Any, dataset: Dataset) -> Any:
    """The counts (N, D, 1, 1) of an AnnData, in the order that the genes have in a data set."""
    if (wanted := dataset.cells.get("var_names")) is None:
        rule = "must be an array for a data set without names of genes"
        raise ValueError(f"{op}: {argument}: {rule}, got an AnnData for {dataset.name} data")
    genes = [str(name) for name in data.var_names]
    matrix = matrix_of(op, argument, data)[:, places_of(op, argument, genes, wanted)]
    return rows_of(*whole_counts(op, argument, matrix, data.layers))


def places_of(op: str, argument: str, genes: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Where the genes wanted stand. ValueError, which names the first, where one is missing or stands there twice."""
    places = {name: place for place, name in enumerate(genes)}
    if missing := [name for name in wanted if name not in places]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        rule = f"must have all {len(wanted)} genes, by var_names"
        raise ValueError(f"{op}: {argument}: {rule}, got none named {missing[0]!r}{more}")
    times = Counter(genes) if len(places) < len(genes) else {}
    if twice := next((name for name in wanted if times.get(name, 1) > 1), None):
        rule = "names in var must be unique, make them so by .var_names_make_unique()"
        raise ValueError(f"{op}: {argument}: {rule}, got {twice!r} twice")
    return np.array([places[name] for name in wanted], np.int64)


def names_of(op: str, argument: str, value: Any) -> list[str] | None:
    """Names in their order, as an Index of pandas and an array of NumPy have them too."""
    if value is None:
        return None
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Set, Mapping)):
        raise TypeError(f"{op}: {argument}: must be a sequence of names, got {shown(value)}")
    names = [str(name) for name in value]
    if not names:
        raise ValueError(f"{op}: {argument}: must hold at least one name, got none")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{op}: {argument}: names must differ, got {name!r} twice")
    return names


def whole_counts(op: str, argument: str, matrix: Any, layers: Collection[str] = ()) -> tuple[Any, int]:
    """The counts, an array or a matrix in CSR format, and the largest. ValueError unless they are whole numbers.

    layers: the names of layers that may hold the counts where the matrix does not, for the error.
    """
    sparse = hasattr(matrix, "tocsr")
    if sparse:
        matrix = matrix.tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
    elif isinstance(matrix, np.ndarray):
        matrix = np.asarray(matrix)  # the array of a view is of a class of anndata's
    else:
        rule = "counts must be a NumPy array or a matrix of scipy.sparse"
        raise TypeError(f"{op}: {argument}: {rule}, got {type(matrix).__name__}")
    values = matrix.data if sparse else matrix
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{op}: {argument}: {RAW}, got dtype {values.dtype}")
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            wrong = ~(np.mod(values, 1) == 0)  # so are infinities and NaN
        if wrong.any():
            raise ValueError(f"{op}: {argument}: {raw_rule(layers)}, got {float(values[wrong][0]):.6g}")
    low, top = (int(each(initial=0)) for each in (values.min, values.max))
    if not 0 <= low <= top <= MAX_COUNT:
        raise ValueError(f"{op}: {argument}: {RAW}, in 0..2^53, got {low if low < 0 else top:.6g}")
    return matrix, top


def raw_rule(layers: Collection[str]) -> str:
    """The rule that counts are raw, with the names of layers that may hold them where X does not."""
    return RAW + (f" (a layer may have them: {listed(layers)})" if len(layers) else "")


def rows_of(counts: Any, most: int) -> Any:
    """Counts (N, D), at most `most`, as a data set has them."""
    counts = counts.astype(count_dtype(most))
    return np.ascontiguousarray(counts)[:, :, None, None] if isinstance(counts, np.ndarray) else SparseRows(counts)


def labels_of(
    op: str, obs: Any, key: str, class_names: Sequence[str] | None, argument: str = "labels_key", advice: str = ""
) -> tuple[NDArray[np.int64], list[str]]:
    """The label of each cell by a column of obs, and the names of the classes.

    advice: in errors, what the user of a trained model may do.
    """
    advice = advice and f" ({advice})"
    if key not in obs.columns:
        rule = f"must be a column of obs, one of {listed(obs.columns)}{advice}"
        raise ValueError(f"{op}: {argument}: {rule}, got {key!r}")
    column = obs[key]
    if (lacking := column.isna().to_numpy()).any():
        rule = f"every cell must have a class{advice or ' (leave such cells out, or call their class unknown)'}"
        raise ValueError(f"{op}: {argument}: {rule}, got none in {key!r} for cell {str(obs.index[lacking][0])!r}")
    values = np.asarray(column)
    if values.dtype.kind not in "OUSTiub":
        rule = "must be a column of names, integers or booleans"
        raise ValueError(f"{op}: {argument}: {rule}, got {key!r} of dtype {values.dtype}")
    try:
        known, labels = np.unique(values, return_inverse=True)
    except TypeError:  # text and numbers have no order
        known, labels = np.unique(values.astype(str), return_inverse=True)
    names = [str(name) for name in known]
    if len(names) > MOST_CLASSES:
        raise ValueError(f"{op}: {argument}: must have at most {MOST_CLASSES} classes, got {len(names)} in {key!r}")
    if class_names is None:
        return labels.astype(np.int64), names
    of_run = {name: label for label, name in enumerate(class_names)}
    if new := [name for name in names if name not in of_run]:
        rule = f"classes must be among {listed(class_names)}{advice}"
        raise ValueError(f"{op}: {argument}: {rule}, got {new[0]!r} in {key!r}")
    return np.array([of_run[name] for name in names], np.int64)[labels], list(class_names)


def _check_every_class(op: str, labels: NDArray[np.int64], kept: NDArray[np.int64], names: Sequence[str]) -> None:
    """ValueError where a class has no cell left to train on."""
    left = np.bincount(labels[kept], minlength=len(names))
    if not left.all():
        rule = "every class must have a cell left to train on once a tenth is held out"
        raise ValueError(f"{op}: labels_key: {rule}, got none of {names[int(left.argmin())]!r}")


class _Run(Protocol):
    """A run, as fastblackout.training.trained_model.load_run reads it."""

    @property
    def dataset(self) -> dict[str, Any]: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...


def to_anndata(samples: Any, like: Dataset | _Run, labels: Any = None, first: int = 0) -> AnnData:
    """Make an AnnData of samples of a table.

    Parameters
    ----------
    samples : Tensor or numpy.ndarray
        Counts (N, D) or (N, D, 1, 1), as `fb.sample` draws them.
    like : Dataset or Run
        The data of the training, or its run. The names of genes and classes are taken from it.
    labels : Tensor or numpy.ndarray, optional
        The class of each sample, int (N,).
    first : int, default 0
        The number of the first sample, by which samples are named: sample-0, sample-1, ...

    Returns
    -------
    AnnData
        X has the counts, int32 in CSR format (int64 where they need it). obs has the names of the classes, under the
        name of the column of the training, else "label".

    Raises
    ------
    ValueError
        If the shapes do not fit, a label stands for no class, or anndata is not installed.

    Examples
    --------
    >>> import anndata
    >>> cells = anndata.AnnData(np.arange(20.0).reshape(10, 2), var={"kind": ["a", "b"]})
    >>> data = fb.data.from_anndata(cells)
    >>> fb.data.to_anndata(np.array([[3, 0], [1, 2]]), data).to_df()
              0  1
    sample-0  3  0
    sample-1  1  2
    """
    op, module = "to_anndata", import_anndata("to_anndata", "samples")
    import pandas
    from scipy.sparse import csr_matrix, issparse

    columns, known = like.shape[0], like.cells if isinstance(like, Dataset) else like.dataset
    rows = samples if issparse(samples) else array_of(samples)
    if rows.ndim == 4 and rows.shape[2:] == (1, 1):
        rows = rows[:, :, 0, 0]
    if rows.ndim != 2 or rows.shape[1] != columns or rows.dtype.kind not in "iu":
        rule = f"must be integers of shape (N, {columns}) or (N, {columns}, 1, 1)"
        raise ValueError(f"{op}: samples: {rule}, got {rows.dtype} of shape {rows.shape}")
    counts = csr_matrix(rows)
    most = int(counts.data.max(initial=0))
    counts = counts.astype(np.int32 if most <= np.iinfo(np.int32).max else np.int64)
    obs = pandas.DataFrame(index=[f"sample-{n}" for n in range(first, first + rows.shape[0])])
    if labels is not None:
        obs[known.get("labels_key") or "label"] = _classes(op, array_of(labels), len(obs), known)
    return module.AnnData(counts, obs=obs, var=pandas.DataFrame(index=known.get("var_names") or _numbered(columns)))


def write_h5ad(data: AnnData, out: Path) -> None:
    """Writes an AnnData whole or not at all."""
    data.strings_to_categoricals()  # as AnnData.write_h5ad does: not all strings can be written
    if data.raw is not None:
        data.strings_to_categoricals(data.raw.var)
    with atomic_path(os.path.realpath(out)) as path, made("write_h5ad: out", path, out) as new, new.writing() as root:
        elements().write_elem(root, "/", data, dataset_kwargs={"compression": "gzip"})


def _numbered(count: int) -> list[str]:
    """The names that AnnData gives where there are none."""
    return [str(n) for n in range(count)]


def _classes(op: str, labels: NDArray[Any], count: int, known: Mapping[str, Any]) -> Any:
    """The names of the classes of samples, as a column that knows all of them."""
    import pandas

    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(f"{op}: labels: must be {count} integers, got {labels.dtype} of shape {labels.shape}")
    names = known.get("class_names") or _numbered(known.get("classes") or int(labels.max(initial=0)) + 1)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(names):
        raise ValueError(f"{op}: labels: must be in 0..{len(names) - 1}, got {labels.min()}..{labels.max()}")
    return pandas.Categorical.from_codes(labels, names)
