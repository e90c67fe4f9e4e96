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
    known = cpu.learn_torch(
        table, torch.Tensor, torch.empty_like, torch.empty, torch.float32, torch.is_grad_enabled,
        internals._len_torch_dispatch_stack, internals._functorch.peek_interpreter_stack, select.default_threads(),
        select.wanted, fresh_seed,
    )  # fmt: skip
    return cpu if known else None


def _ready(x: Any) -> Any:
    """`_module()` if x is a tensor, of torch's own class and not being compiled; else None."""
    torch = sys.modules.get("torch")
    if torch is None or type(x) is not torch.Tensor or torch.compiler.is_compiling():
        return None
    return _module()


def _key(rng: Any, generator: Any) -> tuple[Any, int, int] | None:
    """(seed, first_sample, call), or None where the long way must look at them.

    Without a key the generator, or None for torch's default one, stands in the seed's place: the C++ code draws the
    seed from it after all other checks, so that a call that is refused draws none.
    """
    if type(rng) is Philox:
        return (rng.seed, rng.first_sample, rng.call) if generator is None else None
    known = generator is None or (type(generator) is sys.modules["torch"].Generator and generator.device.type == "cpu")
    return (generator, 0, 0) if rng is None and known else None


def thin(
    x_0: Any, alive: Any, rng: Any, generator: Any, max_count: Any, center: Any, scale: Any, outputs: Any,
    input_dtype: Any, out: Any, backend: str,
) -> tuple[Any, Any, Any] | None:  # fmt: skip
    """The outputs of fb.thin, or None."""
    if type(input_dtype) is not str or input_dtype != "float32" or out is not None or (module := _ready(x_0)) is None:
        return None
    key, prob, most, mask = _key(rng, generator), _prob(alive), _max_count(max_count), _mask(outputs, _THINNED)
    if key is None or prob is None or most is None or mask is None:
        return None
    return module.quick_thin(backend, *key, x_0, *prob, center, scale, most, mask)


def bridge(
    x_t: Any, logits: Any, births: Any, step: Any, rounding: Any, attrition: Any, rng: Any, generator: Any,
    max_count: Any, gain: Any, center: Any, scale: Any, outputs: Any, input_dtype: Any, out: Any, backend: str,
) -> tuple[Any, Any] | None:  # fmt: skip
    """The outputs of fb.bridge_step from float32 logits and without attrition, or None."""
    if births is not None or type(attrition) is not float or attrition != 0.0 or type(rounding) is not str:
        return None
    if type(input_dtype) is not str or input_dtype != "float32" or out is not None or (module := _ready(x_t)) is None:
        return None
    if (stochastic := _ROUNDINGS.get(rounding)) is None:
        return None
    key, prob, most, mask = _key(rng, generator), _prob(step), _max_count(max_count), _mask(outputs, _STEPPED)
    if key is None or prob is None or most is None or mask is None:
        return None
    return module.quick_bridge(backend, *key, x_t, logits, *prob, gain, center, scale, most, stochastic, mask)


def birth_loss(
    logits: Any, births: Any, weight: Any, gain: Any, backend: str
) -> tuple[Any, Any | None, float | None] | None:
    """(loss, slopes, foreseen) of fb.birth_loss of float32 logits, or None.

    slopes: for scale_slopes, where there will be a gradient by the logits; foreseen: the gradient by the losses, the
    same for all of them, for which they are that gradient.
    """
    if (module := _ready(logits)) is None:
        return None
    return module.quick_loss(backend, logits, births, weight, gain)


def scale_slopes(slopes: Any, upstream: Any, weight: Any, foreseen: float | None) -> Any:
    """The slopes made into the gradient by the logits, in place; None where the arguments do not allow it."""
    if (module := _module()) is None:
        return None
    return module.quick_scale(slopes, upstream, weight, foreseen)


def _prob(value: Any) -> tuple[Any, Any] | None:
    if type(value) is Prob:
        return value
    return (value, 1.0 - value) if type(value) is float else None


def _max_count(max_count: Any) -> int | None:
    if max_count is None:
        return 255
    return max_count if type(max_count) is int and 1 <= max_count <= 255 else None


def _mask(outputs: Any, known: dict[tuple[str, ...], int]) -> int | None:
    try:
        return known.get(outputs) if type(outputs) is tuple else None
    except TypeError:  # what is in it cannot be hashed
        return None


def _masks(names: tuple[str, ...]) -> dict[tuple[str, ...], int]:
    """Every choice of outputs in their order, as bits."""
    return {
        tuple(name for bit, name in enumerate(names) if mask >> bit & 1): mask for mask in range(1, 1 << len(names))
    }


_THINNED, _STEPPED = _masks(("x_t", "births", "model_input")), _masks(("x_s", "model_input"))
_ROUNDINGS = {"stochastic": True, "nearest": False}
