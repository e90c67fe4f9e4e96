"""The kinds of arguments that ops are declared with.

Each kind says in one place how a value is checked on the host, how it becomes tensors for a device or for torch's own
tracing, which words of the torch schema stand for it, and how those tensors become a value again. A kind takes one
value of a call, or a tuple of values that are checked together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import COUNTS, DTYPES, FLOATS, Array, adopt
from ..backends.host import NO_PAIR
from ..ground.values import check_name, is_tensor
from ..probability import Prob
from . import checks
from .call import Call
from .elements import element_arguments, element_tensors
from .keys import resolve_rng
from .probabilities import as_prob


class Argument:
    """names: what the record of a call calls it. parts: its words in the torch schema."""

    names: tuple[str, ...]
    parts: tuple[str, ...]

    def tensors(self, value: Any) -> list[Any]:
        """The torch tensors in a value."""
        return [value] if is_tensor(value) else []

    def on_host(self, call: Call, value: Any) -> tuple[Any, ...]:
        """The entries of the record that the host's kernels read, one for each of `names`."""
        raise NotImplementedError

    def as_parts(self, call: Call, value: Any) -> tuple[Any, ...]:
        """The value as the torch schema has it, one for each of `parts`, with tensors on the device of the call."""
        raise NotImplementedError

    def from_parts(self, *parts: Any) -> Any:
        """A value of this argument again."""
        return parts[0]

    def for_kernels(self, *parts: Any) -> tuple[Any, ...]:
        """What the kernels of a device take of the parts."""
        return parts

    def for_rows(self, *parts: Any) -> tuple[Any, ...]:
        """The parts of a call on arrays without dimensions, as one row of one element."""
        return tuple(part.reshape(1) if is_tensor(part) and part.ndim == 0 else part for part in parts)


class Counts(Argument):
    """Counts of any strides, whose dimension 0 is the sample. The first of an op says where and on how much it runs."""

    dtypes: Sequence[str] = COUNTS
    one_library = True  # with the first

    def __init__(self, name: str) -> None:
        self.names, self.parts = (name,), (f"Tensor {name}",)

    def on_host(self, call: Call, value: Any) -> tuple[Array]:
        (name,) = self.names
        array = adopt(call.settle(name, value), call.op, name, self.dtypes)
        if call.first is None:
            del call.read[name]
            call.begin(name, array)
        else:
            checks.same_shape(call.op, name, array, call.first_name, call.first)
            if self.one_library and array.is_tensor != call.first.is_tensor:
                kind = type(array.value).__name__
                raise TypeError(f"{call.op}: {name}: must be of the library of {call.first_name}, got {kind}")
        return (array,)

    def as_parts(self, call: Call, value: Any) -> tuple[Any]:
        return (self.on_host(call, value)[0].value,)


class Births(Counts):
    """Counts that may be expected ones, of any dtype."""

    dtypes = DTYPES
    one_library = False

    def as_parts(self, call: Call, value: Any) -> tuple[Any]:
        return (_same_tensor(call, self.names[0], value, self.dtypes),)


class Logits(Counts):
    """What a network gives."""

    dtypes = FLOATS

    def on_host(self, call: Call, value: Any) -> tuple[Array]:
        (array,) = super().on_host(call, value)
        if not array.shape:
            raise ValueError(f"{call.op}: {self.names[0]}: must have a batch dimension, got shape ()")
        return (array,)


class ExpectedBirths(Argument):
    """(logits, births): exactly one of the two, of the shape of the counts."""

    names = "logits", "births"
    parts = "Tensor? logits", "Tensor? births"
    dtypes = FLOATS, DTYPES

    def on_host(self, call: Call, value: Any) -> tuple[Any, ...]:
        self._check_one(call, value)
        made: list[Array | None] = []
        for name, each, dtypes in zip(self.names, value, self.dtypes, strict=True):
            made.append(None if each is None else adopt(call.settle(name, each), call.op, name, dtypes))
            if made[-1] is not None:
                checks.same_shape(call.op, name, made[-1], call.first_name, call.first)
        return tuple(made)

    def as_parts(self, call: Call, value: Any) -> tuple[Any, ...]:
        self._check_one(call, value)
        given = zip(self.names, value, self.dtypes, strict=True)
        return tuple(None if each is None else _same_tensor(call, name, each, dtypes) for name, each, dtypes in given)

    def from_parts(self, *parts: Any) -> Any:
        return parts

    def _check_one(self, call: Call, value: Any) -> None:
        logits, births = value
        if (logits is None) == (births is None):
            rule = "exactly one of logits and births must be given"
            raise TypeError(f"{call.op}: logits: {rule}, got {'none' if births is None else 'both'}")


class Probability(Argument):
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
        (name,) = self.names
        if self._is_none(call, value):
            return (NO_PAIR,)
        return (as_prob(call.settle(name, value), call.samples, call.op, name),)

    def as_parts(self, call: Call, value: Any) -> tuple[Any, ...]:
        from .tensors import pair_of

        (name,) = self.names
        if self._is_none(call, value):
            return NO_PAIR
        return pair_of(call.op, name, call.settle(name, value), call.first.value, call.samples, call.backend)

    def from_parts(self, *parts: Any) -> Any:
        return 0.0 if parts[0] is None else Prob(*parts)

    def _is_none(self, call: Call, value: Any) -> bool:
        if value is None and self.missing:
            raise TypeError(f"{call.op}: {self.names[0]}: must be given, {self.missing}, got None")
        return self.optional and isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0


class PerSample(Argument):
    """A number for each sample, finite in `dtype` and at least `low` (above it where open_low).

    part: its name in the torch schema, where that is another. missing: how to get one, where None is no value. A Prob
    stands for its p. checked: False where any number will do.
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
        name, value = self.names[0], call.settle(self.names[0], self._given(call, value) if self.missing else value)
        made = checks.per_sample(call.op, name, value, call.samples, self.numpy_dtype, self.low, self.open_low)
        return (made,)

    def as_parts(self, call: Call, value: Any) -> tuple[Any]:
        from .tensors import per_sample

        name, value = self.names[0], call.settle(self.names[0], self._given(call, value) if self.missing else value)
        dtype = getattr(sys.modules["torch"], self.dtype)
        return (per_sample(call.op, name, value, call.first.value, call.samples, dtype, self.low, self.open_low),)

    def _given(self, call: Call, value: Any) -> Any:
        if value is None:
            raise TypeError(f"{call.op}: {self.names[0]}: must be given, {self.missing}, got None")
        return value.p if isinstance(value, Prob) else value


class MaxCount(Argument):
    """The largest count that the first argument may hold."""

    names = ("max_count",)
    parts = ("int max_count",)

    def on_host(self, call: Call, value: Any) -> tuple[int]:
        return (checks.max_count_of(call.op, value, call.first.dtype),)

    as_parts = on_host


class Choice(Argument):
    """One of two names, which the kernels read as a bool, `part`: whether it is the first of them."""

    def __init__(self, name: str, known: tuple[str, str], part: str) -> None:
        self.names, self.known, self.parts = (name,), known, (f"bool {part}",)

    def on_host(self, call: Call, value: Any) -> tuple[bool]:
        check_name(call.op, self.names[0], value, self.known)
        return (value == self.known[0],)

    as_parts = on_host

    def from_parts(self, *parts: Any) -> str:
        return self.known[0 if parts[0] else 1]


class Key(Argument):
    """(rng, generator): what the draws are keyed by. It is resolved after all else: a refused call draws no seed."""

    names = ("key",)
    parts = ("Tensor key",)

    def on_host(self, call: Call, value: Any) -> tuple[None]:
        """Its place in the record, and that the op reads it."""
        call.settle("rng", value[0])
        return (None,)

    as_parts = on_host

    def resolve(self, call: Call, value: Any) -> Any:
        """The fb.Philox for the host, or the key's tensor, once nothing else can be wrong."""
        rng, generator = call.read["rng"], value[1]
        if call.through_torch:
            from .tensors import key_of

            return key_of(call.op, rng, generator, call.first.value, call.samples)
        key = resolve_rng(rng, generator, call.op)
        checks.check_range(call.op, key, call.samples)
        return key

    def from_parts(self, *parts: Any) -> Any:
        return parts[0], None


class Elements(Argument):
    """Arguments of an element-wise op that broadcast to one shape: a tuple of as many values as there are names.

    prob: the name of one that may be a Prob, whose p and q then take part, as the torch schema's "Tensor p, Tensor? q".
    """

    def __init__(self, dtypes: dict[str, Sequence[str]], prob: str = "") -> None:
        self.dtypes, self.prob = dtypes, prob
        plain = tuple(name for name in dtypes if name != prob)
        self.names = (*plain, "p", "q") if prob else plain
        self.parts = tuple(f"Tensor{'?' if name == 'q' else ''} {name}" for name in self.names)

    def tensors(self, value: Any) -> list[Any]:
        flat = [part for each in value for part in (each if isinstance(each, Prob) else (each,))]
        return [part for part in flat if is_tensor(part)]

    def on_host(self, call: Call, value: Any) -> tuple[Any, ...]:
        arrays = element_arguments(call.op, self._given(call, value))
        call.begin("arguments", arrays[0])
        return (*arrays, None)[: len(self.names)]

    def as_parts(self, call: Call, value: Any) -> tuple[Any, ...]:
        tensors = element_tensors(call.op, self._given(call, value))
        call.begin("arguments", Array(tensors[0], call.op, "arguments"))
        return (*tensors, None)[: len(self.names)]

    def from_parts(self, *parts: Any) -> Any:
        if not self.prob:
            return parts
        *plain, p, q = parts
        return (*plain, p if q is None else Prob(p, q))

    def _given(self, call: Call, value: Any) -> dict[str, tuple[Any, Sequence[str]]]:
        given: dict[str, tuple[Any, Sequence[str]]] = {}
        for (name, dtypes), each in zip(self.dtypes.items(), value, strict=True):
            if name == self.prob and isinstance(each, Prob):
                for side, part in zip("pq", each, strict=True):
                    given[f"{name}.{side}"] = call.settle(f"{name}.{side}", part), ("float64",)
            else:
                given[name] = call.settle(name, each), dtypes
        return given


def _same_tensor(call: Call, name: str, value: Any, dtypes: Sequence[str]) -> Any:
    """A tensor of the shape and on the device of the first argument, without its history."""
    array = adopt(call.settle(name, value), call.op, name, dtypes)
    if not array.is_tensor:
        kind = type(value).__name__
        raise TypeError(f"{call.op}: {name}: must be a torch tensor like the other argument, got {kind}")
    checks.same_shape(call.op, name, array, call.first_name, call.first)
    return array.value.detach()
