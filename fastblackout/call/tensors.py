"""Arguments of an op as tensors on its device, made without reading a device tensor on the host.

Numbers of samples follow the rules of rules.py; values on the host are checked, those on a device not.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..arrays import is_traced, to_device
from ..backends import select
from ..ground.persistent import is_capturing, persistent
from ..ground.values import as_float, check_real_tensor, one_a_sample, real_array
from ..probability import Prob
from .composed import FLOAT32_MAX
from .elements import filled
from .rules import FINITE, UNIT, Rule, on_host, pair_on_host


def _on_device(array: np.ndarray, device: Any) -> Tensor:
    """A per-sample parameter, dense."""
    return to_device(torch.from_numpy(np.require(array, requirements=("C", "W"))), device)


def pair_of(op: str, argument: str, value: Any, like: Tensor, samples: int, backend: str) -> tuple[Tensor, Tensor]:
    """(p, q) as float64 (samples,) on the device of `like`.

    One number for all samples stays one, expanded, where Triton runs: its kernels then build one table.
    """
    traced, pair = is_traced(like), isinstance(value, Prob)
    expanded = not traced and select.select(op, backend, like.device.type, like.numel()) == "triton"
    parts = tuple(value) if pair else (value,)
    if not all(_is_number(part) or (isinstance(part, Tensor) and part.device == like.device) for part in parts):
        if not traced:
            here = pair_on_host(op, argument, value, samples)
            return _on_device(here[0], like.device), _on_device(here[1], like.device)
        parts = tuple(_as_constant(op, argument, part, like) for part in parts)
    elif not any(isinstance(part, Tensor) for part in parts):
        numbers = [as_float(op, argument, part) for part in parts]
        if not all(0.0 <= number <= 1.0 for number in numbers):
            UNIT.refuse(op, argument, value)
        if pair and not abs(numbers[0] + numbers[1] - 1.0) <= 1e-9:
            raise ValueError(
                f"{op}: {argument}: p + q must be 1 within 1e-9, got p = {value[0]!r} and q = {value[1]!r}"
            )
    sides = []
    for side, part in enumerate(parts):
        full_name = f"{argument}.{'pq'[side]}" if pair else argument
        if not isinstance(part, Tensor):
            part = _filled(as_float(op, full_name, part), 1 if expanded else samples, torch.float64, like)
            part = part[0] if expanded else part
        check_real_tensor(op, full_name, part)
        sides.append(_expanded(op, full_name, part.double(), samples, not expanded))
    return (sides[0], sides[1]) if pair else (sides[0], 1.0 - sides[0])


def per_sample(op: str, argument: str, value: Any, like: Tensor, samples: int, rule: Rule = FINITE) -> Tensor:
    """Numbers as (samples,) of the rule's dtype on the device of `like`."""
    dtype = getattr(torch, rule.dtype)
    if _is_number(value):
        number = as_float(op, argument, value)
        if not rule.holds(number):
            if not is_traced(like):
                on_host(op, argument, number, 1, rule)  # which tells what it rounds to
            rule.refuse(op, argument, number)
        if rule.dtype == "float32" and abs(number) > FLOAT32_MAX:  # it rounds to that, but torch.full refuses it
            number = math.copysign(FLOAT32_MAX, number)
        return _filled(number, samples, dtype, like)
    if is_traced(like):
        value = _as_constant(op, argument, value, like)
    if isinstance(value, Tensor) and value.device == like.device:
        check_real_tensor(op, argument, value)
        return _expanded(op, argument, value.detach().to(dtype), samples)
    return _on_device(on_host(op, argument, value, samples, rule), like.device)


def as_constant(array: NDArray[Any], like: Tensor) -> Tensor:
    """A NumPy array as a constant of the graph, on the device of `like`: a copy, for the array may change later."""
    # torch.compile has made a tensor of the array already; elsewhere as_tensor would share its memory.
    return (torch.as_tensor if torch.compiler.is_compiling() else torch.tensor)(array, device=like.device)


def _as_constant(op: str, argument: str, value: Any, like: Tensor) -> Any:
    """What a traced op is given, as a tensor on its device: values of the host become constants of the graph."""
    if _is_number(value):
        return value
    if isinstance(value, Tensor):
        return value.to(like.device)
    # torch.compile cannot tell an array's dtype.
    compiled = torch.compiler.is_compiling() and isinstance(value, np.ndarray)
    return as_constant(value if compiled else real_array(op, argument, value), like)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, (bool, np.generic))


def _expanded(op: str, argument: str, value: Tensor, samples: int, dense: bool = True) -> Tensor:
    value = one_a_sample(op, argument, value, samples).detach().expand(samples)
    return value.contiguous() if dense else value


def _filled(value: float, samples: int, dtype: torch.dtype, like: Tensor) -> Tensor:
    """(samples,) of one number. The 0 and 1 that no center, scale or gain means come with nearly every call: kept."""
    if is_traced(like) or value.hex() not in _KEPT or is_capturing(like.device):
        return filled((samples,), value, dtype, like.device)
    return _constant(value, samples, dtype, like.device)


_KEPT = (float(0).hex(), float(1).hex())  # not -0.0, which is equal to 0


@functools.lru_cache(maxsize=256)
def _constant(value: float, samples: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Shared between calls, which only read it."""
    return persistent("arguments", "a call", device, lambda: torch.full((samples,), value, dtype=dtype, device=device))
