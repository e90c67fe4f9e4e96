"""Portable floats by the operations of torch, equal to reference/portfloat.py to the bit.

torch rounds every operation on its own; only what torch.compile makes for a GPU may fuse a product and a sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..arrays import in_functorch
from ..reference.portfloat import exp_reduced

if TYPE_CHECKING:
    from torch import Tensor


def exp(t: Tensor) -> Tensor:
    """portfloat.exp of a float64 tensor."""
    import torch

    shifted, rest = exp_reduced(t.clamp(-708.0, 709.0))
    if in_functorch():  # torch.vmap of older torch cannot read the bits of a float
        scale = _power_of_two(shifted - 6755399441055744.0)
    else:
        scale = ((shifted.view(torch.int64) + 1023) << 52).view(torch.float64)
    return ((1.0 + rest) * scale).masked_fill(t < -708.0, 0.0).masked_fill(t > 709.0, torch.inf)


def _power_of_two(n: Tensor) -> Tensor:
    """2^n, exact, of whole numbers in -1023..1023."""
    rest, power = n.abs(), n * 0.0 + 1.0
    for bit in (512, 256, 128, 64, 32, 16, 8, 4, 2, 1):
        has = rest >= bit
        rest, power = rest.where(~has, rest - bit), power.where(~has, power * 2.0**bit)
    return power.where(n >= 0.0, 1.0 / power)
