"""Probabilities as pairs (p, q = 1 - p), each rounded once, so that neither tail is lost to cancellation."""

from __future__ import annotations

from typing import Any, NamedTuple


class Prob(NamedTuple):
    """A probability p and its complement q = 1 - p: numbers, NumPy arrays or torch tensors of one shape, in float64.

    Both are given because 1 - p rounds: at p = 1e-17 the plain difference is 1, at p = 1 - 1e-17 it is 0. The ops ask
    for p + q = 1 within 1e-9, which float32 pairs miss.
    """

    p: Any
    q: Any
