"""Steps, times and fractions as users give them: Python numbers, NumPy arrays or torch tensors, checked alike.

A step is an integer k in 0..n. A time is a float u in [0, 1], and may lie between steps; step k lies at u = k / n.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import in_functorch, is_traced
from ..backends.wrong_values import note_steps
from ..call.elements import filled
from ..ground.values import (
    as_float,
    check_integer,
    check_mask,
    check_real_tensor,
    common_shape,
    is_integer,
    is_tensor,
    real_array,
    settled,
    shown,
)

Take = Callable[[str, Any], Any]  # gives the table of a schedule by this name, at steps

_RULE = "a float is a time in [0, 1], from the first step to the last (a step itself is an int)"


def readable(tensor: Any) -> bool:
    """Whether values may be looked at: on the CPU, and not traced, where a check would break the graph."""
    return tensor.device.type == "cpu" and not is_traced(tensor)


def is_plain(*values: Any) -> bool:
    """Whether all values are Python or NumPy scalars, so that the answer should be Python floats."""
    return not any(isinstance(value, np.ndarray) or is_tensor(value) for value in values)


def as_index(op: str, argument: str, k: Any, low: int, high: int) -> Any:
    """k as int64 NumPy array (0-d for an int) or torch tensor, in low..high.

    TypeError for anything but integers. ValueError out of range; a tensor that is not on the CPU, or is traced, is
    clamped instead, and on a device fb.check_values tells.
    """
    if is_tensor(k):
        torch = sys.modules["torch"]
        if k.is_floating_point() or k.is_complex() or k.is_quantized or k.dtype == torch.bool:
            raise TypeError(f"{op}: {argument}: must be an int or integer array, got a tensor of {k.dtype}")
        if k.layout is not torch.strided:
            raise TypeError(f"{op}: {argument}: must be a dense tensor, got layout {k.layout}")
        # As int64, values from 2^63 on turn negative; no range holds them.
        wraps = k.dtype == torch.uint64
        k = torch.where(k.long() < 0, torch.iinfo(torch.int64).max, k.long()) if wraps else k.long()
        if not readable(k):
            return noted(op, k, k.clamp(low, high))
    # The first test is for torch.compile, which then traces neither is_integer nor the tests of dtypes below.
    elif type(k) is int or is_integer(k):
        return np.asarray(check_integer(op, argument, k, low, high), np.int64)
    else:
        check_mask(op, argument, k)
        if not isinstance(k, np.ndarray):
            raise TypeError(f"{op}: {argument}: must be an int or integer array, got {shown(k)}")
        if k.dtype.kind not in "iu":
            raise TypeError(f"{op}: {argument}: must be an int or integer array, got an array of {k.dtype}")
    wrong = (k < low) | (k > high)
    if wrong.any():
        raise ValueError(f"{op}: {argument}: must be in {low}..{high}, got {int(k[wrong][0])}")
    return k if is_tensor(k) else k.astype(np.int64, copy=False)


def noted(op: str, given: Any, taken: Any) -> Any:
    """The clamped tensor; what was clamped is noted for fb.check_values, but not where torch traces."""
    if not is_traced(given):
        note_steps(op, given, taken)
    return taken


def as_step(op: str, k_t: Any, k_s: Any, steps: int) -> tuple[Any, Any, Any]:
    """(library, k_t, k_s) of a step from k_t in 1..steps to k_s in 0..k_t - 1, both in one library (numpy or torch).

    ValueError unless k_s < k_t everywhere (CPU); on another device, or traced, k_s is clamped to k_t - 1 and told as
    in as_index.
    """
    k_t = as_index(op, "k_t", k_t, 1, steps)
    k_s = as_index(op, "k_s", k_s, 0, steps)
    if not is_tensor(k_t) and not is_tensor(k_s):
        library: Any = np
    else:
        library = torch = sys.modules["torch"]
        device = (k_t if is_tensor(k_t) else k_s).device
        k_t, k_s = torch.as_tensor(k_t, device=device), torch.as_tensor(k_s, device=device)
        if not readable(k_t):
            return library, k_t, noted(op, k_s, torch.minimum(k_s, k_t - 1))
    common_shape(op, {"k_t": tuple(k_t.shape), "k_s": tuple(k_s.shape)})
    k_t_all, k_s_all = library.broadcast_tensors(k_t, k_s) if library is not np else np.broadcast_arrays(k_t, k_s)
    wrong = k_s_all >= k_t_all
    if wrong.any():
        raise ValueError(
            f"{op}: k_s: must be below k_t, got k_s = {int(k_s_all[wrong][0])}, k_t = {int(k_t_all[wrong][0])}"
        )
    return library, k_t, k_s


def as_fraction(op: str, argument: str, value: Any, library: Any, like: Any) -> Any:
    """value in [0, 1] as float64 array of the library, on the device of `like`.

    TypeError for bools, integer arrays and other float widths; ValueError out of range (values checked on the CPU).
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = as_float(op, argument, value)
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{op}: {argument}: must be in [0, 1], got {number!r}")
        if library is np:
            return np.asarray(number)
        return filled((), number, library.float64, like.device)
    if not (is_tensor(value) or isinstance(value, np.ndarray)):
        raise TypeError(f"{op}: {argument}: must be a float or a float64 array, got {shown(value)}")
    if str(value.dtype) not in ("float64", "torch.float64"):
        raise TypeError(f"{op}: {argument}: float64 is needed, got {value.dtype}")
    if is_tensor(value) and library is np:
        raise TypeError(f"{op}: {argument}: must be a NumPy array or float, as k is, got a tensor")
    if not is_tensor(value) or readable(value):
        array = real_array(op, argument, value)
        wrong = ~((array >= 0.0) & (array <= 1.0))
        if wrong.any():
            raise ValueError(f"{op}: {argument}: must be in [0, 1], got {float(array[wrong][0])!r}")
    return value if library is np else library.as_tensor(value, dtype=library.float64, device=like.device)


def is_time(value: Any) -> bool:
    """Whether a value is a time and no step: a float, or an array or tensor of them."""
    if is_tensor(value):
        return bool(value.is_floating_point())
    return isinstance(value, float) or (isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "f")


def survival_at(take: Take, steps: int, op: str, argument: str, value: Any) -> tuple[Any, Any]:
    """(p, q) at times u, float64 of their shape, library and device; each linear between its values at two steps.

    From + - * of float64 alone, so the bits are the same on every machine; each side is within 2^-51 of itself.
    ValueError outside [0, 1] and for NaN; on a device, or traced, times are clamped and told as steps are.
    """
    time, library = _checked_times(op, argument, value)
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
    if not tensors or (readable(t) and readable(s)):
        try:
            wrong = s >= t
        except (ValueError, RuntimeError):
            shapes = f"{tuple(np.shape(t))} and {tuple(np.shape(s))}"
            raise ValueError(f"{op}: k_t and k_s: shapes must broadcast, got {shapes}") from None
        if np.any(np.asarray(wrong)):
            raise ValueError(f"{op}: k_s: must be below k_t, got k_s = {shown(s)}, k_t = {shown(t)}")
    else:
        s = noted(op, s, s.clamp(max=t))
    ends = *survival_at(take, steps, op, "k_s", s), *survival_at(take, steps, op, "k_t", t)
    return (sys.modules["torch"] if tensors else np), ends


def _checked_times(op: str, argument: str, value: Any) -> tuple[Any, Any]:
    """(times as float64, their library), within [0, 1]."""
    if is_tensor(value):
        check_real_tensor(op, argument, value)
        torch = sys.modules["torch"]
        if not readable(value):
            if not (torch.compiler.is_compiling() or in_functorch() or torch._C._len_torch_dispatch_stack()):
                settled(op, argument, value)  # refuses a FakeTensor outside its mode
            time = value.double()
            return noted(op, time, time.nan_to_num().clamp(0.0, 1.0)), torch
        time, library = settled(op, argument, value).double(), torch
    else:
        check_mask(op, argument, value)
        time, library = np.asarray(value if isinstance(value, np.ndarray) else as_float(op, argument, value)), np
        time = time.astype(np.float64, copy=False)
    wrong = ~((time >= 0.0) & (time <= 1.0))
    if wrong.any():
        raise ValueError(f"{op}: {argument}: {_RULE}, got {float(time[wrong][0])!r}")
    return time, library
