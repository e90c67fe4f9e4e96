"""Which calls go through tensors alone: traced ones, tensors on a device, and Triton's interpreter. And for all others,
the look at every tensor before it is read at its address."""

from __future__ import annotations

import sys
from typing import Any

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


def is_traced(value: Any) -> bool:
    """Whether a tensor stands for others: torch.compile, export, fake and meta tensors, functorch, dispatch modes."""
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling():
        return True
    internals, kind = torch._C, type(value)
    return (
        internals._len_torch_dispatch_stack() > 0
        or internals._functorch.peek_interpreter_stack() is not None
        or (kind is not torch.Tensor and kind.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__)
        or value.is_meta
    )


def in_functorch() -> bool:
    """Whether a transform of torch.func (grad, vmap, ...) is being applied, outside torch.compile."""
    torch = sys.modules["torch"]
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None
