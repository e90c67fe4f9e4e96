"""The kinds of arguments that are numbers: of a sample, of the whole call, and the key of its draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ground.values import check_name, is_array, is_spread, is_tensor
from ..probability import Prob
from . import checks
from .arguments import Argument
from .call import NUMBERS, Call
from .keys import late_key
from .sample_numbers import Rule, on_host, pair_on_host

NUMBERS_OR_NONE = (*NUMBERS, type(None))


class Numbers(Argument):
    """Numbers that stand beside the first array. missing: how to get some, where None is no value."""

    missing = ""
    pair = False  # whether a Prob is taken whole

    def read(self, call: Call, value: Any) -> Any:
        """The value, settled, whose shape is checked."""
        if self.missing:
            self.check_given(call, value, self.missing)
            value = value.p if isinstance(value, Prob) and not self.pair else value
        return call.numbers(self.names[0], value)

    @staticmethod
    def differs(value: Any) -> bool:
        """Whether these are numbers that differ within a sample, which an op takes by its `spread`."""
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
            from .tensors import pair_of

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
            from .tensors import per_sample

            return (per_sample(call.op, name, value, call.first.value, call.samples, self.rule),)
        return (on_host(call.op, name, value, call.samples, self.rule),)


class Kept(Argument):
    """Numbers (B, ...) that a loss leaves for its gradient, which takes them as they are."""

    def __init__(self, name: str) -> None:
        self.names, self.parts = (name,), (f"Tensor {name}",)

    def canon(self, call: Call, value: Any) -> tuple[Any]:
        if call.through_torch:
            return (value,)
        return (np.ascontiguousarray(value.numpy() if is_tensor(value) else value),)


class MaxCount(Numbers):
    """The largest count that the first argument may hold, at least `low`."""

    names = ("max_count",)
    parts = ("int max_count",)
    differs = staticmethod(is_array)  # also of one number: the kernels take an integer

    def __init__(self, low: int = 1) -> None:
        self.low = low

    def canon(self, call: Call, value: Any) -> tuple[int]:
        made = checks.max_count_of(call.op, value, call.first.came_as or call.first.dtype, self.low)
        return (made,)


class Choice(Argument):
    """One of two names, which the kernels read as a bool, `part`: whether it is the first of them."""

    def __init__(self, name: str, known: tuple[str, str], part: str) -> None:
        self.names, self.known, self.parts = (name,), known, (f"bool {part}",)

    def canon(self, call: Call, value: Any) -> tuple[bool]:
        check_name(call.op, self.names[0], value, self.known)
        return (value == self.known[0],)

    def from_parts(self, *parts: Any) -> str:
        return self.known[0 if parts[0] else 1]


class Key(Argument):
    """(rng, generator): what draws are keyed by. It is resolved last, so that a call that is refused draws no seed."""

    names = ("key",)
    parts = ("Tensor key",)

    def canon(self, call: Call, value: Any) -> tuple[None]:
        """Keeps its place in the record, and notes that the op reads the key's memory; `resolve` gives the key."""
        call.settle("rng", value[0])
        return (None,)

    def resolve(self, call: Call, value: Any) -> Any:
        """The fb.Philox for the host, or the key's tensor, once nothing else can be wrong."""
        rng, generator = call.read["rng"], value[1]
        if call.through_torch:
            from .tensors import key_of

            return key_of(call.op, rng, generator, call.first.value, call.samples)
        key = late_key(rng, generator, call.op)
        checks.check_range(call.op, key, call.samples)
        return key

    def from_parts(self, *parts: Any) -> Any:
        return parts[0], None
