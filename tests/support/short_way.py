"""Calls of the short way into the CPU kernels, as the ops make them: what it makes, or None."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import torch

import fastblackout as fb
import fastblackout.ops  # which fills DECLARED
from fastblackout.call import short
from fastblackout.call.declared import DECLARED
from fastblackout.ops.birth_loss import _BIRTH_LOSS
from fastblackout.ops.energy_loss import _ENERGY_LOSS
from fastblackout.ops.posterior_loss import _POSTERIOR_LOSS

only = pytest.mark.skipif(
    not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"), reason="this torch has no DLPack exchange table"
)

B = 3
X = torch.randint(0, 256, (B, 2, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LOGITS = torch.randn(X.shape, generator=torch.Generator().manual_seed(1)) * 40
P = torch.tensor([0.2, 0.7, 1e-9], dtype=torch.float64)
PAIR = fb.Prob(P, 1 - P)
SPREAD = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
KEY = fb.Philox(2**64 - 1, first_sample=7, call=2**32 - 1)
STRIDED = X.repeat(1, 1, 2, 2)[:, :, ::2, 1::2]
LAYOUTS = {"plain": X, "channels last": X.to(memory_format=torch.channels_last), "slice": STRIDED}
BIRTHS = torch.randint(0, 90, X.shape, generator=torch.Generator().manual_seed(2))
WEIGHT = torch.tensor([0.3, -1.0, 1e-3], dtype=torch.float64)
LOSSES = {loss.op: loss for loss in (_BIRTH_LOSS, _ENERGY_LOSS, _POSTERIOR_LOSS)}
THINNED, STEPPED = ("x_t", "births", "model_input"), ("x_s", "model_input")


def thin(x: Any, alive: Any, **changed: Any) -> Any:
    asked = dict(rng=KEY, generator=None, max_count=None, center=0.0, scale=1.0, outputs=THINNED, input_dtype="float32")
    a = asked | dict(backend="auto") | changed
    values = x, alive, (a["rng"], a["generator"]), a["max_count"], a["center"], a["scale"]
    return short.call(DECLARED["thin"], values, (a["outputs"], a["input_dtype"], None), a["backend"])


def bridge(x: Any, logits: Any, step: Any, **changed: Any) -> Any:
    asked = dict(births=None, attrition=0.0, rng=KEY, generator=None, gain=1.0, rounding="stochastic", center=0.0)
    a = asked | dict(outputs=STEPPED) | changed
    drawn = (a["rng"], a["generator"]), None, a["gain"], a["rounding"], a["center"], 1.0
    values = x, (logits, a["births"]), step, a["attrition"], *drawn
    return short.call(DECLARED["bridge_step"], values, (a["outputs"], "float32", None), "auto")


def loss(logits: Any, births: Any, weight: Any = 1.0, gain: Any = 1.0, backend: str = "auto") -> Any:
    return loss_of("birth_loss", (logits, births, weight, gain), backend)


def loss_of(op: str, values: Any, backend: str = "auto") -> Any:
    """(outputs, memory) of a loss by name, or None."""
    made = short.loss(LOSSES[op].short, LOSSES[op].forward.spec, values, backend)
    return None if made is None else made[:2]


@contextlib.contextmanager
def long_way() -> Iterator[None]:
    """Within the block no call is plain."""
    with mock.patch.object(short, "_function", lambda *_: lambda *_: None):
        yield


def same(made: Any, wanted: Any) -> bool:
    return all(
        (a is None) == (b is None)
        and (a is None or (torch.equal(a, b) and a.stride() == b.stride() and a.dtype == b.dtype))
        for a, b in zip(made, wanted, strict=True)
    )
