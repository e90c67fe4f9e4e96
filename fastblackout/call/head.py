"""The head of a network that gives a law: one kind of argument, and the gradients by it, one kind of outputs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ..arrays import FLOATS, Array, adopt
from ..ground.values import check_name, shown
from . import checks
from .arguments import Argument
from .call import Call
from .outputs import Outputs

# The laws, and how many arrays the head of each may have. A law is known to the kernels by its place here, which is its
# number in csrc/include/fastblackout/posterior_loss.h.
FAMILIES: dict[str, tuple[int, ...]] = {
    "beta-binomial": (2,),
    "bayes-logistic": (2, 5, 8),
    "negative-binomial": (2,),
}
# The largest max_count of a law that sums over states
MOST_COUNT = {"bayes-logistic": 65_535}
MOST_HEAD = max(max(counts) for counts in FAMILIES.values())  # kMostHead in csrc/include/fastblackout/ops.h


class Head(Argument):
    """(family, head): the name of a law, and the arrays of the shape of the first argument that it is made of."""

    names = ("family", *(f"head_{at}" for at in range(MOST_HEAD)))
    parts = ("int family", "Tensor head_0", *(f"Tensor? head_{at}" for at in range(1, MOST_HEAD)))

    def on_host(self, call: Call, value: Any) -> tuple[Any, ...]:
        family, head = value
        check_name(call.op, "family", family, tuple(FAMILIES))
        checks.has_samples(call.op, call.first_name, call.first)
        counts = FAMILIES[family]
        rule = f"must be a tuple of {' or '.join(map(str, counts))} arrays for family {family!r}"
        if not isinstance(head, (tuple, list)):
            raise TypeError(f"{call.op}: head: {rule}, got {shown(type(head).__name__)}")
        if len(head) not in counts:
            raise ValueError(f"{call.op}: head: {rule}, got {len(head)}")
        call.head = tuple(self._array(call, f"head[{at}]", each) for at, each in enumerate(head))
        call.most = family, MOST_COUNT.get(family)
        return (list(FAMILIES).index(family), *call.head, *[None] * (MOST_HEAD - len(head)))

    def from_parts(self, *parts: Any) -> Any:
        family, *head = parts
        return list(FAMILIES)[family], tuple(each for each in head if each is not None)

    def _array(self, call: Call, name: str, value: Any) -> Array:
        array = adopt(call.settle(name, value), call.op, name, FLOATS)
        checks.same_shape(call.op, name, array, call.first_name, call.first)
        checks.same_library(call.op, name, array, call.first_name, call.first)
        return array


class LikeHead(Outputs):
    """An output like each array of the head, the third argument of the registered op and those that follow it."""

    names = tuple(f"grad_{at}" for at in range(MOST_HEAD))
    schema = ", str backend) -> Tensor[]"

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        made: dict[str, Any] = dict.fromkeys(self.names)
        return made | dict(zip(self.names, (array.empty_like() for array in call.head), strict=False))

    def empty(self, arguments: Sequence[Any]) -> dict[str, Any]:
        like = sys.modules["torch"].empty_like
        head = arguments[2 : 2 + MOST_HEAD]
        return {name: None if each is None else like(each) for name, each in zip(self.names, head, strict=True)}

    def give(self, call: Call, made: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(array for array in made if array is not None)

    def returned(self, made: dict[str, Any]) -> list[Any]:
        return [tensor for tensor in made.values() if tensor is not None]
