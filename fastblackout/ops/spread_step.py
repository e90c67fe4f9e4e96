"""A call of thin or of a reverse step whose numbers differ within a sample: its arguments, checked, and results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import COUNTS, DTYPES, Array
from ..call import checks
from ..call.arguments import Elements
from ..call.call import Call
from ..call.composed import Composed, DrawKeys
from ..call.copied_counts import as_it_came
from ..call.operation import Operation
from ..ground.values import is_array, is_number, is_tensor, place_of
from ..philox import Philox
from ..probability import Prob
from ..reference.elements import checked_counts
from .binomial import binomial
from .birth_loss import birth_loss
from .spread_values import FLOAT32_MAX, as_type, beside, births_inside, dense, logits_inside, mask_of, where


def no_draw(rng: Any) -> tuple[Any, None]:
    """The key of a call that draws nothing, or whose draw is left: a tensor where the caller's is, for torch.vmap."""
    return (rng if is_tensor(rng) else Philox(0)), None


class Number(NamedTuple):
    """An argument that may differ within a sample, and what its values must be."""

    value: Any
    rule: str = "must be in [0, 1]"
    least: float = 0.0
    most: float = 1.0


def of_input(center_and_scale: Sequence[Any]) -> dict[str, Number]:
    limits = "must be finite in float32", -FLOAT32_MAX, FLOAT32_MAX
    return {name: Number(each, *limits) for name, each in zip(("center", "scale"), center_and_scale, strict=True)}


def probability(name: str, value: Any) -> dict[str, Number]:
    if isinstance(value, Prob):
        return {f"{name}.p": Number(value.p), f"{name}.q": Number(value.q)}
    return {name: Number(value)}


class Step:
    """A call of an op: its counts x and `numbers`, checked, in one shape. inside: x, but 0 where the mask is false.

    most: the largest count of all, as the op takes it, where max_count may differ within a sample.
    """

    def __init__(
        self, op: Operation, counts: Any, max_count: Any, how: Sequence[Any], numbers: dict[str, Number]
    ) -> None:
        request, self.backend, mask = how
        outputs, input_dtype, out = request
        self.op = op
        self.first, self.changed = op.arguments[0].names[0], op.outputs.names[0]
        bounds = {"max_count": max_count} if is_array(max_count) else {}
        values = {**{name: number.value for name, number in numbers.items()}, **bounds}
        self.given = dense(op.op, self.first, counts)
        given = {name: beside(op.op, name, value, self.given.value, self.first) for name, value in values.items()}
        arguments = Elements({self.first: COUNTS, **dict.fromkeys(given, DTYPES)})
        self.mask = None if mask is None else mask_of(op.op, mask, self.given, self.first)
        self.floats = self.given.dtype.startswith("float")
        if self.floats:  # what is no count may be NaN
            counts = self.keep(self.given.value, 0)
        self.call = Composed(op.op, op.op, self.backend, arguments, [counts, *given.values()])
        self.x, *arrays = self.call.arrays
        self.numbers = dict(zip(given, arrays, strict=True))
        for name, number in numbers.items() if self.call.values_are_here else ():  # as given: they may be few
            value = np.asarray(given[name]) if is_number(given[name]) else given[name]
            self.call.check_floats(name, Array(value, op.op, name), number.rule, number.most, number.least)
            if name.endswith(".q"):
                self.call.check_pairs(name[:-2], self.numbers[f"{name[:-2]}.p"], self.numbers[name])
        if out is not None:
            rule = "must be None with a mask, or with numbers that differ within a sample"
            raise TypeError(f"{op.op}: out: {rule}, got {type(out).__name__}")
        asked = Call(op.op, self.backend, through_torch=True)
        asked.first = self.x
        self.names, dtypes = op.outputs.wanted(asked, outputs, input_dtype)  # type: ignore[attr-defined]
        self.input_dtype = dtypes["model_input"]
        self.inside = self.keep(self.x.value, 0)
        self.bounds = _Bounds(self, Array(given["max_count"], op.op, "max_count")) if bounds else None
        self.most = max_count if self.bounds is None else self.bounds.most

    def keep(self, value: Any, other: Any) -> Any:
        """value where the mask is true, the other where it is not."""
        return value if self.mask is None else where(self.mask, value, other)

    def births_inside(self, logits: Any, births: Any) -> tuple[Any, Any]:
        """What a network gives, with no births where the mask is false."""
        if self.mask is None:
            return logits, births
        op, known, like = self.op.op, self.mask, (self.first, self.x)
        return (
            None if logits is None else logits_inside(op, known, logits, like),
            None if births is None else births_inside(op, known, births, like),
        )

    def expected(self, logits: Any) -> Any:
        """gain * softplus(logits), with the gain of each element, to the bit as the op makes it of one gain a sample.

        softplus is the loss of a sample of one element without births.
        """
        array, gain = Array(logits, self.op.op, "logits"), as_type(self.numbers["gain"].value, "float32")
        if array.is_tensor:
            value = array.value.detach().reshape(-1, 1)
            none = value.new_zeros((1, 1), dtype=sys.modules["torch"].uint8).expand(value.shape)
        else:
            value = array.value.reshape(-1, 1)
            none = np.broadcast_to(np.uint8(0), value.shape)
        soft = birth_loss(value, none, 1.0, backend=self.backend).reshape(array.shape)
        if array.is_tensor != self.x.is_tensor:  # both on the host
            soft = soft.numpy() if array.is_tensor else sys.modules["torch"].from_numpy(soft)
        if self.x.is_tensor:
            return (gain * soft).clamp(max=FLOAT32_MAX)
        with np.errstate(over="ignore"):
            return np.minimum(gain * soft, np.float32(FLOAT32_MAX))

    def run(self, *values: Any, bounded: bool = True) -> Any:
        """The new counts of `run_whole`."""
        return self.run_whole(*values, bounded=bounded)[0]

    def run_whole(self, *values: Any, bounded: bool = True) -> tuple[Any, Any]:
        """The op on what lies inside the mask: its new counts, and all its results, but of counts as the op takes them.

        values: its arguments but these and its input's. bounded: whether births are cut off at the max_count of each
        element.
        """
        counts = self.inside if self.bounds is None else self.bounds.raised(self.inside, bounded)
        made = self.op((counts, *values, 0.0, 1.0), ((self.changed,), "float32", None), self.backend)
        new = getattr(made, self.changed)
        return new if self.bounds is None else self.bounds.lowered(new, bounded), made

    def room(self) -> Any:
        """max_count - x, an array of int64."""
        most = checks.max_count_of(self.op.op, self.most, self.x.came_as or self.x.dtype, low=0)
        return (most if self.bounds is None else self.bounds.each) - as_type(self.inside, "int64")

    def binomial(self, count: Any, name: str, keys: DrawKeys, number: int) -> Any:
        """Binomial draws with the probabilities `name`, which may be a pair."""
        p = self.numbers.get(name)
        prob = Prob(*(_real(self.numbers[f"{name}.{side}"]) for side in "pq")) if p is None else _real(p)
        return binomial(count, prob, rng=keys.of(number), backend=self.backend)

    def results(self, new: Any, **others: Any) -> Any:
        """The outputs asked for, of new counts. others: parts of the op's result that are no such outputs."""
        births = self.inside - new
        new = new if self.floats else self.keep(new, self.x.value)
        if self.x.came_as:
            births, new = as_it_came(births, self.x), as_it_came(new, self.x)
        new = self.keep(new, self.given.value) if self.floats else new
        made: dict[str, Any] = {self.changed: new, "births": births}
        if "model_input" in self.names:
            made["model_input"] = self._model_input(new)
        return self.op.outputs.result(**{name: self.given.like(made[name]).give() for name in self.names}, **others)

    def _model_input(self, new: Any) -> Any:
        x, center, scale = (as_type(v, "float32") for v in (new, *(self.numbers[n].value for n in ("center", "scale"))))
        if self.x.is_tensor:
            return as_type((x - center) * scale, self.input_dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            return as_type((x - center) * scale, self.input_dtype)


class _Bounds:
    """A largest count for each element of a step.

    The op takes one, M, at least all of them. Counts whose own, m, is lower are raised by M - m for the call, so that
    the room above them is the same, and lowered again afterwards. most: M. each: the m, int64, in the
    shape they were given in.
    """

    def __init__(self, step: Step, bounds: Array) -> None:
        op, x = step.op.op, step.x
        self.here, self.dtype = step.call.values_are_here, x.dtype
        self.most = limit = min(checks.largest(x.came_as or x.dtype), checks.MAX_COUNT)
        if self.here:
            each = checked_counts(bounds.numpy(), op, "max_count", limit).reshape(bounds.shape)
            self.most = int(each.max(initial=0))
            counts = x.like(step.inside).numpy()
            wrong = (counts < 0) | (counts > each)
            if wrong.any():
                most = np.broadcast_to(each, x.shape)[wrong][0]
                rule = f"must be whole numbers in 0..max_count, which is {most} there"
                raise ValueError(f"{op}: {step.first}: {rule}, got {counts[wrong][0]}{place_of(wrong)}")
        self.each = as_type(bounds.value, "int64")
        self.as_taken = self.dtype if self.here or self.dtype != "uint8" else "int16"  # which holds -1
        self.up = as_type(self.most - self.each, self.as_taken)

    def raised(self, counts: Any, bounded: bool) -> Any:
        """The counts as the op takes them. On a device wrong ones become -1, which its kernels flag."""
        if self.here:
            return counts + self.up if bounded else counts
        counts = as_type(counts, self.as_taken)
        return where((counts >= 0) & (counts <= self.each), counts + self.up if bounded else counts, -1)

    def lowered(self, new: Any, bounded: bool) -> Any:
        return as_type(new - self.up if bounded else new, self.dtype)


def _real(array: Array) -> Any:
    """Its values in a float dtype."""
    return as_type(array.value, "float64") if array.dtype in COUNTS else array.value
