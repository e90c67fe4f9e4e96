"""The short way into the kernels for what most calls are: plain tensors of the CPU or of a CUDA device, float32 input.

It needs torch's DLPack exchange table. A function here returns None for whatever it does not know or finds wrong, and
the call then goes the long way, which also words the errors.
"""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

from ..backends import available, select, wrong_values
from ..philox import Philox
from ..probability import Prob
from .keys import fresh_seed


@functools.cache
def _module(name: str = "_cpu") -> Any:
    """fastblackout._cpu or _cuda, once it knows torch; None where either is absent or torch has no exchange table."""
    module, table = available.load(name), getattr(sys.modules["torch"].Tensor, "__dlpack_c_exchange_api__", None)
    return module if not isinstance(module, str) and table is not None and teach(module, table) else None


def teach(module: Any, table: Any) -> bool:
    """Gives a compiled module what its short way needs of torch and of the package; whether it can use the table."""
    torch = sys.modules["torch"]
    internals = torch._C
    known = types.SimpleNamespace(
        tensor=torch.Tensor,
        generator=torch.Generator,
        philox=Philox,
        prob=Prob,
        is_neg=torch.Tensor.is_neg,
        empty_like=torch.empty_like,
        empty=torch.empty,
        float32=torch.float32,
        float64=torch.float64,
        int32=torch.int32,
        # functions without arguments
        grad_enabled=torch.is_grad_enabled,
        modes=internals._len_torch_dispatch_stack,
        interpreter=internals._functorch.peek_interpreter_stack,
        threads=select.default_threads(),
        setting=select.wanted,  # a context variable: (backend, isa, threads) of use_backend
        fresh_seed=fresh_seed,  # a generator, or None for torch's own -> a seed
        device_flag=_device_flag,
    )
    return bool(module.learn_torch(table, known))


def _device_flag(op: str, backend: str, elements: int, tensor: Any) -> int | None:
    """Where the flag of an op lies on the device of a tensor; None where the CUDA kernels are not what runs there."""
    chosen = select.select(op, backend, "cuda", elements)
    return wrong_values.flag(op, tensor.device).data_ptr() if chosen == "cuda" else None


def call(name: str, first: Any, *arguments: Any) -> Any:
    """What the function `name` of fastblackout._cpu or _cuda returns for a call whose first array is `first`.

    It is None where that is no tensor of torch's own class, or torch compiles. A draw's seed is drawn by the C++ code,
    after all checks: a call that is refused draws none.
    """
    torch = sys.modules.get("torch")
    if torch is None or type(first) is not torch.Tensor or torch.compiler.is_compiling():
        return None
    module = _module()
    if module is not None and torch.cuda.is_initialized() and module.quick_on_cuda(first):
        module = _module("_cuda")
    function = getattr(module, name, None)  # the losses have none for a device
    return None if function is None else function(*arguments)


def scale_slopes(slopes: Any, upstream: Any, weight: Any) -> Any:
    """The slopes made into the gradient by the logits, in place; None where the arguments do not allow it."""
    module = _module()
    return None if module is None else module.quick_scale(slopes, upstream, weight)
