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
from support.arrays import bits

RNG = fb.Philox(seed=11)
SHAPE = (4, 2, 3)
X = np.random.default_rng(0).integers(0, 90, SHAPE, dtype=np.uint8)
LOGITS = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)
P, MATRICES = np.array([0.125, 0.25, 0.5, 0.75]), np.full((3, 90, 90), 1 / 90)
INDEX, KEY = np.array([0, 1, 2, 0]), RNG.tensor().numpy()
STEP = {"x_t": X, "logits": LOGITS, "step": 0.5, "rng": RNG}
BRIDGE = {"x_t": X, "x_0": X, "before": MATRICES, "after": MATRICES, "index": INDEX, "rng": RNG}
# (op, arguments, result): the arguments to lie on, by what they may hold
OPS: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "thin": (
        {"x_0": X, "alive": 0.5, "rng": RNG},
        lambda out: fb.Thinned(births=out),
        {"alive": P, "alive.q": P, "center": P, "scale": P, "rng": KEY},
    ),
    "bridge_step": (
        STEP,
        lambda out: fb.Stepped(x_s=out),
        {
            "step": P, "attrition": P, "attrition.q": P, "gain": np.float32(P), "center": P, "scale": P, "rng": KEY,
            "logits": LOGITS, "births": np.exp(LOGITS),
        },
    ),
    "tau_leap_step": (
        STEP,
        lambda out: fb.Leaped(x_s=out),
        {"step": P, "gain": np.float32(P), "center": P, "scale": P, "rng": KEY, "births": np.exp(LOGITS)},
    ),
    "posterior_step": (
        {"x_t": X, "head": (LOGITS, LOGITS), "step": 0.5, "family": "beta-binomial", "rng": RNG},
        lambda out: fb.Stepped(x_s=out),
        {"head[0]": LOGITS, "head[1]": LOGITS, "step": P, "offset": np.float32(P), "center": P, "scale": P, "rng": KEY},
    ),
    "categorical": (
        {"state": X, "probs": MATRICES, "index": INDEX, "rng": RNG},
        lambda out: out,
        {"probs": MATRICES, "index": INDEX, "rng": KEY},
    ),
    "categorical_bridge": (
        BRIDGE, lambda out: out, {"x_0": X, "before": MATRICES, "after": MATRICES, "index": INDEX, "rng": KEY},
    ),
}  # fmt: skip
CASES = [(op, argument) for op, (_, _, arguments) in OPS.items() for argument in arguments]


def shared(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the values, counts of SHAPE) in the same memory."""
    memory = np.zeros(max(values.nbytes, X.size), np.uint8)
    there = memory[: values.nbytes].view(values.dtype).reshape(values.shape)
    there[...] = values
    return there, memory[: X.size].reshape(SHAPE)


def as_tensor(value: Any) -> Any:
    if type(value) in (list, tuple):  # and no pair of a Prob
        return [as_tensor(each) for each in value]
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("op, argument", CASES)
def test_an_output_on_an_argument(op: str, argument: str, library: str, backend: str) -> None:
    arguments, result, held = OPS[op]
    there, out = shared(held[argument])
    before = out.copy()
    name, _, side = argument.partition(".")
    value: Any = torch.from_numpy(there) if library == "torch" or name == "rng" else there
    changed = {**arguments, name: fb.Prob(1 - value, value) if side else value}
    if name == "births":
        del changed["logits"]
    if name.startswith("head"):
        changed["head"] = [changed.pop(name) if name == f"head[{at}]" else LOGITS for at in range(2)]
    if library == "torch":
        changed = {k: as_tensor(v) for k, v in changed.items()}
    given = torch.from_numpy(out) if library == "torch" else out
    with pytest.raises(
        ValueError, match=rf"^{op}: out[.\w]*: must not overlap {re.escape(argument)}, got overlapping memory$"
    ):
        getattr(fb, op)(**changed, out=result(given))
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
