"""The parts of a record, each made in a process of its own: {group: {case: how it ended}}."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor, from_numpy, set_num_threads

import fastblackout as fb
from fastblackout.backends import available
from record import torch_facts
from record.calls import SHAPES, Ends, all_forms, ends, library_calls, plain
from record.variants import bases, forms_of
from support import known_cases, process_calls, product, spread_calls
from support.odd_values import NO_NUMBERS, ODD, WRONG

Groups = Iterator[tuple[str, Ends]]


def part(name: str, only: str) -> dict[str, Ends]:
    """One of the parts below. only: a word that what is recorded has in its name."""
    warnings.simplefilter("ignore")
    return dict(globals()[name](only))


def on_torch(array: Any) -> Tensor:
    return from_numpy(np.array(array))


def _odd() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in (*WRONG, *NO_NUMBERS, *ODD):
        try:
            label = plain(f"{type(value).__name__} {value!r}")[:50]
        except Exception:  # of some, that is what is odd
            label = type(value).__name__
        found[label if label not in found else f"{label} {len(found)}"] = value
    return found


def numpy(only: str) -> Groups:
    yield from library_calls(np.asarray, SHAPES, _odd(), only)


def tensors(only: str) -> Groups:
    yield from library_calls(on_torch, SHAPES, _odd(), only)


def device(only: str) -> Groups:
    """Some forms of tensors of a device that is not there; its kernels are the SIMT shim's."""
    if isinstance(available.load("_simt"), str):
        return
    from fastblackout.call import torch_registry  # noqa: F401  so that `start` finds it
    from support import pretend_cuda

    pretend_cuda.start()
    yield from library_calls(lambda array: on_torch(array).to("cuda"), SHAPES[:1], {}, only, every=6)


def torch(only: str) -> Groups:
    """Schemas, registrations, graphs."""
    yield from torch_facts.groups(on_torch, only)


def cover(only: str) -> Groups:
    """The cover of the product, through the public functions, and the other calls that the tests share."""
    set_num_threads(1)
    for op in [op for op in product.OPS if only in op]:
        found = {}
        for number, case in enumerate(product.cases(op, "cover")):
            a = product.moved(product.arguments(op, case, number), "cpu", case["layout"])
            found[str(case)] = _ended(lambda op=op, a=a, case=case: product.public(op, a, case["key"]))
        yield op, found
    if only:
        return
    yield "known answers", {name: _ended(call) for name, call in known_cases.CASES.items()}
    for of in (np.array, on_torch):
        yield (
            f"steps of each, {of.__name__}",
            {name: _ended(lambda v=v: v) for name, v in spread_calls.steps(of).items()},
        )
        yield (
            f"losses of each, {of.__name__}",
            {name: _ended(lambda v=v: v) for name, v in spread_calls.losses(of).items()},
        )
        for name, process in process_calls.PROCESSES.items():
            a = {key: of(value) for key, value in process_calls.arguments(process).items()}
            calls = process_calls.calls(process, a, fb.Philox(1))
            yield f"{name}, {of.__name__}", {each: _ended(call) for each, call in calls.items()}


def _ended(call: Callable[[], Any]) -> str:
    return ends(lambda: call(), {})


def jax(only: str) -> Groups:
    """The ops of JAX: forms of one argument at a time, and mixtures, as they are and compiled."""
    if importlib.util.find_spec("jax") is None:
        return
    jax, fbj = importlib.import_module("jax"), importlib.import_module("fastblackout.jax")
    for name in sorted({name for name in fbj.__all__ if only in name} & {*fb.ops.__all__}):
        op, taken = getattr(fbj, name), inspect.signature(getattr(fbj, name)).parameters
        for of, make in (("numpy", np.asarray), ("jax", jax.numpy.asarray)):
            known = {
                base: (of, {each: value for each, value in right.items() if each in taken})
                for base, (of, right) in bases(make, SHAPES[0]).items()
            }
            right = known[name][1]
            forms = {each: forms_of(each, name, known, make, SHAPES[0]) for each in right}
            key = {"key": jax.random.key(3)} if "key" in taken else {}
            yield f"{name}, {of}", all_forms(functools.partial(op, **key), right, forms, 40)


def signatures(_: str) -> Groups:
    """Of all public modules, what __all__ names."""
    for name in ("", ".ops", ".models", ".processes", ".data", ".distributions", ".evaluation", ".reference", ".jax"):
        if name == ".jax" and importlib.util.find_spec("jax") is None:
            continue
        module = importlib.import_module(f"fastblackout{name}")
        names = getattr(module, "__all__", None) or [each for each in dir(module) if not each.startswith("_")]
        found = {}
        for each in names:
            value = getattr(module, each)
            found[each] = _signature(value)
            if inspect.isclass(value):
                members = (member for member in dir(value) if not member.startswith("_"))
                found |= {f"{each}.{member}": _signature(getattr(value, member)) for member in members}
        yield f"fastblackout{name}", found


def _signature(value: Any) -> str:
    if not callable(value):
        return type(value).__name__
    try:
        return str(inspect.signature(value))
    except (TypeError, ValueError):
        return type(value).__name__
