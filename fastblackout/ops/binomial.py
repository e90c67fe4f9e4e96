"""Binomial draws with a count and a probability for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..arrays import COUNTS
from ..call import door
from ..call.arguments import Key
from ..call.elements import Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..philox import Philox
from ..reference.binomial import binomial_elements

if TYPE_CHECKING:
    import torch

ELEMENT_COUNTS = (*COUNTS, "float32", "float64")
PROBS = ("float64", "float32", "bfloat16", "float16")

_BINOMIAL = Operation(
    "binomial",
    Elements({"count": ELEMENT_COUNTS, "prob": PROBS}, prob="prob"),
    Key(),
    outputs=Single(like="dense"),
    twin=binomial_elements,
    cells=door.elements,
)


def binomial(
    count: Any,
    prob: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """Binomial(count, prob), element by element, of any shapes that broadcast.

    count: whole numbers in 0..2^53, uint8, int16, int32, int64, float64 or a Python number, or in 0..2^24, float32,
        which holds no more whole numbers without gaps.
    prob: in [0, 1], float64, float32, bfloat16 or float16 (taken exactly as it is), a Python float, or a fb.Prob of
        float64 (p, q), p + q = 1 within 1e-9: 1 - p rounds, so give the pair where p is next to 1.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    count may also be of scipy.sparse, in CSR or CSC format, to whose shape prob broadcasts: only what is stored is
        drawn, as by fb.binomial(count.data, ...), each value a sample of the key by its place in canonical order
        (indices sorted, duplicates summed). The result is of the same kind and dtype, with the indices of count: what
        is drawn as 0 stays stored, as in scipy's own functions, until .eliminate_zeros(). Of an AnnData X is drawn,
        sparse or dense; the result is an AnnData with copies of obs and var alone. For a layer give its matrix.
    Returns count's dtype, in C order. The law is within 4e-14 + 2e-15 sqrt(n p q) total variation of the binomial:
    2e-13 for counts up to 1e4, 5e-11 up to 2^31 (fastblackout/reference/binomial.py derives it). Equal keys give equal
    results on every backend.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: inversion for n min(p, q) < 10, else BTRS, W. Hormann, J. Stat. Comput. Simul. 46 (1993).

        >>> fb.binomial(np.array([10, 1000]), np.array([0.5, 0.1]), rng=fb.Philox(1))
        array([ 6, 98])
    """
    return _BINOMIAL(((count, prob), (rng, generator)), backend=backend)
