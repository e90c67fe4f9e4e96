"""The kinds of arguments that are numbers: of a sample, and of the whole call.

On the host plain numbers of samples go to the compiled kernels as they came, which check them; all others become NumPy
(B,) by rules.py. tensors.py makes them tensors on a device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import name_of_torch
from ..ground.values import check_name, is_array, is_integer, is_spread, is_tensor, shown
from ..probability import Prob
from .arguments import NUMBERS, Argument, Call
from .rules import Rule, on_host, pair_on_host

NUMBERS_OR_NONE = (*NUMBERS, type(None))
MAX_COUNT = 1 << 53  # integers above are not all float64
_LARGEST = {"uint8": 255, "int16": (1 << 15) - 1, "int32": (1 << 31) - 1, "int64": (1 << 63) - 1}
_LARGEST |= {"uint16": (1 << 16) - 1, "uint32": (1 << 32) - 1, "float32": 1 << 24, "float64": 1 << 53}


def _plain(value: Any, samples: int, dtype: str = "float64") -> Any:
    """The numbers as the compiled kernels take and check them; None where they are to be converted first."""
    if type(value) is float:
        return value
    if is_tensor(value):
        if not value.is_cpu or name_of_torch(value.dtype) != dtype or value.requires_grad or value.is_neg():
            return None
        value = value.numpy()
    if type(value) is np.ndarray and value.dtype == dtype and value.shape == (samples,):
        return value if value.flags.c_contiguous and value.flags.aligned else None
    return None


class Numbers(Argument):
    """Numbers that stand beside the first array. missing: how to get some, where None is no value."""

    missing = ""
    pair = False  # whether a Prob is taken whole

    def read(self, call: Call, value: Any) -> Any:
        """The value, settled, whose shape is checked."""
        if self.missing:
            self.check_present(call, value, self.missing)
            value = value.p if isinstance(value, Prob) and not self.pair else value
        return call.numbers(self.names[0], value)

    @staticmethod
    def differs(value: Any) -> bool:
        """Whether these are numbers that differ within a sample, which an op takes by its `per_element`."""
        return is_spread(value)


class Probability(Numbers):
    """A probability for each sample, as two fields p and q = 1 - p. optional: the number 0 says that there is none."""

    pair = True

    def __init__(
        self, name: str, parts: tuple[str, str] = ("p", "q"), missing: str = "", optional: bool = False
    ) -> None:
        self.names, self.missing, self.optional = (name,), missing, optional
        self.parts = tuple(f"Tensor{'?' if optional else ''} {part}" for part in parts)

    def tensors(self, value: Any) -> list[Any]:
        return [part for part in (value if isinstance(value, Prob) else (value,)) if is_tensor(part)]

    def canon(self, call: Call, value: Any) -> tuple[Any, Any]:
        if self.optional and isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
            return None, None
        if type(value) is float and call.compiled:
            return value, 1.0 - value
        name, value = self.names[0], value if type(value) in NUMBERS else self.read(call, value)
        if call.through_torch:
            from .tensors import pair_of

            return pair_of(call.op, name, value, call.first.value, call.samples, call.backend)
        if call.compiled:
            if isinstance(value, Prob):
                p, q = (_plain(side, call.samples) for side in value)
            elif (p := _plain(value, call.samples)) is not None:
                q = 1.0 - p
            if p is not None and type(p) is type(q):
                return p, q
        return pair_on_host(call.op, name, value, call.samples)

    def from_parts(self, *parts: Any) -> Any:
        return 0.0 if parts[0] is None else Prob(*parts)


class PerSample(Numbers):
    """A number for each sample, finite in `dtype` and at least `low` (above it where open_low).

    part: its name as a field, where that is another. Where `missing` says how to get one, a Prob stands for its p.
    """

    def __init__(
        self, name: str, dtype: str = "float32", low: float = -np.inf, open_low: bool = False, part: str = "",
        missing: str = "",
    ) -> None:  # fmt: skip
        self.names, self.parts, self.missing = (name,), (f"Tensor {part or name}",), missing
        self.rule = Rule(dtype, low, open_low)

    def canon(self, call: Call, value: Any) -> tuple[Any]:
        if type(value) is float and call.compiled:
            return (value,)
        name, value = self.names[0], value if type(value) in NUMBERS else self.read(call, value)
        if call.through_torch:
            from .tensors import per_sample

            return (per_sample(call.op, name, value, call.first.value, call.samples, self.rule),)
        if call.compiled and (plain := _plain(value, call.samples, self.rule.dtype)) is not None:
            return (plain,)
        return (on_host(call.op, name, value, call.samples, self.rule),)


class Kept(Argument):
    """Numbers (B, ...) that a loss leaves for its gradient, which takes them as they are."""

    any_number = True

    def __init__(self, name: str) -> None:
        self.names, self.parts = (name,), (f"Tensor {name}",)

    def canon(self, call: Call, value: Any) -> tuple[Any]:
        if call.through_torch:
            return (value,)
        return (np.require(value.numpy() if is_tensor(value) else value, requirements=("C", "A")),)


class MaxCount(Numbers):
    """The largest count that the first argument may hold, at least `low`."""

    names = ("max_count",)
    parts = ("int max_count",)
    differs = staticmethod(is_array)  # also of one number: the kernels take an integer

    def __init__(self, low: int = 1) -> None:
        self.low = low

    def canon(self, call: Call, value: Any) -> tuple[int]:
        return (max_count_of(call.op, value, call.first.came_as or call.first.dtype, self.low),)


def largest(dtype: str) -> int:
    """The count up to which a dtype holds every one."""
    return _LARGEST[dtype]


def largest_in(counts: NDArray[Any]) -> int | None:
    """The largest of counts, or what their dtype allows if that is less; None where a call needs or takes no bound."""
    limit = _LARGEST.get(counts.dtype.name)
    if limit is None or counts.dtype == np.uint8:
        return None
    top = counts.max(initial=1)
    return int(min(top, limit)) if top == top else 1  # NaN is told by what reads the counts


def max_count_of(op: str, max_count: Any, dtype: str, low: int = 1) -> int:
    """The declared largest count, at least `low`; 255 for uint8 when none is given."""
    if max_count is None:
        if dtype != "uint8":
            rule = f"must be given for {dtype} counts: the largest that may occur (uint8 alone has a default, 255)"
            raise ValueError(f"{op}: max_count: {rule}, got None")
        return 255
    if not is_integer(max_count):
        rule = "must be an integer"
        if is_array(max_count):
            rule += ", one for all elements (thin, bridge_step and tau_leap_step also take one for each)"
        raise TypeError(f"{op}: max_count: {rule}, got {shown(max_count)}")
    chosen, limit = int(max_count), min(_LARGEST[dtype], MAX_COUNT)
    if not low <= chosen <= limit:
        raise ValueError(f"{op}: max_count: must be in {low}..{limit} for {dtype} counts, got {shown(chosen)}")
    return chosen


class Choice(Argument):
    """One of two names, which the kernels read as a bool, `part`: whether it is the first of them."""

    def __init__(self, name: str, known: tuple[str, str], part: str) -> None:
        self.names, self.known, self.parts = (name,), known, (f"bool {part}",)

    def canon(self, call: Call, value: Any) -> tuple[bool]:
        check_name(call.op, self.names[0], value, self.known)
        return (value == self.known[0],)

    def from_parts(self, *parts: Any) -> str:
        return self.known[0 if parts[0] else 1]
