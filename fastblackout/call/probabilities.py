"""Probabilities as users give them, made the pairs that kernels read."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import repeated
from ..backends import available
from ..ground.values import one_a_sample, real_array
from ..probability import Prob, check_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORMS = "a fb.Prob, a number or an array or list of real numbers"


def as_prob(value: Any, batch: int, op: str, argument: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(p, q) as float64 arrays of shape (batch,), each contiguous, or `repeated` where all samples share one number.

    value: a Prob, or p alone (then q = 1 - p in float64). p and q: as in arguments.real_array, of a shape of
    arguments.one_a_sample. An input of the right form may be returned without a copy.
    Raises TypeError for another type, ValueError for a wrong shape, a value that is not finite or not in [0, 1], or a
    pair with |p + q - 1| > 1e-9; the text names op, argument, rule and value.
    """
    if isinstance(value, Prob):
        if type(value.p) is float and type(value.q) is float:
            return _same_for_all(value, batch, op, argument)
        if (pair := _plain_pair(value, batch)) is not None:
            return pair
        p = _as_array(value.p, batch, op, f"{argument}.p")
        q = _as_array(value.q, batch, op, f"{argument}.q")
        check_sum(op, argument, p, q)
        return _for_each(p, batch), _for_each(q, batch)
    if type(value) is float:
        return _same_for_all(value, batch, op, argument)
    p = _as_array(value, batch, op, argument)
    return _for_each(p, batch), _for_each(1.0 - p, batch)


def _plain_pair(value: Prob, batch: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The pair as it is, when it needs no conversion and the kernels' module finds nothing wrong with it."""
    p, q = value
    torch = sys.modules.get("torch")
    if torch is not None and type(p) is torch.Tensor and type(q) is torch.Tensor:
        f64 = torch.float64
        if not all(t.is_cpu and t.dtype is f64 and not (t.requires_grad or t.is_neg()) for t in value):
            return None
        p, q = p.numpy(), q.numpy()
    if type(p) is not np.ndarray or type(q) is not np.ndarray or p.shape != (batch,) or q.shape != (batch,):
        return None
    cpu = available.load("_cpu")
    return (p, q) if not isinstance(cpu, str) and cpu.good_pair(p, q) else None


@functools.lru_cache(maxsize=256)
def _same_for_all(value: Any, batch: int, op: str, argument: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """as_prob of Python floats; the arrays are shared between calls, which only read them."""
    if isinstance(value, Prob):
        return as_prob(Prob(np.float64(value.p), np.float64(value.q)), batch, op, argument)
    return as_prob(np.float64(value), batch, op, argument)


def _for_each(array: NDArray[np.float64], batch: int) -> NDArray[np.float64]:
    return array if array.shape else repeated(np.array(array), batch)


def _as_array(value: Any, batch: int, op: str, argument: str) -> NDArray[np.float64]:
    """(batch,) or (), checked."""
    array = one_a_sample(op, argument, real_array(op, argument, value, _FORMS), batch)
    right = (array >= 0.0) & (array <= 1.0)  # written so that NaN is wrong too
    if not right.all():
        raise ValueError(f"{op}: {argument}: must be in [0, 1], got {float(array[~right].flat[0])!r}")
    array = array.astype(np.float64, copy=False)
    return array if array.shape == () or array.strides == (0,) else np.ascontiguousarray(array)
