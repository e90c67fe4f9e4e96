"""Which calls go through tensors alone: traced ones, tensors on a device, and Triton's interpreter."""

from __future__ import annotations

import sys
from typing import Any

from ..arrays import is_traced
from ..backends import select


def through_torch(value: Any, backend: str) -> bool:
    """Whether an op called with this array goes through torch_registry instead of to the host's kernels at once.

    The direct way reads addresses and values on the host; it serves NumPy arrays and plain CPU tensors, for a third
    of the time. The test itself takes under a microsecond.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return False
    return is_traced(value) or not value.is_cpu or select.asked(backend) == "triton"


def need_gradient(value: Any) -> bool:
    """Whether torch would differentiate by this argument."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor) and value.requires_grad and torch.is_grad_enabled()
