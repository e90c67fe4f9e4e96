"""A data set in memory: integer counts, dense or sparse, split into training and held-out samples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..call.numbers import max_count_of
from ..ground.values import array_of, check_memory, is_tensor, shown
from .order import permutation

SPLIT_SEED = 20230515  # one fixed split for everybody; a run's seed does not move it
MOST_CLASSES = 1 << 16  # a network keeps an embedding of every class up to the largest label
_ROWS_AT_ONCE = 4096
HELD_OUT_SHARE = 10  # one sample in ten is held out where the data bring no split of their own


@dataclass(frozen=True)
class Dataset:
    """A data set in memory: integer counts in 0..max_count, split into training and held-out samples.

    Parameters
    ----------
    name : str
        The name of the data set.
    train : numpy.ndarray
        The training counts, (N, C, H, W) in C order: uint8 where max_count <= 255, else int16, int32 or int64. Of a
        sparse table a SparseRows, which gives out dense rows.
    held_out : numpy.ndarray
        The held-out counts, alike.
    max_count : int
        The largest count that is possible.
    train_labels : numpy.ndarray, optional
        int64 (N,), or None where there are no labels.
    held_out_labels : numpy.ndarray, optional
        int64 (N,), or None where there are no labels.
    shaping : dict of str to int
        crop, resize and binarize of `load`, as far as they were carried out. Checkpoints remember them.
    cells : dict
        Of an AnnData: its var_names and class_names, and the layer and labels_key of `load`. Checkpoints remember them.
    """

    name: str
    train: NDArray[Any]
    held_out: NDArray[Any]
    max_count: int
    train_labels: NDArray[np.int64] | None = None
    held_out_labels: NDArray[np.int64] | None = None
    shaping: dict[str, int] = field(default_factory=dict)
    cells: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one sample."""
        return self.train.shape[1:]

    @property
    def is_table(self) -> bool:
        """Whether a sample is a row of C numbers, (C, 1, 1), and no image."""
        return self.shape[1:] == (1, 1)

    @property
    def classes(self) -> int | None:
        """The number of classes, whose labels are 0..classes-1; None without labels."""
        if self.train_labels is None:
            return None
        names = self.cells.get("class_names")
        return int(self.train_labels.max()) + 1 if names is None else len(names)

    @cached_property
    def sha256(self) -> str:
        """A digest of all counts and labels, by which a resumed training knows its data. A gigabyte takes a second."""
        digest = hashlib.sha256()
        for part in (self.train, self.held_out, self.train_labels, self.held_out_labels):
            digest.update(b"None" if part is None else f"{part.dtype.str} {part.shape}".encode())
            for rows in () if part is None else parts_of(part):
                digest.update(np.ascontiguousarray(rows).data)
        return digest.hexdigest()


class SparseRows:
    """Counts (N, D, 1, 1) of which only those above 0 lie in memory.

    It has what this package asks of the counts of a data set. Rows come as dense arrays, as many as are asked for: the
    whole table is nowhere dense.

    matrix: (N, D) integers, CSR of scipy.sparse.
    """

    ndim = 4

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.dtype = matrix.dtype
        self.shape = (*matrix.shape, 1, 1)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize  # of the rows as they are given out

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """One row (D, 1, 1), or the rows of a slice or of an array of places, dense."""
        if isinstance(rows, (int, np.integer)):
            return self[np.array([rows])][0]
        return self.matrix[rows].toarray()[:, :, None, None]

    def __ge__(self, bound: int) -> SparseRows:
        """Whether a count is at least `bound`, a number above 0."""
        return SparseRows(self.matrix >= bound)

    def astype(self, dtype: Any) -> SparseRows:
        """The counts in another dtype."""
        return SparseRows(self.matrix.astype(dtype))

    def min(self) -> Any:
        """The least count."""
        return self.matrix.min()

    def max(self) -> Any:
        """The largest count."""
        return self.matrix.max()

    def mean(self, axis: int | None = None, dtype: Any = None) -> Any:
        """The mean of all counts; with axis 0 the means (D, 1, 1) of the columns."""
        total = self.matrix.sum(axis=axis)
        if axis is None:
            return np.divide(total, math.prod(self.shape), dtype=dtype)
        return np.divide(np.asarray(total), len(self), dtype=dtype).reshape(self.shape[1:])

    def std(self, dtype: Any = None) -> float:
        """The standard deviation of all counts."""
        mean, stored = self.mean(dtype=dtype), self.matrix.data
        squares = np.square(np.subtract(stored, mean, dtype=dtype)).sum()
        size = math.prod(self.shape)
        return math.sqrt((squares + (size - len(stored)) * mean**2) / size)


def parts_of(rows: Any) -> Iterator[NDArray[Any]]:
    """Rows in parts, one after the other: sparse ones are dense only so many at a time."""
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[first : first + _ROWS_AT_ONCE]


def make_dataset(
    name: str,
    images: NDArray[Any],
    labels: NDArray[Any] | None = None,
    *,
    max_count: int,
    held_out: NDArray[Any] | None = None,
    held_out_labels: NDArray[Any] | None = None,
    held_out_count: int | None = None,
    labels_may_lack: bool = False,
) -> Dataset:
    """Make a data set of counts that are in memory.

    Parameters
    ----------
    name : str
        What the data are called, in errors and in checkpoints.
    images : array or tensor of int (N, C, H, W)
        The counts to train on, in 0..max_count.
    labels : array or tensor of int (N,), optional
        The class of each sample, from 0 on.
    max_count : int
        The largest count that there may be.
    held_out : array or tensor of int (M, C, H, W), optional
        Counts that are held out of the training. Without them a keyed shuffle holds out a part of `images`.
    held_out_labels : array or tensor of int (M,), optional
        The classes of `held_out`.
    held_out_count : int, optional
        How many of `images` are held out. Without it, a tenth.
    labels_may_lack : bool, default False
        Leave all labels out, and raise no error, where a class has no sample left to train on.

    Returns
    -------
    Dataset
        What `fb.train` takes.

    Raises
    ------
    TypeError
        If counts are neither an array nor a tensor, or if `max_count` is no integer.
    ValueError
        If counts or labels are out of range, if shapes differ, if one of the two parts alone has labels, or if there
        are too few images to hold some out.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson(20.0, (100, 1, 8, 8))
    >>> data = fb.data.make_dataset("photons", counts, max_count=80)
    >>> len(data.train), len(data.held_out), data.shape
    (90, 10, (1, 8, 8))
    """
    max_count = max_count_of(name, max_count, "int64")
    images = _checked_images(name, images, max_count)
    if held_out is None:
        if held_out_labels is not None:
            raise ValueError(f"{name}: held-out labels: must be left out without held-out images")
        kept, left = kept_and_held_out(f"{name}: images", len(images), held_out_count)
        check_memory(f"{name}: images: a copy of them", images.nbytes)
        held_out, images = images[left], images[kept]
        if labels is not None:
            labels = _checked_labels(name, labels, len(kept) + len(left))
            held_out_labels, labels = labels[left], labels[kept]
            if labels_may_lack and len(np.unique(labels)) <= max(labels.max(), held_out_labels.max()):
                labels = held_out_labels = None
    else:
        held_out = _checked_images(name, held_out, max_count)
        if images.shape[1:] != held_out.shape[1:]:
            raise ValueError(f"{name}: held-out images: must have shape {images.shape[1:]}, got {held_out.shape[1:]}")
        if (labels is None) != (held_out_labels is None):
            lacking = "training" if labels is None else "held-out"
            rule = "must be of training and held-out images or of neither"
            raise ValueError(f"{name}: labels: {rule}, got no {lacking} ones")
        if labels is not None:
            labels = _checked_labels(name, labels, len(images))
            held_out_labels = _checked_labels(name, held_out_labels, len(held_out))
    if labels is not None and held_out_labels is not None and held_out_labels.max() > labels.max():
        raise ValueError(f"{name}: held-out labels: must be at most {labels.max()}, got {held_out_labels.max()}")
    dtype = count_dtype(max_count)
    images, held_out = (np.ascontiguousarray(part, dtype=dtype) for part in (images, held_out))
    return Dataset(name, images, held_out, max_count, labels, held_out_labels)


def kept_and_held_out(what: str, of: int, count: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the samples to train on, and of `count` that are held out, by default a tenth.

    what: the op and the argument of an error.
    """
    count = max(1, of // HELD_OUT_SHARE) if count is None else count
    if of <= count:
        raise ValueError(f"{what}: at least {count + 1} are needed to hold {count} out, got {of}")
    order = permutation(of, SPLIT_SEED, epoch=0)
    return np.sort(order[count:]), np.sort(order[:count])


def count_dtype(max_count: int) -> type[np.integer[Any]]:
    """The smallest of uint8, int16, int32, int64 that holds 0..max_count."""
    return next(
        (kind for kind in (np.uint8, np.int16, np.int32) if max_count <= np.iinfo(kind).max),
        np.int64,
    )


def _checked_images(name: str, images: Any, max_count: int) -> NDArray[Any]:
    if not isinstance(images, np.ndarray) and not is_tensor(images):
        raise TypeError(f"{name}: images: must be an array or a tensor of counts, got {shown(images)}")
    images = array_of(images)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"{name}: images: must have shape (N, C, H, W) without a zero, got {images.shape}")
    if images.dtype.kind not in "iu":
        raise ValueError(f"{name}: images: must hold integer counts, got dtype {images.dtype}")
    low, high = int(images.min()), int(images.max())
    if low < 0 or high > max_count:
        raise ValueError(f"{name}: images: counts must lie in 0..{max_count}, got {low if low < 0 else high}")
    return images


def _checked_labels(name: str, labels: Any, count: int) -> NDArray[np.int64]:
    found: NDArray[Any] = array_of(labels)
    if found.shape != (count,) or found.dtype.kind not in "iu":
        raise ValueError(f"{name}: labels: must be {count} integers, got {found.dtype} of shape {found.shape}")
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= MOST_CLASSES:
        raise ValueError(f"{name}: labels: must be in 0..{MOST_CLASSES - 1}, got {low if low < 0 else high}")
    return found.astype(np.int64)
