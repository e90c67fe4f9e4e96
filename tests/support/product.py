"""Every op on every backend, to the bit: reference = scalar = AVX2 = AVX-512 = SIMT shim = Triton = CUDA, floats too.

A case has one value of every factor of op_table.py. `cases` makes a pairwise cover of them, of which `run` takes every
third on the CPU and every sixth elsewhere, from one on that the day tells, and compares the backends of a kind with the
reference in each.
FASTBLACKOUT_PRODUCT=cover takes the whole cover; full every combination of shape, layout, dtypes and key, and the op's
other factors in turn; full/97 or cover/4 every 97th or 4th of them.
As a program, python -m support.product KIND, tests/ being on the path, it answers the name of an op, a line of stdin,
by its report, a line of JSON.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import math
import os
import random
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from support.arrays import strides_of
from support.helpers import ISAS, pairwise, using
from support.maker import Maker
from support.op_table import COMMON, LAYOUTS, OPS, Arguments
from support.today import DAY

WHICH, _, EVERY = os.environ.get("FASTBLACKOUT_PRODUCT", "cover/").partition("/")
if WHICH not in ("cover", "full") or not (EVERY or "1").isdigit():
    raise ValueError(f"FASTBLACKOUT_PRODUCT: must be cover or full, or one of them with /N, got {WHICH}/{EVERY}")
KINDS = {
    "cpu": [f"cpu-{isa}" for isa in ISAS],
    "simt": ["simt-forward", "simt-reverse", "simt-random"],
    "triton": ["triton"],
    "cuda": ["cuda"],
}
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_GUARD = 64  # bytes on either side of an output
ONE_OF = int(EVERY or 1) if "FASTBLACKOUT_PRODUCT" in os.environ else 6  # a run takes one case of so many


def factors(op: str) -> dict[str, Sequence[Any]]:
    return COMMON | OPS[op].factors


@functools.cache
def _cover(op: str) -> list[dict[str, Any]]:
    return list(pairwise(**factors(op)))


def cases(op: str, which: str = WHICH) -> Iterator[dict[str, Any]]:
    """A pairwise cover of an op's factors, or the full product of those in COMMON."""
    all_factors = factors(op)
    if which == "cover":
        yield from map(dict, _cover(op))
        return
    draw = random.Random(0)
    for values in itertools.product(*(all_factors[name] for name in COMMON)):
        others = {name: draw.choice(all_factors[name]) for name in all_factors if name not in COMMON}
        yield dict(zip(COMMON, values, strict=True)) | others


def arguments(op: str, case: dict[str, Any], number: int = 0) -> Arguments:
    """Dense CPU tensors and numbers; "expanded": the first entry of the longest dimension, repeated."""
    a = OPS[op].arguments(Maker(case, number))
    if case["layout"] != "expanded":
        return a
    for name in OPS[op].images:
        if name in a and 0 not in a[name].shape != ():
            axis = max(range(a[name].ndim), key=a[name].shape.__getitem__)
            a[name] = a[name].narrow(axis, 0, 1).expand(a[name].shape).contiguous()
    return a


def called(op: str, a: Arguments, rng: Any, backend: str = "auto") -> Any:
    """The op as users call it, which torch may trace; rng: a Philox or a key tensor."""
    names = ("max_count", "center", "scale", "input_dtype", "outputs", "rounding", "gain")
    return OPS[op].public(a, {**{n: a[n] for n in names if n in a}, "rng": rng, "backend": backend})


def named(made: Any) -> dict[str, Tensor]:
    """What a call returned, by name."""
    made = made if isinstance(made, dict) else made._asdict()
    return {name: value for name, value in made.items() if value is not None}


def public(op: str, a: Arguments, rng: Any, backend: str = "auto") -> dict[str, Tensor]:
    return named(called(op, a, rng, backend))


def poison(value: Tensor) -> None:
    bytes_each = value.element_size()
    value.view(_INTEGERS[bytes_each]).fill_(int.from_bytes(b"\xa5" * bytes_each, "little", signed=bytes_each > 1))


class Output:
    """A tensor full of a pattern, within a larger buffer whose other bytes must keep theirs."""

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, layout: str, device: Any) -> None:
        each = torch.empty((), dtype=dtype).element_size()
        elements, first, strides = strides_of(tuple(shape), layout)
        used = elements * each
        self.buffer = torch.full((used + 2 * _GUARD,), 0xA5, dtype=torch.uint8, device=device)
        whole = self.buffer[_GUARD : _GUARD + used].view(dtype)
        self.value = whole.as_strided(shape, strides, whole.storage_offset() + first)

    def check(self, name: str, expected: Tensor) -> None:
        same(name, self.value, expected)
        poison(self.value)
        assert bool((self.buffer == 0xA5).all()), f"{name}: bytes outside it were written"


def same(name: str, got: Tensor, expected: Tensor) -> None:
    a, b = (t.detach().cpu().contiguous() for t in (got, expected))
    assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{name}: {a.dtype} {a.shape}, not {b.dtype} {b.shape}"
    wrong = (a.view(_INTEGERS[a.element_size()]) != b.view(_INTEGERS[b.element_size()])).reshape(-1).nonzero()
    if len(wrong):
        at = int(wrong[0])
        raise AssertionError(f"{name}: {len(wrong)} wrong, {at}: {a.view(-1)[at].item()}, not {b.view(-1)[at].item()}")


def moved(a: Arguments, device: Any, layout: str = "contiguous", images: Sequence[str] = ()) -> Arguments:
    """The arguments on a device, images in a layout."""
    assert images or layout == "contiguous"
    result = dict(a)
    for name, value in a.items():
        if not isinstance(value, Tensor):
            continue
        if name in images and layout == "expanded" and 0 not in value.shape != ():
            axis = max(range(value.ndim), key=value.shape.__getitem__)
            result[name] = value.narrow(axis, 0, 1).to(device).expand(value.shape)
        else:
            how = layout if name in images else "contiguous"
            result[name] = Output(value.shape, value.dtype, how, device).value.copy_(value)
    return result


def kernels_of(backend: str) -> Any:
    """The functions of fastblackout.backends of that name, or of its CUDA kernels on csrc/simt."""
    kind, _, schedule = backend.partition("-")
    if kind != "simt":
        return importlib.import_module(f"fastblackout.backends.{kind}")
    from fastblackout import _simt

    _simt.configure(schedule, 5, 2)
    return CudaKernels(_simt)


class CudaKernels:
    """The functions of fastblackout.backends.cuda on a module other than fastblackout._cuda."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        from fastblackout.backends import cuda

        return functools.partial(getattr(cuda, name), module=self.module)


def check(backend: str, kernels: Any, device: Any, op: str, case: dict[str, Any], a: Arguments, expected: Any) -> None:
    """One backend on one case: into poisoned outputs by its kernels, or on the CPU by the public function."""
    rng, layout = case["key"], case["layout"]
    there = moved(a, device, layout, OPS[op].images)
    if kernels is None:
        with using(backend, threads=1 + LAYOUTS.index(layout) % 2):
            got = public(op, there, rng)
        assert got.keys() == expected.keys()
        for name, value in got.items():
            same(name, value, expected[name])
        return
    if backend == "triton" and case.get("one"):  # one number for all samples: one table
        there |= {n: there[n][:1].expand(len(there[n])) for n in ("p", "q", "sigma_p", "sigma_q") if n in there}
    how = "contiguous" if layout == "expanded" else layout
    images = torch.Size(case["shape"])

    def layout_of(shape: torch.Size) -> str:
        return how if images in (shape, shape[:1] + shape[2:]) else "contiguous"  # one, or a draw of several

    out = {n: Output(e.shape, e.dtype, layout_of(e.shape), device) for n, e in expected.items()}
    launch(kernels, op, there, rng, {name: made.value for name, made in out.items()})
    for name, made in out.items():
        made.check(name, expected[name])


def launch(kernels: Any, op: str, a: Arguments, rng: Any, out: dict[str, Tensor]) -> None:
    """The kernels of a backend on right values: no flag may be set."""
    device = next(iter(out.values())).device
    flag = torch.zeros(1, dtype=torch.int32, device=device)
    OPS[op].kernel(kernels, a, rng.tensor(device), out, flag)
    assert flag.item() == 0, f"flag {flag.item()}"


_known: dict[Any, dict[str, Tensor]] = {}


def _expected(op: str, number: int, case: dict[str, Any], a: Arguments) -> dict[str, Tensor]:
    """What the reference gives; of one op it is kept, as the covers of the CPU and of the shim have the same cases."""
    if WHICH != "cover":
        return public(op, a, case["key"], "reference")
    at = (op, number, repr(case))
    if any(known[0] != op for known in _known):
        _known.clear()
    if at not in _known:
        _known[at] = public(op, a, case["key"], "reference")
    return _known[at]


def _interpret_in_blocks(shape: Sequence[int], number: int) -> None:
    """Triton's interpreter takes a sample at once where that is not too large, as its time goes by the programs; in one
    case of 7 (so that in the full product all values meet it) in up to 8 blocks, not smaller than a GPU's."""
    importlib.import_module("fastblackout.backends.triton")  # which finds the kernels
    launch = importlib.import_module("fastblackout.kernels.launch")
    launch.INTERPRETED_BLOCK = max(math.prod(shape[1:]) // 8, 1) if number % 7 == 0 else 32768


def run(op: str, kind: str, device: Any = "cpu", seconds: float = math.inf, every: int | None = None) -> dict[str, Any]:
    """{"op", "kind", "done": cases compared before the time was over, "of", "failures": texts}; five are enough."""
    start = told = time.monotonic()
    done, failures = 0, []
    every = every or ONE_OF
    first = DAY % every
    of = len(range(first, sum(1 for _ in cases(op)), every))
    for number, case in itertools.islice(enumerate(cases(op)), first, None, every):
        now = time.monotonic()
        if now - start > seconds or len(failures) >= 5:
            break
        if WHICH == "full" and now - told > 20:
            told = now
            hours = (now - start) / done * (of - done) / 3600
            print(f"{op} {kind}: {done} of {of} cases, {hours:.1f} h to go", file=sys.stderr, flush=True)
        a = arguments(op, case, number)
        expected = _expected(op, number, case, a)
        if kind == "triton":
            _interpret_in_blocks(case["shape"], number)
        for backend in KINDS[kind]:
            try:
                kernels = None if kind == "cpu" else kernels_of(backend)
                check(backend, kernels, device, op, case, a, expected)
            except Exception as error:  # reported with the case; the other cases still run
                failures.append(f"{backend} {number} {case}: {type(error).__name__}: {error}"[:1000])
        done += 1
    return {"op": op, "kind": kind, "done": done, "of": of, "failures": failures}


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # NumPy's, of the overflows that GPUs do not mention
    if sys.argv[1] == "triton":
        from support.triton_interpreter import quicken

        quicken()
    for line in sys.stdin:
        print(json.dumps(run(line.strip(), sys.argv[1])), flush=True)
