"""The short way into the kernels, for plain calls: NumPy's arrays, and tensors of the CPU or of a CUDA device.

C++ code (csrc/bindings/call_reader.h) reads the arguments as the user gave them, checks them, makes the outputs and
runs. It answers None to whatever it does not know, or finds wrong before it runs. The call then goes the long way,
which words the error. Tensors need torch's DLPack exchange table.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import DTYPES
from ..backends import available, select, wrong_values
from ..philox import Philox
from ..probability import Prob
from .keys import fresh_seed

if TYPE_CHECKING:
    from .declared import Declaration


_teaching = threading.Lock()  # so that the last who teaches knows the most


def call(op: Declaration, values: Sequence[Any], request: Sequence[Any], backend: str) -> Any:
    """What the op returns of plain arguments; None for others, or where torch compiles.

    The C++ code draws a seed after all checks: a call that is refused draws none.
    """
    torch = _torch()
    if torch is not None and torch.compiler.is_compiling():
        return None
    made = _function("_cpu", torch, op.short)(backend, values, request, op.spec)
    if made is None and torch is not None and torch.cuda.is_initialized():
        made = _function("_cuda", torch, op.short)(backend, values, request, op.spec)
    return made


def loss(name: str, spec: Any, values: Sequence[Any], backend: str) -> tuple[Sequence[Any], Any, str] | None:
    """(outputs, memory, backend) of plain arguments of a loss, by the function `name`; None for others.

    memory: None where no gradient may be asked for. On the host that of the gradient, which the loss has filled.
    """
    torch = _torch()
    if torch is not None and torch.compiler.is_compiling():
        return None
    if (made := _function("_cpu", torch, name)(backend, values, (), spec)) is not None:
        return *made, "cpu"
    if torch is not None and torch.cuda.is_initialized():
        made = _function("_cuda", torch, name)(backend, values, (), spec)
    return None if made is None else (*made, "cuda")


def special(name: str, *arguments: Any) -> Any:
    """What the function `name` of fastblackout._cpu makes of plain tensors, or None."""
    return _function("_cpu", _torch(), name)(*arguments)


def _torch() -> Any:
    """The module torch; None where it is not loaded, or another thread is half through its import."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "compiler") else None


@functools.cache
def _function(name: str, torch: Any, function: str) -> Callable[..., Any]:
    """A function of a compiled module that knows what is loaded, or `_none` where there is none."""
    found: Callable[..., Any] = getattr(_taught(name, torch), function, _none)
    return found


def _none(*_: Any) -> None:
    return None


@functools.cache
def _taught(name: str, torch: Any) -> Any:
    module = available.load(name)
    with _teaching:
        if not isinstance(module, str):  # torch may be loaded by now
            teach(module, getattr(getattr(_torch(), "Tensor", None), "__dlpack_c_exchange_api__", None))
    return module


def teach(module: Any, table: Any) -> bool:
    """Gives a compiled module what its short way needs of NumPy, torch and the package; whether it takes tensors."""
    torch = _torch()
    internals = getattr(torch, "_C", None)
    known = types.SimpleNamespace(
        ndarray=np.ndarray,
        numpy_empty=np.empty,
        numpy_empty_like=np.empty_like,
        numpy_dtypes=tuple(None if name == "bfloat16" else np.dtype(name) for name in DTYPES),
        philox=Philox,
        prob=Prob,
        tensor=getattr(torch, "Tensor", None),
        generator=getattr(torch, "Generator", None),
        torch_dtypes=torch and tuple(getattr(torch, name) for name in DTYPES),
        empty_like=getattr(torch, "empty_like", None),
        is_neg=torch and torch.Tensor.is_neg,
        # functions without arguments
        grad_enabled=getattr(torch, "is_grad_enabled", None),
        modes=internals and internals._len_torch_dispatch_stack,
        interpreter=internals and internals._functorch.peek_interpreter_stack,
        threads=select.default_threads(),
        setting=select.wanted,  # a context variable: (backend, isa, threads) of use_backend
        fresh_seed=fresh_seed,  # a CPU generator, or None for torch's own -> a seed
        device_flag=_device_flag,
    )
    return bool(module.learn(table, known))


def _device_flag(op: str, backend: str, elements: int, tensor: Any) -> int | None:
    """Where the flag of an op lies on the device of a tensor; None where the CUDA kernels are not what runs there."""
    chosen = select.select(op, backend, "cuda", elements)
    return wrong_values.flag(op, tensor.device).data_ptr() if chosen == "cuda" else None
