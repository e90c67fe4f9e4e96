"""Normal draws with a mean and a standard deviation for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..call.arguments import Key
from ..call.elements import Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..philox import Philox
from ..reference.normal import normal_elements

if TYPE_CHECKING:
    import torch

FLOATS = ("float64", "float32", "bfloat16", "float16")

_NORMAL = Operation(
    "normal", Elements({"mean": FLOATS, "std": FLOATS}), Key(), outputs=Single(like="dense"), twin=normal_elements
)


def normal(
    mean: Any,
    std: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """mean + std z with z ~ Normal(0, 1), element by element, of any shapes that broadcast.

    mean: finite, float64, float32, bfloat16 or float16, or a Python number.
    std: finite and at least 0, of the same types, which may differ from mean's.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns mean's dtype (float64 for a Python number), in C order. The product and the sum are float64's and the result
    is rounded once, to bfloat16 and float16 by way of float32; what is too large for its dtype becomes infinite.
    z comes from 64 bits by the inverse distribution function: its distribution function is within 1.2e-15 of the normal
    one everywhere, and |z| is at most 9.16 (fastblackout/reference/normal.py derives both). Equal keys give equal
    results, bit for bit, on every backend and for any split of the batch.
    There is no gradient: mean and std are detached.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: M. J. Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988).

        >>> fb.normal(np.array([0.0, 10.0]), 0.5, rng=fb.Philox(1))
        array([ 0.4103447 , 10.22269471])
    """
    return _NORMAL(((mean, std), (rng, generator)), backend=backend)
