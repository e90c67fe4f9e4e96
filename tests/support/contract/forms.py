"""The same call in other forms, which must all give the same bits: in another library, broadcast in full, in parts."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import fastblackout as fb
from support.arrays import LAYOUTS, NUMPY_ONLY, DLPackOnly, as_library, bits, lay
from support.contract.calls import Case, Pick

Arguments = dict[str, Any]


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """The value with every array in it changed."""
    if isinstance(value, fb.Prob):
        return fb.Prob(*(mapped(change, side) for side in value))
    if isinstance(value, tuple):
        return tuple(mapped(change, each) for each in value)
    return change(value) if isinstance(value, np.ndarray) else value


def broadcast(case: Case) -> Arguments:
    """All arguments in full: every element, or every sample, has a number of its own."""
    arguments = dict(case.arguments)
    for name, whole in case.whole.items():
        value = arguments[name]
        sides = tuple(value) if isinstance(value, fb.Prob) else (value,)
        sides = tuple(np.array(side) if isinstance(side, (int, float)) else side for side in sides)

        def full(array: Any, name: str = name, whole: tuple[int, ...] = whole) -> Any:
            if name in case.beside:
                if len(whole) < array.ndim:  # numbers of samples, in a column
                    array = array.reshape(array.shape[0])
                elif array.ndim == 1:
                    array = array.reshape(-1, *(1 for _ in whole[1:]))
            return np.broadcast_to(array, whole).copy()

        sides = mapped(full, sides)
        arguments[name] = fb.Prob(*sides) if isinstance(value, fb.Prob) else sides[0]
    return arguments


def parts(case: Case, at: int) -> Iterator[Arguments]:
    """The samples before and after one, with the keys that draw the same for them."""
    for first, end in ((0, at), (at, case.samples)):
        arguments = dict(case.arguments)
        for name, axis in case.axes.items():
            part = (*(slice(None) for _ in range(axis)), slice(first, end))
            least = 1 if name in case.beside else max(len(case.whole[name]), 1)

            def cut(array: Any, axis: int = axis, part: Any = part, least: int = least) -> Any:
                return array[part] if array.ndim >= least and array.shape[axis] == case.samples else array

            arguments[name] = mapped(cut, arguments[name])
        if "rng" in arguments:
            arguments["rng"] = arguments["rng"].at(first_sample=arguments["rng"].first_sample + first)
        yield arguments


def as_numpy(case: Case, arguments: Arguments, pick: Pick) -> Arguments:
    """In the memory of NumPy, of any order."""
    return mapped_by_name(arguments, lambda name, array: lay(array, layout_of(pick, NUMPY_ONLY)))


def as_torch(case: Case, arguments: Arguments, pick: Pick) -> Arguments:
    """As tensors, what a network gives in bfloat16 where that holds it, and the key as one."""
    numbers = pick("numbers as", ("tensors", "arrays"))

    def tensor(name: str, array: Any) -> Any:
        if name in case.beside and numbers == "arrays":
            return array
        made = as_library(lay(array, layout_of(pick, ())), "torch")
        narrow = case.roles[name] in ("network", "head") and made.dtype is torch.float32
        return made.bfloat16() if narrow and torch.equal(made.bfloat16().float(), made) else made

    made = mapped_by_name(arguments, tensor)
    if "rng" in made and pick("key as", ("Philox", "a tensor")) == "a tensor":
        made["rng"] = made["rng"].tensor()
    return made


def as_foreign(case: Case, arguments: Arguments, pick: Pick) -> Arguments:
    """As arrays of a library that has nothing but DLPack."""
    return mapped_by_name(arguments, lambda name, array: DLPackOnly(np.array(array)))


def as_jax(case: Case, arguments: Arguments, pick: Pick) -> Arguments | None:
    """As arrays of JAX, or None where it is not installed."""
    if importlib.util.find_spec("jax") is None:
        return None
    with wide_jax():
        return mapped_by_name(arguments, lambda name, array: importlib.import_module("jax.numpy").asarray(array))


def wide_jax() -> Any:
    """A context in which JAX has 64 bits."""
    jax = importlib.import_module("jax")
    return (jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")).enable_x64(True)


def layout_of(pick: Pick, more: tuple[str, ...]) -> str:
    """One that keeps the values."""
    return pick("layout", [how for how in LAYOUTS if how != "expanded" and (how not in NUMPY_ONLY or how in more)])


def mapped_by_name(arguments: Arguments, change: Callable[[str, Any], Any]) -> Arguments:
    return {name: mapped(lambda array, name=name: change(name, array), value) for name, value in arguments.items()}


def flat(made: Any) -> dict[str, Any]:
    """Results by name, as NumPy arrays."""
    if not isinstance(made, tuple):
        made = (made,)
    names = getattr(made, "_fields", range(len(made)))
    return {str(name): on_numpy(value) for name, value in zip(names, made, strict=True) if value is not None}


def on_numpy(value: Any) -> Any:
    if isinstance(value, DLPackOnly):
        value = value.array
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return (value.float() if value.dtype is torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _one_nan(value: Any) -> Any:
    """With one NaN for all: sign and payload of one that torch rounds to float16 differ by its version."""
    return np.where(np.isnan(value), np.nan, value).astype(value.dtype) if value.dtype.kind == "f" else value


def same(made: dict[str, Any], expected: dict[str, Any], what: str) -> None:
    assert made.keys() == expected.keys(), what
    for name, value in made.items():
        if bits(_one_nan(value)) != bits(_one_nan(expected[name])):
            raise AssertionError(f"{what}: {name}: {value!r} is not {expected[name]!r}"[:1500])


def joined(made: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.concatenate([each[name] for each in made]) for name in made[0]}
