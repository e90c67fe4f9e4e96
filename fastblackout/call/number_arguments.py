"""The kinds of arguments that are numbers: of a sample, of the whole call, and the key of its draws."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..backends.host import NO_PAIR
from ..ground.values import check_name, is_array, is_spread, is_tensor
from ..probability import Prob
from . import checks
from .arguments import Argument
from .call import Call
from .keys import late_key
from .probabilities import as_prob


class Numbers(Argument):
    """Numbers that stand beside the first array."""

    def read(self, call: Call, value: Any) -> Any:
        """The value, settled, whose shape is checked."""
        return call.numbers(self.names[0], value)


class Probability(Numbers):
    """A probability for each sample, as pairs (p, q = 1 - p).

    missing: how to get one, where None is no value. optional: the number 0 says that there is none.
    """

    def __init__(
        self, name: str, parts: tuple[str, str] = ("p", "q"), missing: str = "", optional: bool = False
    ) -> None:
        self.names, self.missing, self.optional = (name,), missing, optional
        self.parts = tuple(f"Tensor{'?' if optional else ''} {part}" for part in parts)

    def tensors(self, value: Any) -> list[Any]:
        return [part for part in (value if isinstance(value, Prob) else (value,)) if is_tensor(part)]

    def on_host(self, call: Call, value: Any) -> tuple[Any]:
        if self._is_none(call, value):
            return (NO_PAIR,)
        return (as_prob(self.read(call, value), call.samples, call.op, self.names[0]),)

    def as_parts(self, call: Call, value: Any) -> tuple[Any, ...]:
        from .tensors import pair_of

        if self._is_none(call, value):
            return NO_PAIR
        name, value = self.names[0], self.read(call, value)
        return pair_of(call.op, name, value, call.first.value, call.samples, call.backend)

    def from_parts(self, *parts: Any) -> Any:
        return 0.0 if parts[0] is None else Prob(*parts)

    def _is_none(self, call: Call, value: Any) -> bool:
        if self.missing:
            self.check_given(call, value, self.missing)
        return self.optional and isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0


class PerSample(Numbers):
    """A number for each sample, finite in `dtype` and at least `low` (above it where open_low).

    part: its name in the torch schema, where that is another. missing: how to get one, where None is no value. A Prob
    stands for its p. checked: False for what ops hand on to the op of their gradient: any number.
    """

    def __init__(
        self, name: str, dtype: str = "float32", low: float = -np.inf, open_low: bool = False, part: str = "",
        missing: str = "", checked: bool = True,
    ) -> None:  # fmt: skip
        self.names, self.parts, self.missing = (name,), (f"Tensor {part or name}",), missing
        self.dtype, self.low, self.open_low, self.checked = dtype, low, open_low, checked
        self.numpy_dtype = np.dtype(dtype).type  # a dtype takes longer to hash than its type

    def on_host(self, call: Call, value: Any) -> tuple[Any]:
        if not self.checked:
            return (np.ascontiguousarray(value.numpy() if is_tensor(value) else value),)
        name, value = self.names[0], self.read(call, value)
        made = checks.per_sample(call.op, name, value, call.samples, self.numpy_dtype, self.low, self.open_low)
        return (made,)

    def as_parts(self, call: Call, value: Any) -> tuple[Any]:
        from .tensors import per_sample

        name, value = self.names[0], self.read(call, value)
        dtype = getattr(sys.modules["torch"], self.dtype)
        return (per_sample(call.op, name, value, call.first.value, call.samples, dtype, self.low, self.open_low),)

    def read(self, call: Call, value: Any) -> Any:
        if self.missing:
            self.check_given(call, value, self.missing)
            value = value.p if isinstance(value, Prob) else value
        return super().read(call, value)


class Kept(PerSample):
    """Numbers (B, ...) that a loss leaves for its gradient, which takes them as they are."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "float64", checked=False)

    def as_parts(self, call: Call, value: Any) -> tuple[Any]:
        return (value,)


def takes_spread(argument: Argument, value: Any) -> bool:
    """Whether this is an argument of a number for each sample, and its value numbers that differ within one; or the
    largest count, and it is not one for all."""
    if isinstance(argument, MaxCount):
        return is_array(value)
    return isinstance(argument, Numbers) and is_spread(value)


class MaxCount(Numbers):
    """The largest count that the first argument may hold, at least `low`."""

    names = ("max_count",)
    parts = ("int max_count",)

    def __init__(self, low: int = 1) -> None:
        self.low = low

    def on_host(self, call: Call, value: Any) -> tuple[int]:
        made = checks.max_count_of(call.op, value, call.first.came_as or call.first.dtype, self.low)
        family, most = call.most
        if most is not None and made > most:
            raise ValueError(f"{call.op}: max_count: must be at most {most} for family {family!r}, got {made}")
        if call.states is not None and call.states != made + 1:
            rule = f"must have max_count + 1 = {made + 1} states in its last dimension for family {family!r}"
            raise ValueError(f"{call.op}: head: {rule}, got {call.states}")
        return (made,)


class Choice(Argument):
    """One of two names, which the kernels read as a bool, `part`: whether it is the first of them."""

    def __init__(self, name: str, known: tuple[str, str], part: str) -> None:
        self.names, self.known, self.parts = (name,), known, (f"bool {part}",)

    def on_host(self, call: Call, value: Any) -> tuple[bool]:
        check_name(call.op, self.names[0], value, self.known)
        return (value == self.known[0],)

    def from_parts(self, *parts: Any) -> str:
        return self.known[0 if parts[0] else 1]


class Key(Argument):
    """(rng, generator): what draws are keyed by. It is resolved last, so that a call that is refused draws no seed."""

    names = ("key",)
    parts = ("Tensor key",)

    def on_host(self, call: Call, value: Any) -> tuple[None]:
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
