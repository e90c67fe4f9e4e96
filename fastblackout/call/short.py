"""The short way into the CPU kernels for what most calls are: plain CPU tensors, float32 model input.

It needs torch's DLPack exchange table. A function here returns None for whatever it does not know or finds wrong, and
the call then goes the long way, which also words the errors.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from ..backends import available, select
from ..philox import Philox
from ..probability import Prob
from .keys import fresh_seed


@functools.cache
def _module() -> Any:
    """fastblackout._cpu, once it knows torch; None where either is absent or torch has no exchange table."""
    torch, cpu = sys.modules["torch"], available.load("_cpu")
    table = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if isinstance(cpu, str) or table is None:
        return None
    internals = torch._C
    tells = torch.is_grad_enabled, internals._len_torch_dispatch_stack, internals._functorch.peek_interpreter_stack
    makes = torch.Tensor, torch.empty_like, torch.empty, torch.float32, torch.float64
    types = torch.Generator, Philox, Prob
    known = cpu.learn_torch(table, *makes, *tells, select.default_threads(), select.wanted, fresh_seed, *types)
    return cpu if known else None


def _ready(x: Any) -> Any:
    """`_module()` if x is a tensor, of torch's own class and not being compiled; else None."""
    torch = sys.modules.get("torch")
    if torch is None or type(x) is not torch.Tensor or torch.compiler.is_compiling():
        return None
    return _module()


def call(name: str, first: Any, *arguments: Any) -> Any:
    """What the function `name` of fastblackout._cpu returns for a call whose first array is `first`, or None.

    A draw's seed is drawn by the C++ code, after all checks: a call that is refused draws none.
    """
    module = _ready(first)
    return None if module is None else getattr(module, name)(*arguments)


def foreseen() -> float | None:
    """The upstream gradient of all samples that is foreseen, which was the last one twice; None where there is none."""
    module = _module()
    return None if module is None else module.quick_foreseen()


def scale_slopes(slopes: Any, upstream: Any, weight: Any, foreseen: float | None) -> Any:
    """The slopes made into the gradient by the logits, in place; None where the arguments do not allow it."""
    if (module := _module()) is None:
        return None
    return module.quick_scale(slopes, upstream, weight, foreseen)
