"""A valid call of any op, made of its declaration by choices that Hypothesis takes, or the simplest ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import fastblackout as fb
from fastblackout.arrays import COUNTS
from fastblackout.call import arguments as kinds
from fastblackout.call import numbers
from fastblackout.call.arguments import COPIED
from fastblackout.call.declared import DECLARED
from fastblackout.call.head import Head
from support.helpers import KEYS
from support.maker import PROBS

Pick = Callable[[str, Sequence[Any]], Any]
LIMITS = {"uint8": 2**8, "int16": 2**15, "int32": 2**31, "int64": 2**53 + 1, "uint16": 2**16, "uint32": 2**32}
LIMITS |= {"float32": 2**24 + 1, "float64": 2**53 + 1}  # counts that a dtype holds lie below these
NETWORK = (0.0, -0.0, 20.0, 300.0, -87.5, -6e4, 6e4, 1.25)
TINY = (5e-324, 1e-310, 1e-300, 1e-45, 1e-39, 1e-20)
SPREAD = ("features", "axis", "each")  # how numbers differ within a sample
MOST_ELEMENTS = 400


def simplest(name: str, options: Sequence[Any]) -> Any:
    """The choices of a plain call of every op."""
    return options[0]


class Case:
    """A call. arguments: what the op takes, arrays of NumPy, by name.

    roles: what an argument is, by name, for `violations`. whole: the shape of an argument that is broadcast in full.
    beside: the names of numbers that stand beside counts by the rule of fb.thin; all others broadcast as NumPy does.
    axes: the axis of the whole along which the samples lie.
    """

    def __init__(self, op: str, pick: Pick, shape: tuple[int, ...]) -> None:
        self.op, self.pick, self.shape = op, pick, shape
        self.function: Callable[..., Any] = getattr(fb, op)
        self.random = np.random.default_rng(pick("seed", range(1 << 12)))
        self.arguments: dict[str, Any] = {}
        self.roles: dict[str, Any] = {}
        self.whole: dict[str, tuple[int, ...]] = {}
        self.axes: dict[str, int] = {}
        self.beside: set[str] = set()
        self.samples = shape[0] if shape else 1
        self.mask: Any = None  # which elements take part, of the whole shape
        self.counts: Any = None  # the first argument, and the most that it may be
        self.most: Any = None

    def add(self, name: str, value: Any, role: Any, whole: tuple[int, ...] | None = None, axis: int = 0) -> None:
        self.arguments[name], self.roles[name] = value, role
        if whole is not None:
            self.whole[name], self.axes[name] = whole, axis

    def values(self, pool: Sequence[float], shape: tuple[int, ...], low: float, high: float) -> Any:
        """float64, a third of them from the pool."""
        even = low + (high - low) * self.random.random(shape)
        return np.where(self.random.random(shape) < 1 / 3, self.random.choice(np.array(pool), shape), even)

    def network(self, shape: tuple[int, ...]) -> Any:
        dtype, values = (
            self.pick("floats", ("float32", "float16", "float64", "bfloat16")),
            self.values(NETWORK, shape, -6.0, 6.0),
        )
        if dtype == "bfloat16":  # which NumPy has not
            return torch.from_numpy(values).bfloat16().float().numpy()
        return values.astype(dtype)

    def outside(self, values: Any, wrong: float) -> Any:
        """The values, but any where the mask is false."""
        if self.mask is not None and self.pick("anything", (False, True)):
            values = np.where(self.mask, values, np.asarray(wrong).astype(values.dtype))
        return values


def shape_of(pick: Pick) -> tuple[int, ...]:
    rank = pick("rank", (2, 1, 3, 0, 4))
    shape = [pick("batch" if axis == 0 else "size", (2, 3, 1, 0, 4, 7, 40)) for axis in range(rank)]
    while math.prod(shape) > MOST_ELEMENTS:
        shape[shape.index(max(shape))] = 2
    return tuple(shape)


def number(case: Case, name: str, values: Callable[[tuple[int, ...]], Any], role: Any, within: bool) -> None:
    """Numbers that stand beside counts, for each sample or, where the op allows it, within one."""
    shape, rest = case.shape, case.shape[1:]
    shapes: dict[str, tuple[int, ...]] = {"number": (), "samples": (case.samples,), "0-d": ()}
    shapes |= {"column": (case.samples, *(1 for _ in rest))} if rest else {}
    if within and rest:
        shapes |= {"features": (1, *rest), "axis": (1, rest[0], *(1 for _ in rest[1:])), "each": shape}
    how = case.pick("as", [each for each in ("number", "samples", "column", "0-d", *SPREAD) if each in shapes])
    array = np.asarray(values(shapes[how]))
    spread = how in SPREAD and any(size != 1 for size in array.shape[1:])
    free = within and rest and name in ("gain", "center", "scale", "weight", "max_count")
    to_each = free and case.pick("to each", (False, True))  # as if all elements had the number of their sample
    value = array.item() if how == "number" else array
    case.add(name, value, role, shape if spread or to_each else (case.samples,))
    case.beside.add(name)


def as_dtype(case: Case, values: Any) -> Any:
    """Numbers in one of the dtypes that all numbers may have."""
    dtype = case.pick("dtype of numbers", ("float64", "float32", "int64", "float16"))
    return np.ceil(values).astype(dtype) if dtype == "int64" else values.astype(dtype)


def add_counts(case: Case, kind: kinds.Counts) -> None:
    (name,) = kind.names
    op, first = DECLARED[case.op], kind is DECLARED[case.op].arguments[0]
    bound = next((each for each in op.arguments if isinstance(each, numbers.MaxCount)), None)
    within = op.per_element is not None
    dtype = case.pick("counts", (*COUNTS, *COPIED))
    limit = min(LIMITS[dtype], 2**53 + 1)
    if not first or bound is None:
        most: Any = case.pick("most", [each for each in (255, 9, 40_000, 2**53) if each < limit])
    else:
        tops = [each for each in (255, 9, 1, 0, 256, 40_000, 2**40, 2**53) if bound.low <= each < limit]
        most = case.pick("max_count", tops)
        if within and case.pick("max_count is", ("one", "an array")) == "an array":
            number(case, "max_count", lambda shape: case.random.integers(0, most + 1, shape), "limits", True)
            most = np.asarray(case.arguments["max_count"])
            most = most if most.ndim != 1 else most.reshape((*case.shape[:1], *(1 for _ in case.shape[1:])))
        elif not (dtype == "uint8" and most == 255 and case.pick("max_count given", (True, False)) is False):
            case.add("max_count", most, ("max_count", bound.low, min(LIMITS[dtype], 2**53 + 1) - 1))
    x = np.floor(case.random.random(case.shape) * (most + 1.0)).clip(0, most)
    x = np.where(case.random.random(case.shape) < 0.2, most, x).astype(dtype)
    if first:
        case.most, case.counts = most, x
    wrong = np.nan if x.dtype.kind == "f" else LIMITS[dtype] - 1
    value = case.outside(x, wrong) if first and within else x
    case.add(name, value, ("counts", np.max(most, initial=0)), case.shape)


def add_births(case: Case, name: str, values: Any) -> None:
    dtype = case.pick("births", ("uint8", "float32", "float16", "float64", "int64", "int16"))
    top = LIMITS.get(dtype, 2049) - 1
    case.add(name, case.outside(np.minimum(values, top).astype(dtype), 0), "births", case.shape)


def add_expected(case: Case, kind: kinds.ExpectedBirths) -> None:
    if case.pick("given", ("logits", "births")) == "logits":
        case.add("logits", case.outside(case.network(case.shape), np.nan), "network", case.shape)
    else:
        add_births(case, "births", np.abs(case.values((0.0, 2.5, 1e3), case.shape, 0.0, 40.0)))


def add_probability(case: Case, kind: numbers.Probability) -> None:
    (name,) = kind.names
    if kind.optional and not case.pick(f"{name} given", (False, True)):
        return
    number(case, name, lambda shape: case.values((*PROBS, *TINY), shape, 0.0, 1.0), "prob", case.op in kinds.WITHIN)
    p = case.arguments[name]
    if case.pick("pair", (False, True)):
        case.arguments[name] = fb.Prob(p, 1.0 - p)
    elif isinstance(p, np.ndarray):
        case.arguments[name] = as_dtype(case, p)


def add_per_sample(case: Case, kind: numbers.PerSample) -> None:
    (name,) = kind.names
    if name in ("center", "scale", "gain", "offset") and not case.pick(f"{name} given", (False, True)):
        return
    low = kind.rule.low
    pool = (1.0, 0.25, 7.3, 2.0**-14) if kind.rule.open_low else (0.0, 1.0, 7.3, *TINY)
    if low < 0:
        pool = (0.0, 1.0, -1.5, 3.3, *((-700.0, -95.0) if case.op == "posterior_step" else TINY), -1e-42)
    least = 0.01 if kind.rule.open_low else 0.0 if low == 0 else -2.0

    def values(shape: tuple[int, ...]) -> Any:
        return as_dtype(case, case.values(pool, shape, least, 2.0))

    number(case, name, values, ("number", low, kind.rule.open_low), case.op in kinds.WITHIN)


def add_key(case: Case, kind: kinds.Key) -> None:
    case.add("rng", case.pick("key", (fb.Philox(1), *KEYS)), "key")
    samples = 2**32 - case.arguments["rng"].first_sample
    if samples < case.samples:
        case.arguments["rng"] = case.arguments["rng"].at(first_sample=0)


def add_choice(case: Case, kind: numbers.Choice) -> None:
    (name,) = kind.names
    case.add(name, case.pick(name, kind.known), "choice")


def add_head(case: Case, kind: Head) -> None:
    family = case.arguments["family"]
    if family == "mean":
        case.add("head", case.network(case.shape), "head", case.shape)
    else:
        case.add("head", (case.network(case.shape), case.network(case.shape)), "head", case.shape)


def add_draws(case: Case, kind: kinds.Draws) -> None:
    shape = (case.pick("draws", (2, 3, 8)), *case.shape)
    case.add("logits", case.network(shape), "network", shape, axis=1)


def add_logits(case: Case, kind: kinds.Logits) -> None:
    case.add("logits", case.outside(case.network(case.shape), np.nan), "network", case.shape)


def add_loss_births(case: Case, kind: kinds.Births) -> None:
    if case.op == "posterior_loss":
        room = case.most - case.counts.astype(np.float64)
        add_births(case, "births", np.floor(case.random.random(case.shape) * (room + 1)).clip(0, room))
    else:
        add_births(case, "births", np.floor(case.values((0.0, 2.0, 1e3), case.shape, 0.0, 40.0)))


KINDS: dict[type, Callable[[Case, Any], None]] = {
    kinds.Counts: add_counts,
    kinds.ExpectedBirths: add_expected,
    kinds.Births: add_loss_births,
    kinds.Logits: add_logits,
    kinds.Draws: add_draws,
    kinds.Key: add_key,
    numbers.Probability: add_probability,
    numbers.PerSample: add_per_sample,
    numbers.MaxCount: lambda case, kind: None,  # which is chosen with the counts
    numbers.Choice: add_choice,
    Head: add_head,
}
