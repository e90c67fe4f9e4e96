"""Which backend runs an op, with how many threads and which instruction set.

Which backend "auto" takes for an op on a device, and why, is one table, printed by `fastblackout info`. preference.json
beside this file holds what a card measured: {"card", "date", "ops": {op: {"order": [...], "small": [...],
"below": elements}}}; benchmarks/gpu writes it. {}: no card has.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

from ..ground import values
from ..typing import Backend, Isa
from . import available

MEASURED = Path(__file__).with_name("preference.json")


class Preference(NamedTuple):
    """Backends in the order in which they are tried, and the reason for that order."""

    order: tuple[str, ...]
    why: str
    small: tuple[str, ...] = ()  # the order for fewer elements than `below`
    below: int = 0

    def tried(self, elements: int) -> tuple[str, ...]:
        return self.small if elements < self.below else self.order


_CPU = Preference(("cpu",), "the C++ kernels; the reference only where it is asked for")
_CUDA_FIRST = Preference(
    ("cuda", "triton"), "CUDA C++ where it is built, else Triton: a static rule, not measured on a GPU yet"
)


def rules(measured: dict[str, Any]) -> dict[str, Preference]:
    """What a results file says of ops on a CUDA device."""
    made = {}
    for op, found in measured.get("ops", {}).items():
        small, below = tuple(found.get("small", ())), int(found.get("below", 0))
        why = f"the faster of both on {measured['card']}, measured {measured['date']}"
        made[op] = Preference(tuple(found["order"]), why, small, below)
    return made


ON_CARD = rules(json.loads(MEASURED.read_text()))


def rule(device: str, op: str) -> Preference:
    """For an op on "cpu" or "cuda"; a static rule where no card has measured it."""
    return _CPU if device == "cpu" else ON_CARD.get(op, _CUDA_FIRST)


BACKENDS = get_args(Backend)
DEVICE_BACKENDS = ("cuda", "triton")
_NAMES = frozenset(BACKENDS)
ISAS = get_args(Isa)
_MOST_THREADS = (1 << 31) - 1  # an int in C
_THREADS = f"must be an integer in 1..{_MOST_THREADS}"


class _Setting(NamedTuple):
    backend: str = "auto"
    isa: int = -1  # stands for the one chosen at import
    threads: int = 0  # stands for as many as torch uses


def _wish() -> int:
    text = os.environ.get("FASTBLACKOUT_NUM_THREADS", "")
    # At most 10 digits, and ASCII: int refuses thousands of them, and some that str.isdigit allows.
    wish = int(text) if re.fullmatch("[0-9]{1,10}", text) else 0
    if text and not 1 <= wish <= _MOST_THREADS:
        raise ImportError(f"FASTBLACKOUT_NUM_THREADS: {_THREADS}, got {values.shown(text)}")
    return wish


_threads_wished = _wish()  # 0 where there is no wish
_AUTO = _Setting()
wanted: contextvars.ContextVar[_Setting] = contextvars.ContextVar("fastblackout_backend", default=_AUTO)


@contextlib.contextmanager
def use_backend(backend: Backend = "auto", *, isa: Isa | None = None, threads: int | None = None) -> Iterator[None]:
    """A block in which ops that are called with backend="auto" use `backend`.

    Results do not depend on any of the arguments.

    Parameters
    ----------
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, default "auto"
        The backend.
    isa : {"scalar", "avx2", "avx512"}, optional
        The instruction set of the CPU kernels. By default it is the widest that this processor has.
    threads : int, optional
        The number of threads of the CPU kernels, in 1..2^31 - 1. By default FASTBLACKOUT_NUM_THREADS says it, or
        of torch.get_num_threads().

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    ValueError
        If the name is unknown, the processor lacks the instruction set, or `threads` is out of range.

    Examples
    --------
    >>> with fb.use_backend("reference"):
    ...     fb.poisson(np.full((2, 2), 3.0), rng=fb.Philox(1)).dtype
    dtype('int64')
    """
    check_name("use_backend", backend)
    level = -1
    if isa is not None:
        has = cpu_module("use_backend").isas()
        if not isinstance(isa, str) or isa not in has:
            shown = values.shown(isa)
            raise ValueError(f"use_backend: isa: must be one of {', '.join(has)} on this processor, got {shown}")
        level = ISAS.index(isa)
    if threads is not None and not (values.is_integer(threads) and 1 <= threads <= _MOST_THREADS):
        raise ValueError(f"use_backend: threads: {_THREADS}, got {values.shown(threads)}")
    token = wanted.set(_Setting(backend, level, int(threads or 0)))
    try:
        yield
    finally:
        wanted.reset(token)


def check_name(op: str, backend: object) -> None:
    values.check_name(op, "backend", backend, BACKENDS)


def select(op: str, backend: str, device: str, elements: int = 0, drawn_by: str = "") -> str:
    """The backend for arrays on `device` ("cpu" or "cuda"). ValueError where it cannot run there or is absent.

    "auto" is what `use_backend` says, else the first of `rule` for so many elements that is present.
    drawn_by: the op whose kernels run, where `op`, which errors say, has none of its own.
    """
    kernel = drawn_by or op
    if not isinstance(backend, str) or backend not in _NAMES:
        check_name(op, backend)
    if backend == "auto":
        backend = wanted.get().backend
    if backend == "auto":
        return "cpu" if device == "cpu" else _first_present(op, kernel, device, elements)
    if backend in DEVICE_BACKENDS:
        if device == "cpu" and not (backend == "triton" and available.triton_interprets()):
            hint = " (its interpreter does, under TRITON_INTERPRET=1)" if backend == "triton" else ""
            raise ValueError(f"{op}: backend: {backend!r} does not run on cpu arrays{hint}, got backend={backend!r}")
        if (why := available.absent(backend, kernel)) is not None:
            raise ValueError(f"{op}: backend: {backend!r} is absent: {why}, got backend={backend!r}")
    elif device != "cpu":
        raise ValueError(f"{op}: backend: {backend!r} does not run on {device} arrays, got backend={backend!r}")
    return backend


def select_host(op: str, backend: str, drawn_by: str = "") -> str:
    """`select` for arrays that are not given to the torch path: NumPy arrays and plain CPU tensors."""
    if type(backend) is str and backend == "auto" and wanted.get().backend == "auto":
        return "cpu"  # what most calls ask for
    chosen = select(op, backend, "cpu", drawn_by=drawn_by)
    if chosen == "triton":
        raise TypeError(f"{op}: backend: 'triton' needs torch tensors, got arrays of another kind")
    return chosen


def asked(backend: str) -> str:
    """The backend named in the call or by `use_backend`, unchecked; "" where it is no text."""
    if not isinstance(backend, str):
        return ""
    return wanted.get().backend if backend == "auto" else backend


def _first_present(op: str, kernel: str, device: str, elements: int) -> str:
    reasons = []
    for name in rule(device, kernel).tried(elements):
        if (why := available.absent(name, kernel)) is None:
            return name
        reasons.append(f"{name}: {why}")
    raise ValueError(f"{op}: backend: none is present for {device} arrays ({'; '.join(reasons)}), got backend='auto'")


def device_module(backend: str) -> ModuleType:
    """fastblackout.backends.cuda or .triton: the kernels over torch tensors, all with the same signatures."""
    return importlib.import_module(f".{backend}", __package__)


def cpu_module(op: str) -> ModuleType:
    """fastblackout._cpu, or RuntimeError saying in one line why it is absent."""
    module = available.load("_cpu")
    if isinstance(module, str):
        raise RuntimeError(f"{op}: backend: 'cpu' is absent: {module}")
    return module


@functools.cache
def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> Callable[[], int]:
    """What says how many threads the CPU kernels may use where a block of `use_backend` does not."""
    if _threads_wished:
        return lambda: _threads_wished
    torch = sys.modules.get("torch")
    return torch.get_num_threads if torch is not None else _processors


def threads() -> int:
    """Threads the CPU kernels may use."""
    return wanted.get().threads or default_threads()()


def isa() -> int:
    """Instruction set asked for: an index into ISAS, or -1 for the one chosen at import."""
    return wanted.get().isa
