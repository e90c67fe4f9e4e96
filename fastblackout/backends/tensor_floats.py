"""Portable floats by the operations of torch, equal to those of reference/portfloat.py to the bit.

torch rounds every operation on its own; only what torch.compile makes for a GPU may fuse a product and a sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..reference.portfloat import exp_reduced

if TYPE_CHECKING:
    from torch import Tensor


def exp(t: Tensor) -> Tensor:
    """portfloat.exp of a float64 tensor."""
    import torch

    shifted, rest = exp_reduced(t.clamp(-708.0, 709.0))
    scale = ((shifted.view(torch.int64) + 1023) << 52).view(torch.float64)
    return ((1.0 + rest) * scale).masked_fill(t < -708.0, 0.0).masked_fill(t > 709.0, torch.inf)
