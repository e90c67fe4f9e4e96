"""The head of a network that gives a law: one kind of argument, and the gradients by it, one kind of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..arrays import FLOATS, Array, adopt
from ..ground.values import check_name, shown
from .arguments import Argument, Call, has_samples, same_library, same_shape
from .outputs import Outputs

# The laws of `posterior_loss` and `posterior_step`, each of two arrays. The kernels know a law by its place here, which
# is its number in csrc/include/fastblackout/posterior_loss.h.
FAMILIES = ("beta-binomial", "negative-binomial")
ARRAYS = 2  # kHeadArrays in csrc/include/fastblackout/ops.h


class Head(Argument):
    """(family, head): the name of a law, and the arrays of the shape of the first argument that it is made of."""

    names = fields = "family", "head"
    parts = "int family", "Tensor head_0", "Tensor head_1"

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        family, head = value
        check_name(call.op, "family", family, (*FAMILIES, "mean"))  # ops/posterior_loss.py has that
        has_samples(call.op, call.first_name, call.first)
        rule = f"must be a tuple of {ARRAYS} arrays for family {family!r}"
        if not isinstance(head, (tuple, list)):
            raise TypeError(f"{call.op}: head: {rule}, got {shown(type(head).__name__)}")
        if len(head) != ARRAYS:
            raise ValueError(f"{call.op}: head: {rule}, got {len(head)}")
        return FAMILIES.index(family), tuple(self._array(call, f"head[{at}]", array) for at, array in enumerate(head))

    def from_parts(self, *parts: Any) -> Any:
        family, *head = parts
        return FAMILIES[family], tuple(head)

    def _array(self, call: Call, name: str, value: Any) -> Array:
        array = adopt(call.settle(name, value), call.op, name, FLOATS)
        same_shape(call.op, name, array, call.first_name, call.first)
        same_library(call.op, name, array, call.first_name, call.first)
        return array


class LikeHead(Outputs):
    """An output like each array of the head."""

    names = tuple(f"grad_{at}" for at in range(ARRAYS))
    schema = ", str backend) -> Tensor[]"

    def make(self, call: Call, *request: Any) -> dict[str, Any]:
        return dict(zip(self.names, (array.empty_like() for array in call.arrays("head")), strict=True))

    def give(self, call: Call, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values)
