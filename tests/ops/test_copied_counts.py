"""Counts in uint16, such as a camera's, uint32 and floats: the results of int32 and int64 ones, in what came in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from support.arrays import DLPackOnly
from support.draws import DRAWS, dtypes
from support.helpers import assert_named

RNG = fb.Philox(3)
KNOWN = {"uint16": "int32", "uint32": "int64", "float32": "int32", "float64": "int64"}
X = np.random.default_rng(0).integers(0, 5000, (4, 50))
HEAD = np.zeros(X.shape, np.float32)
ALIKE = {"x_t", "births", "x_s", "drawn"}  # results in the dtype of the counts
LIBRARIES: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda array: array,
    "torch": torch.from_numpy,
    "dlpack": lambda array: DLPackOnly(array, namespace=True),
    "array_api_strict": lambda array: pytest.importorskip("array_api_strict").asarray(array),
}


def results(lay: Callable[[Any], Any], counts: Any) -> dict[str, Any]:
    """What every op that takes counts gives. lay: makes arrays of a library of NumPy arrays."""
    x, half, law = lay(counts), lay(counts // 2), {"family": "beta-binomial", "offset": -0.5, "max_count": 9000}
    head, how = (lay(HEAD), lay(HEAD)), {"rng": RNG, "max_count": 9000}
    steps = {
        "thin": fb.thin(x, 0.3, **how),
        "bridge_step": fb.bridge_step(x, births=half, step=0.5, **how),
        "tau_leap_step": fb.tau_leap_step(x, births=half, step=0.5, **how),
        "posterior_step": fb.posterior_step(x, head, 0.5, rng=RNG, **law),
        "posterior_step, mean": fb.posterior_step(x, head[0], 0.5, rng=RNG, **law | {"family": "mean"}),
    }
    losses = {
        "posterior_loss": fb.posterior_loss(head, x, half, 1.0, **law),
        "birth_loss": fb.birth_loss(lay(HEAD), x, 1.0),
        "energy_loss": fb.energy_loss(lay(np.stack([HEAD, HEAD + 1])), x, half, 1.0, max_count=9000),
    }
    draws = {
        "split": fb.split(x, rng=RNG)[1],
        "multinomial": fb.multinomial(x, lay(np.array([0.2, 0.3, 0.5])), rng=RNG),
        "categorical": fb.categorical(lay(counts % 2), lay(np.full((2, 2), 0.5)), rng=RNG),
    }
    for op in [op for op in DRAWS if "int32" in next(iter(dtypes(op).values()))]:
        right = DRAWS[op].right(counts, HEAD)
        right = {name: lay(value) if isinstance(value, np.ndarray) else value for name, value in right.items()}
        draws[op] = getattr(fb, op)(**right, rng=RNG)
    fields = {(op, name): value for op, step in steps.items() for name, value in step._asdict().items()}
    fields |= {(op, "loss"): value for op, value in losses.items()}
    own = {op for op in DRAWS if DECLARED[op].outputs.dtype}  # the dtype of their draws is no argument's
    return fields | {(op, "whole" if op in own else "drawn"): value for op, value in draws.items()}


@pytest.mark.parametrize("dtype", KNOWN)
@pytest.mark.parametrize("library", LIBRARIES)
def test_results_are_those_of_a_known_dtype(dtype: str, library: str) -> None:
    lay = LIBRARIES[library]
    found, wanted = results(lay, X.astype(dtype)), results(lay, X.astype(KNOWN[dtype]))
    for (op, name), given in found.items():
        assert library in ("numpy", "torch") or type(given) is type(lay(X)), (op, name)
        value, other = (np.from_dlpack(each) for each in (given, wanted[op, name]))
        assert np.array_equal(value, other), (op, name)
        expected = dtype if name in ALIKE else str(other.dtype)
        assert str(value.dtype).endswith(expected), (op, name)


@pytest.mark.parametrize("dtype", KNOWN)
def test_they_are_traced(dtype: str) -> None:
    def noised(x: torch.Tensor) -> torch.Tensor:
        return fb.thin(x, 0.3, rng=RNG.tensor(), max_count=5000).x_t

    x = torch.from_numpy(X.astype(dtype))
    traced = torch.compile(noised, backend="aot_eager", fullgraph=True)(x)
    assert traced.dtype == x.dtype and torch.equal(traced, noised(x))


def test_their_errors() -> None:
    x = X.astype(np.uint16)
    made = fb.thin(x.astype(np.int32), 0.3, rng=RNG, max_count=5000)
    out = fb.binomial(x, 0.5, rng=RNG)
    assert_named(lambda: fb.thin(x, 0.3, max_count=5000, out=made), TypeError, "thin: out: must be None", "Thinned")
    rows = np.full((2, 2), 0.5)
    assert_named(lambda: fb.categorical(x % 2, rows, out=out), TypeError, "categorical: out: must be None", "ndarray")
    assert_named(
        lambda: fb.thin(x, 0.3, max_count=1 << 16), ValueError, "thin: max_count: must be in 0..65535", "65536"
    )
    half, nan = X + 0.5, np.where(X[1, 1] == X, np.nan, X).astype(np.float32)
    first, one = ".5 at sample 0, element 0", "nan at sample 1, element 1"
    for wrong, got in ((half, first), (nan, one), (torch.from_numpy(half), first), (torch.from_numpy(nan), one)):
        assert_named(partial(fb.thin, wrong, 0.3, max_count=9000), ValueError, "thin: x_0: must be whole", got)
    largest = "thin: max_count: must be in 0..16777216"
    assert_named(lambda: fb.thin(X.astype(np.float32), 0.3, max_count=1 << 25), ValueError, largest, "33554432")
    assert_named(lambda: fb.thin(x, 0.3), ValueError, "thin: max_count: must be given for uint16", "None")


def test_fractions_in_a_traced_tensor_are_refused_where_it_runs() -> None:
    def noised(x: torch.Tensor) -> torch.Tensor:
        return fb.thin(x, 0.3, rng=RNG.tensor(), max_count=5000).x_t

    x = torch.from_numpy(X.astype(np.float32))
    x[2, 3] = 7.5
    with pytest.raises(ValueError, match=r"thin: x_0: must be whole numbers in 0..5000, got -1 at sample 2, element 3"):
        torch.compile(noised, backend="aot_eager", fullgraph=True)(x)
