"""The short way into the CPU kernels for what most calls are: plain CPU tensors, float32 model input.

It needs torch's DLPack exchange table. A function here returns None for whatever it does not know or finds wrong, and
the call then goes the long way, which also words the errors.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
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


def draw(name: str, values: Sequence[Any], request: Sequence[Any], names: Sequence[str], backend: str) -> Any:
    """The outputs of a draw, of those `names`, or None. values and request: as the op's Operation is called with them.

    A seed is drawn by the C++ code, after all checks: a call that is refused draws none.
    """
    module = _ready(values[0])
    return None if module is None else getattr(module, name)(backend, values, request, names)


def birth_loss(values: Sequence[Any], backend: str) -> tuple[Any, Any | None, float | None] | None:
    """(loss, slopes, foreseen) of fb.birth_loss of float32 logits, or None. values: as for `draw`.

    slopes: for scale_slopes, where there will be a gradient by the logits; foreseen: the gradient by the losses, the
    same for all of them, for which they are that gradient.
    """
    module = _ready(values[0])
    return None if module is None else module.quick_loss(backend, values)


def energy_loss(values: Sequence[Any], backend: str) -> tuple[Any, Any, Any | None] | None:
    """(loss, norms, memory) of fb.energy_loss of float32 logits, or None. values: as for `draw`.

    memory: for one call of energy_gradient, where there will be a gradient by the logits.
    """
    module = _ready(values[0])
    return None if module is None else module.quick_energy(backend, values)


def energy_gradient(values: Sequence[Any], norms: Any, upstream: Any, backend: str, memory: Any = None) -> Any:
    """The gradient by the logits of `energy_loss` of the same values, or None. upstream: that by the losses.

    memory: as `energy_loss` gave it, of which the gradient is made, and sooner than without.
    """
    module = _ready(values[0])
    return None if module is None else module.quick_energy_gradient(backend, values, norms, upstream, memory)


def scale_slopes(slopes: Any, upstream: Any, weight: Any, foreseen: float | None) -> Any:
    """The slopes made into the gradient by the logits, in place; None where the arguments do not allow it."""
    if (module := _module()) is None:
        return None
    return module.quick_scale(slopes, upstream, weight, foreseen)
