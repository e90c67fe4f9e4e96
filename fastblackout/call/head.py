"""The head of a network that gives a law: one kind of argument, and the gradients by it, one kind of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..arrays import FLOATS, Array, adopt
from ..ground.values import check_name, shown
from .arguments import Argument, Call, has_samples, same_library, same_shape
from .numbers import MAX_COUNT, MaxCount
from .outputs import Outputs


class Family(NamedTuple):
    """A law of `posterior_loss` and `posterior_step`."""

    arrays: tuple[int, ...]  # how many its head may have
    largest_count: int = MAX_COUNT  # less for a law that sums over states


# A law is known to the kernels by its place here, which is its number in csrc/include/fastblackout/posterior_loss.h.
FAMILIES = {
    "beta-binomial": Family((2,)),
    "bayes-logistic": Family((2, 5, 8), largest_count=65_535),
    "negative-binomial": Family((2,)),
}
MOST_HEAD = max(max(law.arrays) for law in FAMILIES.values())  # kMostHead in csrc/include/fastblackout/ops.h


class Head(Argument):
    """(family, head): the name of a law, and the arrays of the shape of the first argument that it is made of."""

    names = fields = "family", "head"
    parts = ("int family", "Tensor head_0", *(f"Tensor? head_{at}" for at in range(1, MOST_HEAD)))
    arrays = (FLOATS,)
    laws = tuple((name, *law) for name, law in FAMILIES.items())

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        family, head = value
        check_name(call.op, "family", family, (*FAMILIES, "mean"))  # ops/posterior_loss.py has that
        has_samples(call.op, call.first_name, call.first)
        law = FAMILIES[family]
        rule = f"must be a tuple of {' or '.join(map(str, law.arrays))} arrays for family {family!r}"
        if not isinstance(head, (tuple, list)):
            raise TypeError(f"{call.op}: head: {rule}, got {shown(type(head).__name__)}")
        if len(head) not in law.arrays:
            raise ValueError(f"{call.op}: head: {rule}, got {len(head)}")
        arrays = [self._array(call, f"head[{at}]", each) for at, each in enumerate(head)]
        return list(FAMILIES).index(family), (*arrays, *[None] * (MOST_HEAD - len(head)))

    def from_parts(self, *parts: Any) -> Any:
        family, *head = parts
        return list(FAMILIES)[family], tuple(each for each in head if each is not None)

    def _array(self, call: Call, name: str, value: Any) -> Array:
        array = adopt(call.settle(name, value), call.op, name, FLOATS)
        same_shape(call.op, name, array, call.first_name, call.first)
        same_library(call.op, name, array, call.first_name, call.first)
        return array


class MaxCountOfHead(MaxCount):
    """The largest count of an op whose record has the head before it."""

    def canon(self, call: Call, value: Any) -> tuple[int]:
        (count,) = super().canon(call, value)
        family, law = list(FAMILIES.items())[call.record["family"]]
        if count > law.largest_count:
            rule = f"must be at most {law.largest_count} for family {family!r}"
            raise ValueError(f"{call.op}: max_count: {rule}, got {count}")
        return (count,)


class LikeHead(Outputs):
    """An output like each array of the head."""

    names = tuple(f"grad_{at}" for at in range(MOST_HEAD))
    schema = ", str backend) -> Tensor[]"

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = dict.fromkeys(self.names)
        return outputs | dict(zip(self.names, (array.empty_like() for array in call.arrays("head")), strict=False))

    def give(self, call: Call, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(array for array in values if array is not None)
