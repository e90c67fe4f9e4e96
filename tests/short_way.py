"""Calls of the short way into the CPU kernels, as the ops make them: what it makes, or None."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from fastblackout.call import short

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
THINNED = ("x_t", "births", "model_input")


def thin(
    x: Any, alive: Any, rng: Any = KEY, generator: Any = None, max_count: Any = None, center: Any = 0.0,
    scale: Any = 1.0, outputs: Any = THINNED, input_dtype: Any = "float32", backend: Any = "auto",
) -> Any:  # fmt: skip
    values = x, alive, (rng, generator), max_count, center, scale
    return short.draw("quick_thin", values, (outputs, input_dtype, None), THINNED, backend)


def bridge(
    x: Any, logits: Any, step: Any, births: Any = None, attrition: Any = 0.0, rng: Any = KEY, generator: Any = None,
    gain: Any = 1.0, rounding: Any = "stochastic", center: Any = 0.0, outputs: Any = ("x_s", "model_input"),
) -> Any:  # fmt: skip
    values = x, (logits, births), step, attrition, (rng, generator), None, gain, rounding, center, 1.0
    return short.draw("quick_bridge", values, (outputs, "float32", None), ("x_s", "model_input"), "auto")


def loss(logits: Any, births: Any, weight: Any = 1.0, gain: Any = 1.0, backend: str = "auto") -> Any:
    return short.birth_loss((logits, births, weight, gain), backend)


def same(made: Any, wanted: Any) -> bool:
    return all(
        (a is None) == (b is None)
        and (a is None or (torch.equal(a, b) and a.stride() == b.stride() and a.dtype == b.dtype))
        for a, b in zip(made, wanted, strict=True)
    )
