"""Poisson draws with a rate for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array
from ..backends import select
from ..call.elements import dense_like, element_arguments, prepare, store_rows
from ..call.keys import resolve_rng
from ..call.route import readable, through_torch
from ..philox import Philox
from ..reference.poisson import MAX_RATE
from ..reference.poisson import poisson as reference_poisson
from ..reference.portfloat import from_bfloat16

if TYPE_CHECKING:
    import torch

RATES = ("float64", "float32", "bfloat16", "float16")


def poisson(
    rate: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """Poisson(rate), element by element.

    rate: in 0..2^52, float64, float32, bfloat16 or float16 (taken exactly as it is), or a Python number.
    rng, generator: see fb.Philox. Dimension 0 is the sample of the key; the element index runs in C order.
    Returns int64, in C order. The law is within 4e-14 + 2e-15 sqrt(rate) total variation of the Poisson law: 2.4e-13
    for rates up to 1e4, 1e-10 up to 2^31 (fastblackout/reference/poisson.py derives it). Equal keys give equal results
    on every backend.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: inversion for rate < 10, else PTRS with corrected constants, W. Hormann, Insurance: Mathematics and
    Economics 12 (1993).
    """
    op = "poisson"
    rate, rng = readable(op, rate, rate=rate, rng=rng)
    if through_torch(rate, backend):
        from .. import torch_calls

        return torch_calls.poisson(rate, rng, generator, backend)
    (rates,) = element_arguments(op, {"rate": (rate, RATES)})
    key = resolve_rng(rng, generator, op)
    chosen, size = prepare(op, rates, key, backend)
    out = dense_like(rates, "int64")
    run(chosen, rates, key, size, out)
    return out.give()


def run(chosen: str, rates: Array, key: Philox, size: tuple[int, int], out: Array) -> None:
    """The "cpu" or "reference" kernel; writes `out`."""
    op = "poisson"
    if chosen == "cpu":
        select.cpu_module(op).poisson(
            size,
            (key.seed, key.first_sample, key.call),
            select.threads(),
            select.isa(),
            rates.describe(),
            out.describe(),
        )
    else:
        values = rates.numpy()
        values = (from_bfloat16(values) if rates.dtype == "bfloat16" else values).reshape(size).astype(np.float64)
        wrong = ~((values >= 0) & (values <= MAX_RATE))
        if wrong.any():
            raise ValueError(f"{op}: rate: must be finite and in 0..{MAX_RATE:.0f}, got {values[wrong][0]:.17g}")
        store_rows(reference_poisson(values, key), out)
