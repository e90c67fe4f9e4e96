"""Arguments of the processes: times, states, rates and probability vectors, checked and in a known form."""

from __future__ import annotations

import math
import numbers
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS, Array, adopt

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROW_SUM = 1e-9  # rows of Q sum to 0, and probabilities to 1, within this times their scale
MAX_STATES = 4096


def integer_of(op: str, argument: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{op}: {argument}: must be an integer, got {value!r}")
    if not low <= int(value) <= high:
        raise ValueError(f"{op}: {argument}: must be in {low}..{high}, got {value}")
    return int(value)


def rate_of(op: str, argument: str, value: Any, zero: bool = False) -> float:
    """A finite rate above 0, or at least 0 where `zero`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: {argument}: must be a number, got {value!r}")
    number = float(value)
    if not (math.isfinite(number) and (number > 0 or (zero and number == 0))):
        raise ValueError(f"{op}: {argument}: must be finite and {'at least' if zero else 'above'} 0, got {number!r}")
    return number


def host(value: Any, op: str, argument: str) -> NDArray[Any]:
    """A number, a NumPy array, a tensor of any device or a DLPack object as a NumPy array."""
    if isinstance(value, numbers.Number) and not isinstance(value, bool):
        return np.asarray(value)
    array = Array(value, op, argument)
    if array.is_tensor:
        detached = array.value.detach().cpu()
        return (detached.double() if array.dtype == "bfloat16" else detached).numpy()
    return array.value


def real(value: Any, op: str, argument: str) -> NDArray[np.float64]:
    """As float64 NumPy; TypeError for what is not real."""
    array = host(value, op, argument)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{op}: {argument}: must be real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)


def times_of(op: str, argument: str, t: Any) -> NDArray[np.float64]:
    """Times as float64 of shape () or (B,), finite and at least 0."""
    times = real(t, op, argument)
    if times.ndim > 1:
        raise ValueError(f"{op}: {argument}: shape must be () or (B,), got {times.shape}")
    wrong = ~(np.isfinite(times) & (times >= 0))
    if wrong.any():
        raise ValueError(f"{op}: {argument}: must be finite and at least 0, got {float(times[wrong][0])!r}")
    return times


def like_of(value: Any) -> tuple[Any, Any]:
    """(numpy, None), or (torch, device) for a tensor: where results that follow `value` are made."""
    torch = sys.modules.get("torch")
    return (torch, value.device) if torch is not None and isinstance(value, torch.Tensor) else (np, None)


def move(array: NDArray[Any], xp: Any, device: Any) -> Any:
    return array if xp is np else xp.from_numpy(np.ascontiguousarray(array)).to(device)


def states_of(op: str, argument: str, value: Any, states: int) -> Any:
    """States as an int64 array or tensor, each in 0..states - 1. Waits for a device to look at the values."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = np.asarray(int(value))
    array = adopt(value, op, argument, COUNTS)
    x = array.value.long() if array.is_tensor else array.value.astype(np.int64)
    wrong = (x < 0) | (x >= states)
    if bool(wrong.any()):
        raise ValueError(f"{op}: {argument}: must be in 0..{states - 1}, got {int(x[wrong].reshape(-1)[0])}")
    return x


def simplex_of(op: str, argument: str, value: Any, states: int) -> Any:
    """Probabilities over the last dimension as float64, in their own library: at least 0, summing to 1 within 1e-9.

    float32 and narrower may miss 1 by 1e-4; they are divided by their sum.
    """
    array = Array(value, op, argument)
    if array.dtype not in ("float64", "float32", "float16", "bfloat16"):
        raise TypeError(f"{op}: {argument}: must be floating point, got {array.dtype}")
    if not array.shape or array.shape[-1] != states:
        raise ValueError(f"{op}: {argument}: the last dimension must be the {states} states, got shape {array.shape}")
    p = array.value.detach().double() if array.is_tensor else array.value.astype(np.float64)
    total = p.sum(-1)
    if not bool((p >= 0).all()):
        raise ValueError(f"{op}: {argument}: must be at least 0, got {float(p[~(p >= 0)].reshape(-1)[0])!r}")
    off = abs(total - 1.0) > (ROW_SUM if array.dtype == "float64" else 1e-4)
    if bool(off.any()):
        raise ValueError(f"{op}: {argument}: must sum to 1, got {float(total[off].reshape(-1)[0])!r}")
    return p / total[..., None]


def generator_of(op: str, argument: str, value: Any) -> NDArray[np.float64]:
    """Off-diagonal rates of a generator, (S, S) float64 with a diagonal of 0.

    value: dense of any library, or scipy.sparse: square, finite, at least 0 off the diagonal, rows summing to 0 within
    1e-9 of the row's largest rate. The diagonal is not used beyond that check: it is minus the sum of the others.
    """
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        value = value.toarray()
    rates = real(value, op, argument).copy()
    if rates.ndim != 2 or rates.shape[0] != rates.shape[1] or not 1 <= rates.shape[0] <= MAX_STATES:
        raise ValueError(f"{op}: {argument}: must be (S, S) with S in 1..{MAX_STATES}, got shape {rates.shape}")
    if not np.isfinite(rates).all():
        raise ValueError(f"{op}: {argument}: must be finite, got {float(rates[~np.isfinite(rates)][0])!r}")
    diagonal = np.diagonal(rates).copy()
    np.fill_diagonal(rates, 0.0)
    if (rates < 0).any():
        row, column = np.argwhere(rates < 0)[0]
        raise ValueError(
            f"{op}: {argument}: must be at least 0 off the diagonal, got {float(rates[row, column])!r} "
            f"at ({row}, {column})"
        )
    total = np.array([math.fsum(row) for row in rates])
    wrong = ~(np.abs(total + diagonal) <= ROW_SUM * np.maximum(total, np.abs(diagonal)))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{op}: {argument}: rows must sum to 0, got {float((total + diagonal)[row])!r} in row {row}")
    if not np.isfinite(total).all() or total.max() > 1e200:
        raise ValueError(f"{op}: {argument}: rates out of a state must be at most 1e200, got {float(total.max())!r}")
    return rates
