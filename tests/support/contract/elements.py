"""Valid arguments of what is drawn element by element, in shapes that broadcast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastblackout as fb
from fastblackout.arrays import FLOATS
from fastblackout.call.elements import Elements
from support import draws
from support.contract.calls import KINDS, TINY, Case
from support.maker import Maker


def add_elements(case: Case, kind: Elements) -> None:
    """Values that a module of support.draws makes, usual or extreme, each in a shape that broadcasts."""
    draw = draws.DRAWS[case.op]
    if case.pick("values", ("usual", "extreme")) == "usual":
        narrow_elements(case, kind.dtypes, draw.right)
        return
    factors = {"counts": ("int64",), "max_count": (255,)} | {n: f for n, f in draw.FACTORS.items() if n != "shape"}
    chosen = {name: case.pick(name, [v for v in some if v != "bfloat16"]) for name, some in factors.items()}
    chosen |= {"shape": case.shape, "floats": case.pick("floats", ("float32", "float16", "float64"))}
    made = {name: value.numpy() for name, value in draw.arguments(Maker(chosen, case.pick("seed", range(99)))).items()}
    for name, value in made.items():
        made[name] = cut(case, value)
    if case.op == "hypergeometric":
        balls = made["good"].astype(np.int64) + made["bad"].astype(np.int64)
        made["draws"] = np.minimum(made["draws"], balls.min(initial=2**50)).astype(made["draws"].dtype)
    if kind.prob:
        p, q = made.pop("p"), made.pop("q", None)
        made["prob"] = p if q is None else fb.Prob(p, 1.0 - p)
    for name, value in made.items():
        case.add(name, value, "elements", case.shape)
    restore_shape(case)


def cut(case: Case, value: Any, axes: int | None = None) -> Any:
    """A part of an array that broadcasts to its shape: one of an axis, or fewer axes."""
    rank = value.ndim if axes is None else axes
    for axis in range(rank):
        if value.shape[axis] and case.pick("narrow", (False, True)):
            value = value[(*(slice(None) for _ in range(axis)), slice(0, 1))]
    while rank and value.shape[0] == 1 and case.pick("fewer", (False, True)):
        value, rank = value[0], rank - 1
    return np.ascontiguousarray(value)


def narrow_elements(
    case: Case, dtypes: dict[str, Sequence[str]], right: Callable[..., Any], last: int = 0, role: str = "elements"
) -> None:
    """right: the values, of counts in 0..3 and reals in -1..1. last: categories in a last axis of the last argument."""
    x = np.floor(case.random.random(case.shape) * 4)
    reals = case.random.random(case.shape) * 2 - 1
    names = list(right(x, reals))
    for name in names:
        value = right(cut(case, x), cut(case, reals))[name]
        if last and name == names[-1]:
            value = case.values((0.0, 1.0, *TINY), (*np.shape(value), last), 0.01, 1.0)
            value[..., 0] = 0.5
        if isinstance(value, np.ndarray) and name in dtypes:
            floats = np.array_equal(value, np.floor(value)) and dtypes[name] != FLOATS
            value = value.astype(
                case.pick("dtype", [d for d in dtypes[name] if d != "bfloat16" and (floats or d[0] == "f")])
            )
        whole = (*case.shape, last) if last and name == names[-1] else case.shape
        case.add(name, value, role, whole)
    restore_shape(case)


def restore_shape(case: Case) -> None:
    """The shape that all arguments broadcast to, which may be smaller than the one they were cut from."""
    arrays = {name: value for name, value in case.arguments.items() if name in case.whole}
    extra = {name: len(case.whole[name]) - len(case.shape) for name in arrays}
    parts = [(np.shape(side), extra[n]) for n, v in arrays.items() for side in (v if isinstance(v, fb.Prob) else (v,))]
    case.shape = np.broadcast_shapes(*(shape[: len(shape) - more] for shape, more in parts))
    case.samples = case.shape[0] if case.shape else 1
    for name in arrays:
        case.whole[name] = (*case.shape, *case.whole[name][len(case.whole[name]) - extra[name] :])


KINDS[Elements] = add_elements
