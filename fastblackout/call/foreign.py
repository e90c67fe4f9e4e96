"""Arrays of other libraries on a device, such as CuPy's: ops take torch's tensors on the same memory in their place.

Those on the host are read through NumPy (arrays.py). Both ways are DLPack's, which also makes the streams of the two
libraries wait for one another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ground.values import is_tensor

_ON_THE_HOST = 1  # kDLCPU


def foreign_of(value: Any) -> Any:
    """The value, or of a tuple its first such part, if it is an array of another library on a device; else None."""
    if type(value) is tuple:
        found = [each for each in value if foreign_of(each) is not None]
        return found[0] if found else None
    if isinstance(value, np.ndarray) or is_tensor(value) or not hasattr(value, "__dlpack_device__"):
        return None
    try:
        kind, _ = value.__dlpack_device__()
    except Exception:  # of the other library, whatever it raises; the op refuses the value later, by name
        return None
    return None if kind == _ON_THE_HOST else value


def by_tensors(op: str, call: Callable[..., Any], foreign: Any, *arguments: Any) -> Any:
    """call(*arguments) with tensors in the place of arrays on a device, and such arrays, of foreign's kind, back."""
    namespace = _namespace_of(foreign)
    made = call(*(_changed(each, lambda value: _tensor(op, value)) for each in arguments))
    return _changed(made, lambda value: namespace.from_dlpack(value) if is_tensor(value) and namespace else value)


def _namespace_of(array: Any) -> Any:
    """The module that makes such arrays by from_dlpack; None for a library without one, whose results stay tensors."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    module = sys.modules.get(type(array).__module__.partition(".")[0])
    return module if hasattr(module, "from_dlpack") else None


def _tensor(op: str, value: Any) -> Any:
    if foreign_of(value) is None:
        return value
    import torch

    try:
        return torch.from_dlpack(value)
    except Exception as error:  # of either library, whatever it raises
        kind, reason = type(value).__name__, " ".join(str(error).split())
        raise TypeError(f"{op}: arguments: must be readable by torch.from_dlpack, got {kind}: {reason}") from None


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value, or a list or tuple, of any kind, of values, with each of them changed."""
    if not isinstance(value, (list, tuple)):
        return change(value)
    parts = [_changed(each, change) for each in value]
    if all(one is other for one, other in zip(parts, value, strict=True)):
        return value
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
