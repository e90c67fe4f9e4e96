"""Arguments that are numbers, of a sample or of the whole call, the rules they follow, and what they are made into.

On the host numbers of samples become NumPy (B,). For a device they become tensors on it: values on the host are checked
then, those on a device are not read.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from ..arrays import is_traced, repeated, to_device
from ..backends import select
from ..backends.float_mode import default_floats
from ..ground.persistent import is_capturing, persistent
from ..ground.values import (
    as_float,
    check_name,
    check_real_tensor,
    is_array,
    is_integer,
    is_spread,
    is_tensor,
    one_a_sample,
    real_array,
    shown,
)
from ..probability import SUM_TOLERANCE, Prob, check_sum
from .arguments import NUMBERS, Argument, Call
from .elements import FLOAT32_MAX, filled

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor


_FLOAT32_END = (2.0 - 2.0**-24) * 2.0**127  # rounds to infinity


class Rule(NamedTuple):
    """What a number must be, once it has the dtype: finite, and at least `low` or above it; or in [0, 1]."""

    dtype: str = "float64"
    low: float = -math.inf
    open_low: bool = False
    unit: bool = False
    forms: str = "a number or an array or list of real numbers"

    def right(self, numbers: Any) -> Any:
        """Bools; False for NaN."""
        if self.unit:
            return (numbers >= 0.0) & (numbers <= 1.0)
        return (numbers > self.low if self.open_low else numbers >= self.low) & np.isfinite(numbers)

    def holds(self, number: float) -> bool:
        """`right` of a float, unless that is in [0, 1], without NumPy, whose rounding torch.compile does not know."""
        end = _FLOAT32_END if self.dtype == "float32" else math.inf
        return -end < number < end and (number > self.low if self.open_low else number >= self.low)

    def refuse(self, op: str, argument: str, value: float, where: str = "") -> NoReturn:
        bound = "" if self.low == -math.inf else f" and {'above' if self.open_low else 'at least'} {self.low:g}"
        rule = "must be in [0, 1]" if self.unit else f"must be finite{bound}"
        raise ValueError(f"{op}: {argument}: {rule}, got {value!r}{where}")


FINITE = Rule()
UNIT = Rule(unit=True, forms="a fb.Prob, a number or an array or list of real numbers")


def on_host(op: str, argument: str, value: Any, samples: int, rule: Rule = FINITE) -> NDArray[Any]:
    """Numbers as an array (samples,) of the rule's dtype, contiguous or `repeated`.

    value: as in ground.values.real_array, of a shape of ground.values.one_a_sample.
    """
    return _for_each(_checked(op, argument, value, samples, rule), samples)


def pair_on_host(op: str, argument: str, value: Any, samples: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(p, q) as `on_host` makes numbers.

    value: a Prob, or p alone (then q = 1 - p in float64). ValueError also for a pair with p + q other than 1.
    """
    if isinstance(value, Prob):
        p, q = (_checked(op, f"{argument}.{side}", part, samples, UNIT) for side, part in zip("pq", value, strict=True))
        check_sum(op, argument, p, q)
    else:
        p = _checked(op, argument, value, samples, UNIT)
        q = 1.0 - p
    return _for_each(p, samples), _for_each(q, samples)


def _for_each(array: NDArray[Any], samples: int) -> NDArray[Any]:
    return array if array.shape else repeated(np.array(array), samples)


@default_floats
def _checked(op: str, argument: str, value: Any, samples: int, rule: Rule) -> NDArray[Any]:
    """(samples,) or ()."""
    if type(value) is float and (0.0 <= value <= 1.0 if rule.unit else rule.holds(value)):
        return np.array(value, rule.dtype)  # what most are
    array = one_a_sample(op, argument, real_array(op, argument, value, rule.forms), samples)
    if not rule.unit:
        with np.errstate(over="ignore"):
            array = array.astype(rule.dtype)
    right = rule.right(array)
    if not right.all():
        sample = int(right.argmin())
        rule.refuse(op, argument, float(array.flat[sample]), f" at sample {sample}" if array.shape else "")
    if rule.unit and array.shape and array.strides != (0,):
        return np.require(array, np.float64, ("C", "A"))  # NumPy knows arrays at addresses that no double may have
    return np.require(array, rule.dtype, "A")


NUMBERS_OR_NONE = (*NUMBERS, type(None))
MAX_COUNT = 1 << 53  # integers above are not all float64
_LARGEST = {"uint8": 255, "int16": (1 << 15) - 1, "int32": (1 << 31) - 1, "int64": (1 << 63) - 1}
_LARGEST |= {"uint16": (1 << 16) - 1, "uint32": (1 << 32) - 1, "float32": 1 << 24, "float64": 1 << 53}


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
        name, value = self.names[0], value if type(value) in NUMBERS else self.read(call, value)
        if call.through_torch:
            return pair_of(call.op, name, value, call.first.value, call.samples, call.backend)
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
        name, value = self.names[0], value if type(value) in NUMBERS else self.read(call, value)
        if call.through_torch:
            return (per_sample(call.op, name, value, call.first.value, call.samples, self.rule),)
        return (on_host(call.op, name, value, call.samples, self.rule),)


class KeptNumbers(Argument):
    """Numbers (B, ...) that a loss leaves for its gradient, which takes them as they are."""

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


def _on_device(array: np.ndarray, device: Any) -> Tensor:
    """A per-sample parameter, dense."""
    import torch

    return to_device(torch.from_numpy(np.require(array, requirements=("C", "W"))), device)


def pair_of(op: str, argument: str, value: Any, like: Tensor, samples: int, backend: str) -> tuple[Tensor, Tensor]:
    """(p, q) as float64 (samples,) on the device of `like`.

    One number for all samples stays one, expanded, where Triton runs: its kernels then build one table.
    """
    import torch

    traced, pair = is_traced(like), isinstance(value, Prob)
    expanded = not traced and select.select(op, backend, like.device.type, like.numel()) == "triton"
    parts = tuple(value) if pair else (value,)
    if not all(_is_number(part) or (is_tensor(part) and part.device == like.device) for part in parts):
        if not traced:
            here = pair_on_host(op, argument, value, samples)
            return _on_device(here[0], like.device), _on_device(here[1], like.device)
        parts = tuple(_as_constant(op, argument, part, like) for part in parts)
    elif not any(is_tensor(part) for part in parts):
        numbers = [as_float(op, argument, part) for part in parts]
        if not all(0.0 <= number <= 1.0 for number in numbers):
            UNIT.refuse(op, argument, value)
        if pair and not abs(numbers[0] + numbers[1] - 1.0) <= SUM_TOLERANCE:
            check_sum(op, argument, *map(np.asarray, numbers))  # which says so
    sides = []
    for side, part in enumerate(parts):
        full_name = f"{argument}.{'pq'[side]}" if pair else argument
        if not is_tensor(part):
            part = _filled(as_float(op, full_name, part), 1 if expanded else samples, torch.float64, like)
            part = part[0] if expanded else part
        check_real_tensor(op, full_name, part)
        sides.append(_expanded(op, full_name, part.double(), samples, not expanded))
    return (sides[0], sides[1]) if pair else (sides[0], 1.0 - sides[0])


def per_sample(op: str, argument: str, value: Any, like: Tensor, samples: int, rule: Rule = FINITE) -> Tensor:
    """Numbers as (samples,) of the rule's dtype on the device of `like`."""
    import torch

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
    if is_tensor(value) and value.device == like.device:
        check_real_tensor(op, argument, value)
        return _expanded(op, argument, value.detach().to(dtype), samples)
    return _on_device(on_host(op, argument, value, samples, rule), like.device)


def as_constant(array: NDArray[Any], like: Tensor) -> Tensor:
    """A NumPy array as a constant of the graph, on the device of `like`: a copy, for the array may change later."""
    import torch

    # torch.compile has made a tensor of the array already; elsewhere as_tensor would share its memory.
    return (torch.as_tensor if torch.compiler.is_compiling() else torch.tensor)(array, device=like.device)


def _as_constant(op: str, argument: str, value: Any, like: Tensor) -> Any:
    """What a traced op is given, as a tensor on its device: values of the host become constants of the graph."""
    if _is_number(value):
        return value
    if is_tensor(value):
        return value.to(like.device)
    import torch

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
    import torch

    return persistent("arguments", "a call", device, lambda: torch.full((samples,), value, dtype=dtype, device=device))
