"""Poisson draws with a rate for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..call.arguments import Key
from ..call.elements import Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..philox import Philox
from ..reference.poisson import poisson_elements

if TYPE_CHECKING:
    import torch

RATES = ("float64", "float32", "bfloat16", "float16")


_POISSON = Operation(
    "poisson", Elements({"rate": RATES}), Key(), outputs=Single(dtype="int64", like="dense"), twin=poisson_elements
)


def poisson(
    rate: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """Poisson(rate), element by element.

    rate: in 0..2^52, float64, float32, bfloat16 or float16 (taken exactly as it is), or a Python number.
    rng, generator: as in fb.thin. Dimension 0 is the sample of the key; the element index runs in C order.
    Returns int64, in C order. The law is within 4e-14 + 2e-15 sqrt(rate) total variation of the Poisson law: 2.4e-13
    for rates up to 1e4, 1e-10 up to 2^31 (fastblackout/reference/poisson.py derives it). Equal keys give equal results
    on every backend.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: inversion for rate < 10, else PTRS with corrected constants, W. Hormann, Insurance: Mathematics and
    Economics 12 (1993).

        >>> fb.poisson(np.array([0.5, 10.0, 1e6]), rng=fb.Philox(1))
        array([      0,      12, 1001359])
    """
    return _POISSON(((rate,), (rng, generator)), backend=backend)
