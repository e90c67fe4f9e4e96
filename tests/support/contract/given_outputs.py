"""Wrong arrays as `out`, and whether a call takes any."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastblackout as fb
from fastblackout.arrays import COUNTS
from fastblackout.call.declared import DECLARED
from fastblackout.call.outputs import Chosen, OrGiven
from support.contract.calls import Case


def names_of(case: Case) -> Any:
    return inspect.signature(case.function).parameters


class Other:
    """An array of the other library than the rest of the call."""

    def __init__(self, array: Any) -> None:
        self.array = array


class Frozen:
    """An array of NumPy alone: a tensor has no such thing."""

    def __init__(self, array: Any) -> None:
        self.array = array


def sides_of(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, fb.Prob) else (value,)


def takes_out(case: Case) -> bool:
    op = DECLARED[case.op]
    if not isinstance(op.outputs, (Chosen, OrGiven)):
        return False
    spread = [
        name for name in case.beside if np.ndim(case.arguments[name]) or isinstance(case.arguments[name], fb.Prob)
    ]
    sizes = [np.shape(side)[1:] for name in spread for side in sides_of(case.arguments[name])]
    x = case.arguments[op.arguments[0].names[0]]
    plain = str(x.dtype) in COUNTS and case.mask is None and not isinstance(case.arguments.get("max_count"), np.ndarray)
    return plain and all(n == 1 for size in sizes for n in size)


def wrong_outputs(case: Case) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """`out` that the call cannot take."""
    op = DECLARED.get(case.op)
    if op is None or "out" not in names_of(case):
        return
    x = case.arguments[op.arguments[0].names[0]]
    if isinstance(op.outputs, OrGiven):
        wrap: Callable[..., Any] = lambda array: array  # noqa: E731
        where = "out"
    elif isinstance(op.outputs, Chosen):
        first, kind = op.outputs.names[0], op.outputs.result
        wrap, where = (lambda array: kind(**{first: array})), f"out.{first}"
        yield "out", "no result", {"out": np.zeros(x.shape, x.dtype)}
    else:
        return
    if not takes_out(case):
        yield "out", "beside what takes none", {"out": wrap(np.zeros(x.shape, x.dtype))}
        return
    frozen, wide = np.zeros(x.shape, x.dtype), np.zeros((*x.shape, 2), x.dtype)
    frozen.flags.writeable = False
    yield where, "another dtype", {"out": wrap(np.zeros(x.shape, np.float16))}
    yield where, "another shape", {"out": wrap(wide)}
    yield where, "another library", {"out": wrap(Other(np.zeros(x.shape, x.dtype)))}
    yield where, "a list", {"out": wrap([0])}
    yield where, "text", {"out": wrap("nonsense")}
    yield where, "read-only", {"out": wrap(Frozen(frozen))}
    if x.ndim and x.shape[0] > 1 and x.size:
        yield (
            where,
            "elements that overlap",
            {"out": wrap(Frozen(np.lib.stride_tricks.as_strided(x, x.shape, [0] * x.ndim)))},
        )
