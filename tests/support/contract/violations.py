"""Calls with exactly one wrong argument: of every argument of a valid call, what may be wrong with it, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import fastblackout as fb
from fastblackout.arrays import COUNTS
from fastblackout.call.declared import DECLARED
from fastblackout.call.outputs import Chosen, OrGiven
from support import draws
from support.contract.calls import LIMITS, Case


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


NAN, INF = float("nan"), float("inf")
Changes = dict[str, Any]
Violation = tuple[str, str, Changes]  # the argument that the error names, what is wrong with it, what changes


def violations(case: Case) -> list[Violation]:
    """All of a call, in the order of its arguments."""
    found: list[Violation] = []
    for name, role in case.roles.items():
        kind, *facts = role if isinstance(role, tuple) else (role,)
        if kind is None:
            continue
        value = case.arguments[name]
        for label, wrong in KINDS[kind](case, name, value, *facts):
            changes = wrong if isinstance(wrong, dict) else {name: wrong}
            found.append((changes.pop("named", name), label, changes))
    found += [("backend", "no backend", {"backend": "gpu"})] * ("backend" in names_of(case))
    return found + list(wrong_outputs(case))


def one_bad(case: Case, array: Any, value: Any) -> Any:
    """The array with its last element that takes part made wrong; None where it has none, or cannot hold the value."""
    with np.errstate(all="ignore"):
        wrong = np.array(value).astype(array.dtype)
    if str(float(wrong))[:2] != str(float(value))[:2]:  # another number, such as 0
        return None
    inside = np.ones(array.shape, bool)
    if case.mask is not None and array.shape == case.shape:
        inside = case.mask
    elif case.mask is not None and not case.mask.any():
        return None
    at = np.flatnonzero(inside)
    if not at.size or (case.mask is not None and array.shape != case.shape and not case.mask.all()):
        return None
    array = array.copy()
    array.reshape(-1)[at[-1]] = wrong
    return array


def bad_values(case: Case, array: Any, *values: Any) -> Iterator[tuple[str, Any]]:
    for value in values:
        if isinstance(array, np.ndarray):
            wrong = one_bad(case, array, value)
        else:
            wrong = value if case.mask is None or case.mask.all() else None
        if wrong is not None:
            yield f"{value} among them" if np.ndim(wrong) else f"{value}", wrong


def kinds_of_array(array: Any, *dtypes: str) -> Iterator[tuple[str, Any]]:
    """What is no array of this library, and arrays of dtypes that are not taken."""
    yield "text", "nonsense"
    yield "an object", object()
    yield from ((dtype, np.zeros(np.shape(array), dtype)) for dtype in (*dtypes, "complex64", "bool"))
    yield "masked", np.ma.masked_array(np.asarray(array))
    yield "sparse", torch.ones(2, 3).to_sparse()


def like_first(array: Any, library: bool = True) -> Iterator[tuple[str, Any]]:
    """Arrays that must be like the first one."""
    yield "another shape", np.zeros((*array.shape, 2), array.dtype)
    yield "a list", array.tolist()
    if library:
        yield "another library", Other(array)


def counts(case: Case, name: str, x: Any, most: int) -> Iterator[tuple[str, Any]]:
    yield "nothing", None
    yield from kinds_of_array(x, "float16", "uint64", ">i4")
    if name != DECLARED[case.op].arguments[0].names[0]:
        yield from like_first(x)
    if case.op == "posterior_loss" and case.arguments["family"] == "mean":
        return  # which does not read the counts
    yield from bad_values(case, x, -1, *((0.5, NAN, INF) if x.dtype.kind == "f" else ()))
    limited = np.ndim(case.arguments.get("max_count", 0)) == 0
    if limited and most + 1 < LIMITS[str(x.dtype)] and not case.op.endswith("log_prob"):
        yield from ((f"above {most}", wrong) for _, wrong in bad_values(case, x, most + 1))


def network(case: Case, name: str, array: Any) -> Iterator[tuple[str, Any]]:
    yield from kinds_of_array(array, "int32")
    if name not in ("expected", "logits") or case.op not in ("birth_loss", "categorical_rows"):
        yield from like_first(array, name != "logits" or case.op in ("energy_loss", "categorical_bridge"))
    no = () if case.op.startswith("categorical") else (-INF,)
    yield from bad_values(case, array, NAN, INF, *no)
    if array.dtype == np.float64 and name in ("logits", "expected") and not case.op.startswith("categorical"):
        yield from bad_values(case, array, 1e39)  # others may call it infinite, as it is in float32
    if name == "logits" and case.op in ("bridge_step", "tau_leap_step"):
        yield "nothing", None
        yield "both", {"births": np.zeros(case.shape), "named": name}


def head(case: Case, name: str, arrays: Any) -> Iterator[tuple[str, Any]]:
    yield "text", {name: "nonsense", "named": (name, "head[0]")}
    yield "nothing", {name: None, "named": (name, "head[0]")}
    if not isinstance(arrays, tuple):
        return
    yield "too many arrays", {name: arrays * 9, "named": "head"}
    for at, array in enumerate(arrays[:2]):
        for label, wrong in network(case, f"head[{at}]", array):
            yield label, {name: (*arrays[:at], wrong, *arrays[at + 1 :]), "named": f"head[{at}]"}


def births(case: Case, name: str, array: Any) -> Iterator[tuple[str, Any]]:
    yield from kinds_of_array(array)
    yield from like_first(array, library=False)
    yield from bad_values(case, array, -1, NAN, INF)


def numbers(case: Case, name: str, value: Any, low: float = -INF, above: bool = False) -> Iterator[tuple[str, Any]]:
    array = np.asarray(value, np.float64)
    low_ones = () if low == -INF else (-0.5, 0.0) if above else (-0.5,)
    yield from bad_values(case, array if array.ndim else 0.0, NAN, INF, *low_ones)
    yield "text", "nonsense"
    yield "complex", 1j
    yield "complex numbers", np.array([1j])
    yield "bools", np.zeros(case.samples, bool)
    yield "no numbers", [None] * max(case.samples, 1)
    yield "one too many", np.ones(case.samples + 2)
    yield "masked", np.ma.masked_array([1.0])


def probability(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    pair = isinstance(value, fb.Prob)
    p = np.asarray(value.p if pair else value, np.float64)
    for label, wrong in bad_values(case, p if p.ndim else 0.5, 1.5, -0.25, NAN):
        yield label, ({name: fb.Prob(wrong, value.q), "named": (name, f"{name}.p")} if pair else wrong)
    yield "sum of the pair", fb.Prob(0.5, 0.25)
    yield "no numbers in the pair", {name: fb.Prob("a", 0.5), "named": (name, f"{name}.p")}
    yield "text", "nonsense"
    yield "complex numbers", np.array([1j])
    yield "one too many", np.ones((2, 2) if case.op == "transition_rows" else case.samples + 2)


def max_count(case: Case, name: str, value: Any, low: int, high: int) -> Iterator[tuple[str, Any]]:
    yield "too small", low - 1
    yield "too large", high + 1
    yield "a float", 3.5
    yield "a bool", True
    yield "text", "nonsense"
    if case.counts is None or case.counts.dtype != "uint8":
        yield "nothing", None


def limits(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if np.ndim(value):
        yield from bad_values(case, np.asarray(value), -1)
        yield from bad_values(case, np.asarray(value, np.float64), 0.5, NAN)
    yield "one too many", np.full(case.samples + 2, 255)
    yield "text", "nonsense"


def mask(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield "numbers", value.astype(np.uint8)
    yield "one too many", np.ones((case.samples + 2, *case.shape[1:]), bool)
    yield "another library", Other(value)
    yield "a list", value.tolist()
    yield "text", "nonsense"


def key(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield "no integer", 0.5
    yield "no seed", -1
    yield "a generator", torch.Generator()
    yield "floats", torch.zeros(3)
    yield "two words", torch.zeros(2, dtype=torch.int64)
    yield "both", {name: fb.Philox(1), "generator": torch.Generator(), "named": name}
    yield "no generator", {name: None, "generator": 5, "named": "generator"}
    if case.samples > 1:
        yield "too many samples", fb.Philox(1, first_sample=2**32 - 1)


def choice(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield "text", "nonsense"
    yield "a number", 5
    yield "an array", np.zeros(3)


def outputs(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield from (("none", ()), ("unknown", ("nonsense",)), ("a number", 5), ("nothing", None), ("an array", np.zeros(2)))


def input_dtype(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield from (("integers", "int8"), ("a class", np.int32), ("a number", 5), ("nothing", None))


def matrices(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield from kinds_of_array(value, "float16")
    yield "a vector", np.ones(5)
    yield "no states", np.ones((5, 0))
    whole = np.broadcast_to(np.array(NAN, value.dtype), value.shape)
    # Beside predictions an x_0 is drawn first, which says what of the matrices is read.
    if case.samples and 0 not in case.shape and ("x_0" in case.arguments or name == "probs"):
        yield "no numbers", whole.copy()
        yield "negative", np.full(value.shape, -0.5, value.dtype)
        yield "zeros", {name: np.zeros(value.shape, value.dtype), "named": (name, "x_0")}
    yield "another library", Other(value) if name == "probs" and case.op == "categorical_bridge" else 5
    if name == "before" and value.ndim == 3 and case.samples and "index" not in case.arguments:
        yield "too many", {name: np.concatenate([value, value]), "named": ("before", "after")}


def index(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield from bad_values(case, value, 3, -1)
    yield "int32", value.astype(np.int32)
    yield "a list", value.tolist()
    yield "one too many", np.zeros(case.samples + 1, np.int64)


def folds(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield from (("one", 1), ("a float", 2.5), ("text", "nonsense"), ("a matrix", np.ones((2, 2))), ("sum", (0.5, 0.6)))
    yield from (("negative", (1.5, -0.5)), ("too many", 1 << 21))


def elements(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, fb.Prob):
        for label, wrong in bad_values(case, value.p if np.ndim(value.p) else 0.5, 1.5, NAN):
            yield label, {name: fb.Prob(wrong, value.q), "named": (name, f"{name}.p")}
        if 0 not in case.shape:
            yield "sum of the pair", fb.Prob(0.5, 0.25)
        return
    yield from kinds_of_array(value, "uint64", ">i4")
    array = np.asarray(value)
    if array.ndim:
        yield "a list", array.tolist()
    ends = [np.shape(side)[-1:] for n in case.whole if n != name for side in sides_of(case.arguments[n])]
    if any(end and end[0] > 1 for end in ends) and case.op != "multinomial":
        yield (
            "another shape",
            {name: np.zeros(case.shape[-1] + 2, array.dtype), "named": " and ".join(sides_named(case))},
        )
    if case.op in draws.DRAWS and 0 not in case.shape:
        named = [wrong for of, wrong, _ in draws.DRAWS[case.op].WRONG if of == ("p" if name == "prob" else name)]
        named = [] if name == "draws" else named  # which depends on how many balls there are
        yield from bad_values(case, array if array.ndim else 1.0, *named)


def sides_named(case: Case) -> Iterator[str]:
    for name in case.whole:
        yield from (f"{name}.p", f"{name}.q") if isinstance(case.arguments[name], fb.Prob) else (name,)


def law(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Of a log-probability, which is 0 for an x that cannot be drawn."""
    yield from kinds_of_array(value)
    if name != "x" and 0 not in case.shape:
        yield from bad_values(case, np.asarray(value), -1, NAN)


def weights(case: Case, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield from kinds_of_array(value, "int32")
    yield "a list", value.tolist()
    yield "no axis of states", np.ones(3)
    yield from bad_values(case, value, -1, NAN, INF)


KINDS: dict[Any, Callable[..., Iterator[tuple[str, Any]]]] = {
    "counts": counts, "network": network, "head": head, "births": births, "number": numbers, "prob": probability,
    "max_count": max_count, "limits": limits, "mask": mask, "key": key, "choice": choice, "outputs": outputs,
    "input_dtype": input_dtype, "matrices": matrices, "index": index, "folds": folds, "elements": elements, "law": law,
    "weights": weights,
}  # fmt: skip
