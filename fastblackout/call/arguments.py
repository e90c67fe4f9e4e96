"""The kinds of arguments that ops are declared with, and here those that are arrays.

Each kind says in one place how a value is checked, and which fields for the kernels it becomes. It also says what the
torch schema calls these fields, and how they become a value again. A kind takes one value of a call, or a tuple of
values that are checked together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import COUNTS, DTYPES, FLOATS, Array, adopt
from ..ground.values import is_tensor
from ..probability import Prob
from . import checks
from .call import Call
from .copied_counts import adopt_counts
from .elements import element_arguments

MOST_DRAWS = 8  # as in csrc/include/fastblackout/energy_loss.h


def detached(call: Call, array: Array) -> Array:
    """An array of which no gradient is asked, for torch; the host's kernels read any."""
    if call.through_torch:
        array.value = array.value.detach()
    return array


class Argument:
    """names: what callers and errors call its values. parts: its words in the torch schema, which end in its fields."""

    names: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def fields(self) -> Sequence[str]:
        """The names of what kernels read. The last may be a tuple of several parts."""
        return [part.split()[-1] for part in self.parts]

    def from_schema(self, parts: Sequence[Any]) -> Sequence[Any]:
        """The fields, of the parts that torch's dispatcher hands over."""
        last = len(self.fields) - 1
        return parts if len(parts) == last + 1 else (*parts[:last], tuple(parts[last:]))

    def tensors(self, value: Any) -> list[Any]:
        """The torch tensors in a value."""
        return [value] if is_tensor(value) else []

    def check_given(self, call: Call, value: Any, missing: str) -> None:
        """TypeError for None. missing: how to get a value."""
        if value is None:
            raise TypeError(f"{call.op}: {self.names[0]}: must be given, {missing}, got None")

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        """What kernels read, one for each of `fields`: Arrays, numbers, None for what is left out; numbers of
        samples are NumPy (B,), checked, or where call.through_torch tensors on the device."""
        raise NotImplementedError

    def from_parts(self, *parts: Any) -> Any:
        """A value of this argument again."""
        return parts[0]

    def for_rows(self, *parts: Any) -> tuple[Any, ...]:
        """The parts of a call on arrays without dimensions, as one row of one element."""
        return tuple(part.reshape(1) if is_tensor(part) and part.ndim == 0 else part for part in parts)


class Counts(Argument):
    """Counts of any strides, whose dimension 0 is the sample. The first of an op says where and on how much it runs."""

    dtypes: Sequence[str] = COUNTS
    one_library = True  # with the first

    def __init__(self, name: str) -> None:
        self.names, self.parts = (name,), (f"Tensor {name}",)

    def canon(self, call: Call, value: Any) -> tuple[Array]:
        name, first = self.names[0], call.first
        if first is None and type(value) is np.ndarray:  # nothing to settle
            array = adopt_counts(value, call.op, name, self.dtypes)
        else:
            array = adopt_counts(call.settle(name, value), call.op, name, self.dtypes)
        if first is None:
            call.begin(name, array)
        else:
            if call.through_torch and not self.one_library:
                checks.check_tensor(call.op, name, array, value)
            checks.same_shape(call.op, name, array, call.first_name, call.first)
            if self.one_library:
                checks.same_library(call.op, name, array, call.first_name, call.first)
        return (array,)


class Births(Counts):
    """Counts that may be expected ones, of any dtype, or the logits of such."""

    one_library = False

    def __init__(self, name: str, dtypes: Sequence[str] = DTYPES) -> None:
        super().__init__(name)
        self.dtypes = dtypes

    def canon(self, call: Call, value: Any) -> tuple[Array]:
        (array,) = super().canon(call, value)
        return (detached(call, array),)


class Logits(Counts):
    """What a network gives."""

    dtypes = FLOATS

    def canon(self, call: Call, value: Any) -> tuple[Array]:
        (array,) = super().canon(call, value)
        checks.has_samples(call.op, self.names[0], array)
        return (array,)


class Draws(Argument):
    """What a network gives for the same samples several times: 2..8 draws, each of the shape of the first argument."""

    def __init__(self, name: str) -> None:
        self.names, self.parts = (name,), (f"Tensor {name}",)

    def canon(self, call: Call, value: Any) -> tuple[Array]:
        name, first = self.names[0], call.first
        array = adopt(call.settle(name, value), call.op, name, FLOATS)
        checks.has_samples(call.op, call.first_name, first)
        if array.shape[1:] != first.shape or not 2 <= array.shape[0] <= MOST_DRAWS:
            rule = f"shape must be (S, *shape of {call.first_name}), S in 2..{MOST_DRAWS}, (S, {str(first.shape)[1:]}"
            raise ValueError(f"{call.op}: {name}: {rule}, got {array.shape}")
        checks.same_library(call.op, name, array, call.first_name, first)
        checks.same_device(call.op, name, array, call.first_name, first)
        return (array,)


class ExpectedBirths(Argument):
    """(logits, births): exactly one of the two, of the shape of the counts."""

    names = "logits", "births"
    parts = "Tensor? logits", "Tensor? births"
    kinds = Births("logits", FLOATS), Births("births")

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        logits, births = value
        if (logits is None) == (births is None):
            rule = "exactly one of logits and births must be given"
            raise TypeError(f"{call.op}: logits: {rule}, got {'none' if births is None else 'both'}")
        at = 0 if births is None else 1
        (made,) = self.kinds[at].canon(call, value[at])
        return (made, None) if at == 0 else (None, made)

    def from_parts(self, *parts: Any) -> Any:
        return parts


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

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        arrays = element_arguments(call.op, self._given(call, value))
        call.begin("arguments", arrays[0])
        return (*arrays, None)[: len(self.names)]

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


class Categories(Elements):
    """Counts, and weights of categories along a last axis, whose other axes broadcast with the counts.

    For ops that are made of others (composed.py): torch knows none that takes them.
    """

    def canon(self, call: Call, value: Any) -> tuple[Array, Array]:
        """The counts (...), and the weights (..., K)."""
        (count_name, counts), (name, floats) = self.dtypes.items()
        count, given = value
        weights = adopt(call.settle(name, given), call.op, name, floats)
        checks.has_categories(call.op, name, weights.shape)
        each = {count_name: (call.settle(count_name, count), counts), name: (weights.value[..., 0], floats)}
        array, column = element_arguments(call.op, each)
        if weights.is_tensor:
            spread = weights.value.detach().expand(*column.shape, weights.shape[-1])
        else:
            spread = np.broadcast_to(weights.value, (*column.shape, weights.shape[-1]))
        call.begin("arguments", array)
        checks.size_of(call.op, name, weights := weights.like(spread))
        return array, weights
