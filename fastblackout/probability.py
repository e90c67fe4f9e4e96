"""Probabilities as pairs (p, q = 1 - p), each rounded once, so that neither tail is lost to cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from .typing import Generic, T_co

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .typing import Numbers

SUM_TOLERANCE = 1e-9  # how far p + q may be from 1


class Prob(NamedTuple, Generic[T_co]):
    """A probability p and its complement q = 1 - p.

    Both are given because 1 - p rounds. At p = 1e-17 the plain difference is 1, at p = 1 - 1e-17 it is 0.

    Parameters
    ----------
    p : float or array, float64
        The probability, in [0, 1]: a number, a NumPy array or a torch tensor.
    q : float or array, float64
        The complement, of the shape of `p`.

    Notes
    -----
    The ops ask for p + q = 1 within 1e-9, which pairs in float32 miss.

    Examples
    --------
    >>> fb.Prob(0.25, 0.75).q
    0.75
    """

    p: T_co
    q: T_co


ProbLike: TypeAlias = "Numbers | Prob[Any]"  # a probability of samples or elements


def check_sum(op: str, argument: str, p: NDArray[np.float64], q: NDArray[np.float64]) -> None:
    """ValueError unless p + q, of shapes that broadcast, is 1 within 1e-9."""
    off = np.abs(p + q - 1.0)
    if not (off <= SUM_TOLERANCE).all():
        at = np.unravel_index(int(np.argmax(off)), off.shape)
        worst = [float(np.broadcast_to(side, off.shape)[at]) for side in (p, q)]
        raise ValueError(f"{op}: {argument}: p + q must be 1 within 1e-9, got p = {worst[0]!r} and q = {worst[1]!r}")
