"""Time indices and fractions as users give them: Python numbers, NumPy arrays or torch tensors, checked alike."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .routing import is_traced
from .values import note_steps


def is_tensor(value: Any) -> bool:
    """Whether value is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _readable(tensor: Any) -> bool:
    """Whether values may be looked at: on the CPU, outside torch.compile, where a check would break the graph."""
    return tensor.device.type == "cpu" and not sys.modules["torch"].compiler.is_compiling()


def is_plain(*values: Any) -> bool:
    """Whether all values are Python or NumPy scalars, so that the answer should be Python floats."""
    return not any(isinstance(value, np.ndarray) or is_tensor(value) for value in values)


def check_integer(op: str, argument: str, value: Any, low: int, high: int) -> int:
    """value as a Python int in low..high; TypeError for anything but an int (and for bool), ValueError by range."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{op}: {argument}: must be an integer, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{op}: {argument}: must be in {low}..{high}, got {value}")
    return int(value)


def as_index(op: str, argument: str, k: Any, low: int, high: int) -> Any:
    """k as int64 NumPy array (0-d for an int) or torch tensor, in low..high.

    TypeError for anything but integers. ValueError out of range; a tensor that is not on the CPU, or is traced, is
    clamped instead, and on a device fb.check_values tells.
    """
    if is_tensor(k):
        if k.is_floating_point() or k.is_complex() or k.dtype == sys.modules["torch"].bool:
            raise TypeError(f"{op}: {argument}: must be an int or integer array, got a tensor of {k.dtype}")
        k = k.long()
        if not _readable(k):
            return _noted(op, k, k.clamp(low, high))
        wrong = (k < low) | (k > high)
    elif type(k) is int:  # apart from arrays, whose dtype torch.compile does not trace
        if not low <= k <= high:
            raise ValueError(f"{op}: {argument}: must be in {low}..{high}, got {k}")
        return np.asarray(k, dtype=np.int64)
    else:
        array = np.asarray(k)
        if isinstance(k, (list, tuple)) or array.dtype.kind not in "iu":
            kind = f"an array of {array.dtype}" if isinstance(k, np.ndarray) else repr(k)
            raise TypeError(f"{op}: {argument}: must be an int or integer array, got {kind}")
        wrong = (array < low) | (array > high)
        k = array.astype(np.int64, copy=False)
    if wrong.any():
        raise ValueError(f"{op}: {argument}: must be in {low}..{high}, got {int(k[wrong][0])}")
    return k


def _noted(op: str, given: Any, taken: Any) -> Any:
    """What a tensor was clamped to. Where a flag cannot be written (traced, meta) nobody is told."""
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
        if not _readable(k_t):
            return library, k_t, _noted(op, k_s, torch.minimum(k_s, k_t - 1))
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
    if isinstance(value, (bool, np.bool_)) or not (is_tensor(value) or isinstance(value, (int, float, np.ndarray))):
        raise TypeError(f"{op}: {argument}: must be a float or a float64 array, got {value!r}")
    if not isinstance(value, (int, float)) and str(value.dtype) not in ("float64", "torch.float64"):
        raise TypeError(f"{op}: {argument}: float64 is needed, got {value.dtype}")
    if is_tensor(value) and library is np:
        raise TypeError(f"{op}: {argument}: must be a NumPy array or float, as k is, got a tensor")
    if not is_tensor(value) or _readable(value):
        array = np.asarray(value, dtype=np.float64)
        wrong = ~((array >= 0.0) & (array <= 1.0))
        if wrong.any():
            raise ValueError(f"{op}: {argument}: must be in [0, 1], got {float(array[wrong][0])!r}")
    if library is np:
        return np.asarray(value, dtype=np.float64)
    return library.as_tensor(value, dtype=library.float64, device=like.device)
