"""Times between the steps of a schedule: floats u in [0, 1], where step k of n lies at u = k / n."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import in_functorch
from ..ground.values import as_float, check_mask, check_real_tensor, is_tensor, settled, shown
from . import indices

Take = Callable[[str, Any], Any]  # gives the table of a schedule by this name, at steps

_RULE = "a float is a time in [0, 1], from the first step to the last (a step itself is an int)"


def is_time(value: Any) -> bool:
    """Whether a value is a time and no step: a float, or an array or tensor of them."""
    if is_tensor(value):
        return bool(value.is_floating_point())
    return isinstance(value, float) or (isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "f")


def survival(take: Take, steps: int, op: str, argument: str, value: Any) -> tuple[Any, Any]:
    """(p, q) at times u, float64 of their shape, library and device; each linear between its values at two steps.

    From + - * of float64 alone, so the bits are the same on every machine; each side is within 2^-51 of itself.
    ValueError outside [0, 1] and for NaN; on a device, or traced, times are clamped and told as steps are.
    """
    time, library = _checked(op, argument, value)
    place = time * steps
    below = place.astype(np.int64) if library is np else place.long()
    below = library.clip(below, 0, steps - 1)
    share = place - below
    low, high = ([take(side, index) for side in "pq"] for index in (below, below + 1))
    p, q = (first * (1.0 - share) + second * share for first, second in zip(low, high, strict=True))
    return p, q


def step_ends(take: Take, steps: int, op: str, t: Any, s: Any) -> tuple[Any, tuple[Any, Any, Any, Any]]:
    """(library, (p_s, q_s, p_t, q_t)) of a step from time t back to s, which broadcast. ValueError unless s < t."""
    for argument, value in (("k_t", t), ("k_s", s)):
        if not is_time(value):
            raise TypeError(f"{op}: {argument}: must be a time, a float, as the other is, got {shown(value)}")
    tensors = [each for each in (t, s) if is_tensor(each)]
    if tensors:
        torch = sys.modules["torch"]
        t, s = (torch.as_tensor(each, dtype=torch.float64, device=tensors[0].device) for each in (t, s))
    if not tensors or (indices.readable(t) and indices.readable(s)):
        try:
            wrong = s >= t
        except (ValueError, RuntimeError):
            shapes = f"{tuple(np.shape(t))} and {tuple(np.shape(s))}"
            raise ValueError(f"{op}: k_t and k_s: shapes must broadcast, got {shapes}") from None
        if np.any(np.asarray(wrong)):
            raise ValueError(f"{op}: k_s: must be below k_t, got k_s = {shown(s)}, k_t = {shown(t)}")
    else:
        s = indices.noted(op, s, s.clamp(max=t))
    ends = *survival(take, steps, op, "k_s", s), *survival(take, steps, op, "k_t", t)
    return (sys.modules["torch"] if tensors else np), ends


def _checked(op: str, argument: str, value: Any) -> tuple[Any, Any]:
    """(times as float64, their library), within [0, 1]."""
    if is_tensor(value):
        check_real_tensor(op, argument, value)
        torch = sys.modules["torch"]
        if not indices.readable(value):
            if not (torch.compiler.is_compiling() or in_functorch() or torch._C._len_torch_dispatch_stack()):
                settled(op, argument, value)  # refuses a FakeTensor outside its mode
            time = value.double()
            return indices.noted(op, time, time.nan_to_num().clamp(0.0, 1.0)), torch
        time, library = settled(op, argument, value).double(), torch
    else:
        check_mask(op, argument, value)
        time, library = np.asarray(value if isinstance(value, np.ndarray) else as_float(op, argument, value)), np
        time = time.astype(np.float64, copy=False)
    wrong = ~((time >= 0.0) & (time <= 1.0))
    if wrong.any():
        raise ValueError(f"{op}: {argument}: {_RULE}, got {float(time[wrong][0])!r}")
    return time, library
