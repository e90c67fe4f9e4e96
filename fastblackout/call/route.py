"""Which calls go through tensors alone: traced ones, tensors on a device, and Triton's interpreter. And for all others,
the look at every tensor before it is read at its address."""

from __future__ import annotations

import sys
from typing import Any

from ..arrays import is_traced
from ..backends import select
from ..ground.values import settled
from ..probability import Prob


def readable(op: str, deciding: Any, /, **given: Any) -> list[Any]:
    """The arguments of an op, `given` by their names, in order, each tensor as settled in memory (arguments.settled).

    Where torch traces `deciding`, the argument that chooses the path, they stay as they are: there torch itself looks
    at every tensor.
    """
    torch = sys.modules.get("torch")
    if torch is None or torch.compiler.is_compiling() or (isinstance(deciding, torch.Tensor) and is_traced(deciding)):
        return list(given.values())

    def look(name: str, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return settled(op, name, value)
        if isinstance(value, Prob):
            return Prob(look(f"{name}.p", value.p), look(f"{name}.q", value.q))
        return value

    return [look(name, value) for name, value in given.items()]


def through_torch(value: Any, backend: str) -> bool:
    """Whether an op called with this array goes the torch path (torch_calls) instead of the direct one.

    The direct path reads addresses and values on the host; it serves NumPy arrays and plain CPU tensors, for a third
    of the time. The test itself takes under a microsecond.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return False
    return is_traced(value) or not value.is_cpu or select.asked(backend) == "triton"
