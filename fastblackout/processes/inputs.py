"""Arguments of the processes: times, states, rates and probability vectors, checked and in a known form."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..arrays import COUNTS, Array, adopt
from ..backends.float_mode import default_floats
from ..ground.values import is_integer, is_tensor, settled

if TYPE_CHECKING:
    from numpy.typing import NDArray

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

ROW_SUM = 1e-9  # rows of Q sum to 0, and probabilities to 1, within this times their scale
# How far a sum of probabilities may be from 1: narrow floats are rounded by up to 2^-11 or 2^-9 of themselves each.
_SUMS = {"float64": ROW_SUM, "float32": 1e-4, "float16": 2e-3, "bfloat16": 1e-2}
MAX_STATES = 4096


def any_library(function: FunctionT) -> FunctionT:
    """Lets a function of NumPy arrays and tensors take DLPack objects, and give back what its first array came as."""
    parameters = tuple(inspect.signature(function).parameters)
    body: Any = default_floats(function)

    @functools.wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        if not any(_is_foreign(value) for value in (*args, *named.values())):
            return body(*args, **named)
        arguments = dict(zip(parameters, args, strict=False)) | named
        method = parameters[0] == "self"
        op = f"{type(args[0]).__name__}.{body.__name__}" if method else body.__name__
        foreign = {name: Array(value, op, name) for name, value in arguments.items() if _is_foreign(value)}
        result = body(**(arguments | {name: array.value for name, array in foreign.items()}))
        first = next(name for name in parameters if name in foreign or _is_array(arguments.get(name)))
        if first in foreign and (isinstance(result, np.generic) or _is_array(result)):
            return foreign[first].like(result).give()
        return result

    same: Any = called
    return same


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or is_tensor(value)


def _is_foreign(value: Any) -> bool:
    """Whether Array has to look at it: an array of a library other than NumPy and torch, or a masked one to refuse."""
    if isinstance(value, np.ma.MaskedArray):
        return True
    return hasattr(value, "__dlpack__") and not isinstance(value, (np.ndarray, np.generic)) and not is_tensor(value)


def rate_of(op: str, argument: str, value: Any, zero: bool = False) -> float:
    """A finite rate above 0, or at least 0 where `zero`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: {argument}: must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond float64
        number = math.inf
    if not (math.isfinite(number) and (number > 0 or (zero and number == 0))):
        raise ValueError(f"{op}: {argument}: must be finite and {'at least' if zero else 'above'} 0, got {number!r}")
    return number


def host(value: Any, op: str, argument: str) -> NDArray[Any]:
    """A number, a NumPy array, a tensor of any device or a DLPack object as a NumPy array."""
    if isinstance(value, numbers.Number) and not isinstance(value, bool):
        return np.asarray(value)
    array = Array(value, op, argument)
    if array.is_tensor:
        if array.device == "meta":
            raise ValueError(f"{op}: {argument}: must have values, got a tensor on meta")
        detached = settled(op, argument, array.value).detach().cpu()
        return (detached.double() if array.dtype == "bfloat16" else detached).numpy()
    return array.value


def real(value: Any, op: str, argument: str) -> NDArray[np.float64]:
    """As float64 NumPy; TypeError for what is not real."""
    array = host(value, op, argument)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{op}: {argument}: must be real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)


def number_of(op: str, argument: str, value: Any) -> float:
    """One time; ValueError for an array of several."""
    time = times_of(op, argument, value)
    if time.ndim:
        raise ValueError(f"{op}: {argument}: must be a number, got an array of shape {time.shape}")
    return float(time)


def times_of(op: str, argument: str, t: Any, each: bool = False) -> NDArray[np.float64]:
    """Times as float64 of shape () or (B,), finite and at least 0. each: of any shape, as one for each element has."""
    times = real(t, op, argument)
    if times.ndim > 1 and not each:
        raise ValueError(f"{op}: {argument}: shape must be () or (B,), got {times.shape}")
    wrong = ~(np.isfinite(times) & (times >= 0))
    if wrong.any():
        raise ValueError(f"{op}: {argument}: must be finite and at least 0, got {float(times[wrong][0])!r}")
    return times


def one_a_sample(op: str, times: NDArray[np.float64], shape: Any) -> None:
    """ValueError unless times are (), one for each sample of an array of this shape, or, with more dimensions, for each
    element: of this shape, but for a size of 1 in the place of some behind the first."""
    shape = tuple(shape)
    if times.ndim > 1:
        others = zip(times.shape[1:], shape[1:], strict=False)
        if times.ndim != len(shape) or times.shape[0] != shape[0] or any(size not in (1, of) for size, of in others):
            rule = f"shape must be (), {shape[:1]} or the states' shape, {shape}"
            raise ValueError(f"{op}: t: {rule}, got {times.shape}")
    elif times.ndim and times.shape != shape[:1]:
        raise ValueError(f"{op}: t: shape must be () or {shape[:1]}, one a sample, got {times.shape}")


def like_of(value: Any) -> tuple[Any, Any]:
    """(numpy, None), or (torch, device) for a tensor: where results that follow `value` are made."""
    return (sys.modules["torch"], value.device) if is_tensor(value) else (np, None)


def move(array: NDArray[Any], xp: Any, device: Any) -> Any:
    # torch takes no negative strides, and warns of memory that may not be written.
    return array if xp is np else xp.from_numpy(np.require(array, requirements=("C", "W"))).to(device)


def together(op: str, **given: Any) -> tuple[Any, ...]:
    """Arrays as tensors on one device where any of them is a tensor. ValueError for tensors of several devices."""
    first = next((name for name, value in given.items() if is_tensor(value)), None)
    if first is None:
        return tuple(given.values())
    xp, device = like_of(given[first])
    for name, value in given.items():
        if is_tensor(value) and value.device != device:
            raise ValueError(f"{op}: {name}: must be on the device of {first}, {device}, got {value.device}")
    return tuple(value if is_tensor(value) else move(np.asarray(value), xp, device) for value in given.values())


def a_state_each(op: str, name: str, value: Any, x_t: Any, states: int) -> tuple[Any, Any]:
    """(value, x_t) in one library, value checked to be (..., S) for states x_t (...)."""
    return shaped(op, name, value, x_t, (*x_t.shape, states))


def shaped(op: str, name: str, value: Any, x_t: Any, shape: Any) -> tuple[Any, Any]:
    """(value, x_t) in one library, value checked to be an array of this shape."""
    own = Array(value, op, name).shape
    if own != tuple(shape):
        raise ValueError(f"{op}: {name}: shape must be {tuple(shape)}, got {own}")
    now, value = together(op, x_t=x_t, **{name: value})
    return value, now


def visible(value: Any) -> bool:
    """Whether values may be looked at without waiting for a device."""
    return not is_tensor(value) or (value.device.type == "cpu" and not sys.modules["torch"].compiler.is_compiling())


def states_of(op: str, argument: str, value: Any, states: int) -> Any:
    """States as an int64 array or tensor, each in 0..states - 1. Waits for a device to look at the values."""
    if is_integer(value):
        value = np.asarray(int(value))
    array = adopt(value, op, argument, COUNTS)
    x = array.value.long() if array.is_tensor else array.value.astype(np.int64)
    wrong = (x < 0) | (x >= states)
    if bool(wrong.any()):
        raise ValueError(f"{op}: {argument}: must be in 0..{states - 1}, got {int(x[wrong].reshape(-1)[0])}")
    return x


def simplex_of(op: str, argument: str, value: Any, states: int, wait: bool = True) -> Any:
    """Probabilities over the last dimension as float64, in their own library: at least 0, summing to 1 within 1e-9.

    float32 may miss 1 by 1e-4, float16 by 2e-3, bfloat16 by 1e-2; they are divided by their sum, differentiably.
    wait: whether to look at values on a device.
    """
    array = Array(value, op, argument)
    if array.dtype not in ("float64", "float32", "float16", "bfloat16"):
        raise TypeError(f"{op}: {argument}: must be floating point, got {array.dtype}")
    if not array.shape or array.shape[-1] != states:
        raise ValueError(f"{op}: {argument}: the last dimension must be the {states} states, got shape {array.shape}")
    p = array.value.double() if array.is_tensor else array.value.astype(np.float64)
    total = p.sum(-1)[..., None]
    if wait or visible(array.value):
        if not bool((p >= 0).all()):
            raise ValueError(f"{op}: {argument}: must be at least 0, got {float(p[~(p >= 0)].reshape(-1)[0])!r}")
        off = abs(total - 1.0) > _SUMS[array.dtype]
        if bool(off.any()):
            raise ValueError(f"{op}: {argument}: must sum to 1, got {float(total[off].reshape(-1)[0])!r}")
    return p / total


@default_floats
def law_of(op: str, argument: str, value: Any, states: int) -> NDArray[np.float64]:
    """One law of the states, as (S,) of NumPy."""
    law = host(simplex_of(op, argument, value, states), op, argument)
    if law.ndim != 1:
        raise ValueError(f"{op}: {argument}: shape must be ({states},), got {law.shape}")
    return law


def _check_square(op: str, argument: str, shape: Any) -> None:
    """ValueError for a shape other than (S, S) with S in 1..MAX_STATES; None: it is not known."""
    if shape is None:
        return
    sizes = tuple(shape)
    if len(sizes) != 2 or sizes[0] != sizes[1] or not 1 <= sizes[0] <= MAX_STATES:
        raise ValueError(f"{op}: {argument}: must be (S, S) with S in 1..{MAX_STATES}, got shape {sizes}")


@default_floats
def generator_of(op: str, argument: str, value: Any) -> NDArray[np.float64]:
    """Off-diagonal rates of a generator, (S, S) float64 with a diagonal of 0.

    value: dense of any library, or sparse of scipy or torch: square, of 1..MAX_STATES states, finite, at least 0 off
    the diagonal, rows summing to 0 within 1e-9 of the row's largest rate. The diagonal is not used beyond that check:
    it is minus the sum of the others.
    """
    _check_square(op, argument, getattr(value, "shape", None))  # before a sparse or a repeated one is made dense
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        value = value.toarray()
    if is_tensor(value) and value.layout is not sys.modules["torch"].strided:
        value = value.to_dense()
    rates = real(value, op, argument).copy()
    _check_square(op, argument, rates.shape)
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
