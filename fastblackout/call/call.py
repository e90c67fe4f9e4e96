"""What one call of an op knows while its arguments are checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array
from ..ground.values import aligned, is_tensor, settled, shape_of
from ..philox import Philox
from ..probability import Prob
from . import checks
from .declared import WITHIN

NUMBERS = (float, int)  # types of values that are one number for all samples
_PLAIN = (float, int, np.ndarray, Philox, type(None))  # of most values: there is nothing to settle


class Call:
    """A call of the op named `op`. The first array among its arguments says how many samples there are.

    through_torch: its arguments become tensors, for a device or for torch's own tracing. traced: torch traces it, so
    that no value of a tensor may be looked at.
    record: the fields that kernels and twins read, by name, in their order.
    read: what the op reads beside its first array, by argument: no output may lie in its memory.
    """

    first: Any = None
    first_name = ""
    samples = elements = 1
    one = False  # whether one matrix serves all samples
    into: Array | None = None  # the `out` that the output is copied to

    def __init__(self, op: str, backend: str, through_torch: bool = False, traced: bool = False) -> None:
        self.op, self.backend, self.through_torch, self.traced = op, backend, through_torch, traced
        self.read: dict[str, Any] = {}
        self.record: dict[str, Any] = {}

    def arrays(self, field: str) -> list[Array]:
        """Those of a field, which torch's dispatcher hands over as tensors."""
        value = self.record.get(field)
        values = value if type(value) is tuple else (value,)
        return [each if type(each) is Array else Array(each, self.op, field) for each in values if each is not None]

    def begin(self, name: str, array: Array) -> None:
        """Takes the first array, in whose memory an output may lie."""
        self.read.pop(name, None)
        self.first, self.first_name = array, name
        self.samples, self.elements = checks.size_of(self.op, name, array)

    def numbers(self, name: str, value: Any) -> Any:
        """`settle` of an argument of numbers, of a shape that stands beside the first array."""
        value = self.settle(name, value)
        if type(value) not in NUMBERS:
            each = {f"{name}.p": value.p, f"{name}.q": value.q} if isinstance(value, Prob) else {name: value}
            for part, numbers in each.items():
                given = shape_of(numbers)
                aligned(self.op, part, given, self.first_name, self.first.shape, self.op in WITHIN)
        return value

    def settle(self, name: str, value: Any) -> Any:
        """An argument whose tensors hold their values in memory, where the kernels read them."""
        kind = type(value)
        if kind not in _PLAIN and not self.traced:
            if kind is Prob:
                if type(value.p) not in _PLAIN or type(value.q) not in _PLAIN:
                    value = Prob(self.settle(f"{name}.p", value.p), self.settle(f"{name}.q", value.q))
            elif is_tensor(value):
                value = settled(self.op, name, value)
        self.read[name] = value
        return value
