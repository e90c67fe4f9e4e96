"""Beta draws with both shapes for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..call.arguments import Key
from ..call.elements import Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..philox import Philox
from ..reference.beta import beta_elements

if TYPE_CHECKING:
    import torch

FLOATS = ("float64", "float32", "bfloat16", "float16")

_BETA = Operation("beta", Elements({"a": FLOATS, "b": FLOATS}), Key(), outputs=Single(like="dense"), twin=beta_elements)


def beta(
    a: Any,
    b: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """p ~ Beta(a, b), density p^(a - 1) (1 - p)^(b - 1) / B(a, b), element by element, of any shapes that broadcast.

    a, b: in 1e-300..1e300, float64, float32, bfloat16 or float16, or a Python number; their types may differ.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns the dtype of `a` (float64 for a Python number), in C order. All is computed in float64 and rounded once, to
    bfloat16 and float16 by way of float32, so results may be 0 or 1.
    p = g_a / (g_a + g_b) of two gamma draws that are kept by their logarithms where a shape is below 1: p is good
    relative to itself, and its distribution function is within 2e-14 + 8e-16 (sqrt(a) + sqrt(b)) of the exact one at
    values of at least 1e-290 (fastblackout/reference/beta.py derives it). Smaller results may become 0, which with
    a = 1e-3 adds 0.017 to the chance of 0. Equal keys give equal results, bit for bit, on every backend and for any
    split of the batch.
    There is no gradient: a and b are detached.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: G. Marsaglia, W. W. Tsang, A simple method for generating gamma variables, ACM TOMS 26 (2000).

        >>> fb.beta(np.array([0.3, 20.0]), 2.0, rng=fb.Philox(1))
        array([0.34918752, 0.96694109])
    """
    return _BETA(((a, b), (rng, generator)), backend=backend)
