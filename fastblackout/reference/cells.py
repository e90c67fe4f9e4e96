"""Counts of single cells as a CSR matrix stores them, cell after cell: the twins of csrc/cpu/cells.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import common
from .philox import Stream

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, I64, Array

_STREAMS = (Stream.THIN_DRAW, Stream.THIN_REFINE, Stream.THIN_ELEMENT)


def thin_cells(counts: Array, ends: I64, p: F64, q: F64, key: Philox) -> Array:
    """Binomial(counts, p): thin of each cell as a sample of its own length.

    counts: (N,), those of cell b from ends[b] to ends[b + 1]; ends: (B + 1,), from 0 to N. p, q: (B,).
    """
    drawn = np.empty_like(counts)
    for cell in np.flatnonzero(np.diff(ends)):
        own, row = slice(cell, cell + 1), slice(ends[cell], ends[cell + 1])
        later = key.at(first_sample=key.first_sample + int(cell))
        drawn[row] = common.binomial_rows(counts[None, row].astype(np.int64), p[own], q[own], later, _STREAMS)[0]
    return drawn


def keep_counts(counts: Array, ends: I64, genes: Array) -> tuple[Array, Array, I64]:
    """The counts above 0, then those of 0; their genes; and the ends of cells that have the former alone."""
    order = np.argsort(counts == 0, kind="stable")
    return counts[order], genes[order], np.searchsorted(np.flatnonzero(counts), ends)
