"""Outputs on the memory of an argument other than the counts, or with a gradient: refused, with nothing written.

Where a sample's outputs cover what the next samples read, most of those come out wrong.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import BaseTorchDispatchMode

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from support.arrays import bits
from support.op_table import OPS
from support.right_calls import calls, variants

RNG = fb.Philox(seed=11)
SHAPE = (4, 2, 3)
X = np.random.default_rng(0).integers(0, 90, SHAPE, dtype=np.uint8)
LOGITS = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)
P = np.array([0.125, 0.25, 0.5, 0.75])
CASES = [
    (op, name)
    for op, (_, right) in calls(np.asarray, SHAPE).items()
    if op in OPS and "out" in right
    for name, _ in variants(op, right, np.asarray, SHAPE)
    if name != DECLARED[op].arguments[0].names[0]  # on which an output may lie
]


def shared(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the values, counts of SHAPE) in the same memory."""
    memory = np.zeros(max(values.nbytes, X.size), np.uint8)
    there = memory[: values.nbytes].view(values.dtype).reshape(values.shape)
    there[...] = values
    return there, memory[: X.size].reshape(SHAPE)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("op, argument", CASES)
def test_an_output_on_an_argument(op: str, argument: str, library: Any, backend: str) -> None:
    call, right = calls(library, SHAPE)[op]
    change, value = dict(variants(op, right, library, SHAPE))[argument]
    there, out = shared(np.asarray(value))
    before, outputs = out.copy(), DECLARED[op].outputs
    given = library(out) if outputs.result is None else outputs.result(**{outputs.names[0]: library(out)})
    arguments = right | change(library(there)) | {"out": given}
    arguments.pop("outputs", None)
    with pytest.raises(
        ValueError, match=rf"^{op}: out[.\w]*: must not overlap {re.escape(argument)}, got overlapping memory$"
    ):
        call(**arguments)
    assert bits(out) == bits(before)


def test_an_output_beside_an_argument() -> None:
    """In one buffer, and the call is as any other."""
    memory = np.zeros(P.nbytes + X.size, np.uint8)
    alive, out = memory[: P.nbytes].view(np.float64), memory[P.nbytes :].reshape(SHAPE)
    alive[...] = P
    made = fb.thin(X, alive, rng=RNG, out=fb.Thinned(x_t=out))
    assert made.x_t is out and bits(out) == bits(fb.thin(X, P, rng=RNG).x_t)


def test_a_field_of_records_ends_where_its_last_record_does() -> None:
    """Its steps are no whole elements: 17 bytes, of 8."""
    records = np.zeros(4, [("p", "f8"), ("rest", "u1", 9)])
    records["p"] = P
    out = records.view(np.uint8)[-24:].reshape(SHAPE)
    with pytest.raises(ValueError, match="^thin: out.x_t: must not overlap alive"):
        fb.thin(X, records["p"], rng=RNG, out=fb.Thinned(x_t=out))


@pytest.mark.parametrize("traced", [False, True])
def test_an_output_that_requires_a_gradient(traced: bool, backend: str) -> None:
    """torch's own functions refuse it, too: it would go on as the leaf that it was, with the values of a draw."""
    x, leaf = torch.zeros((2, 3), dtype=torch.uint8), torch.zeros((2, 3), requires_grad=True)
    calls = (
        lambda out: fb.thin(x, 0.5, rng=RNG, out=fb.Thinned(model_input=out)),
        lambda out: fb.bridge_step(x, leaf, 0.5, rng=RNG, out=fb.Stepped(model_input=out)),
        lambda out: fb.tau_leap_step(x, leaf, 0.5, rng=RNG, out=fb.Leaped(model_input=out)),
        lambda out: fb.posterior_step(
            x, (leaf, leaf), 0.5, family="beta-binomial", rng=RNG, out=fb.Stepped(model_input=out)
        ),
    )
    for call in calls:
        with BaseTorchDispatchMode() if traced else contextlib.nullcontext():
            for out in (leaf, leaf * 1):
                with pytest.raises(
                    ValueError, match=": out.model_input: must not require a gradient, got a tensor that"
                ):
                    call(out)
            with torch.no_grad():
                call(torch.ones((2, 3), requires_grad=True))
    assert (leaf == 0).all()
