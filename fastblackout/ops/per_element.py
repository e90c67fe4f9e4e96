"""thin and the reverse steps with numbers that differ within a sample, or with a mask.

Their kernels take one number for each sample, and one max_count. What differs within a sample is made of several draws
instead: of the op's own, of fb.binomial's or fb.poisson's with a number for each element, and of arithmetic that rounds
alike everywhere, so that what the ops promise holds: exact laws, and equal keys give equal results on every backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS, DTYPES, Array, adopt_settled, is_traced
from ..call.arguments import COPIED, NUMBERS, ExpectedBirths, as_it_came
from ..call.elements import FLOAT32_MAX, Composed, DrawKeys, Elements, as_type, broadcastable, mask_of, where
from ..call.foreign import by_tensors, cells_of, foreign_of
from ..call.numbers import MAX_COUNT, largest, max_count_of
from ..call.operation import Operation
from ..ground.values import as_float, is_array, is_number, is_spread, is_tensor, place_of, real_array
from ..philox import Philox
from ..probability import Prob, check_sum
from ..reference.philox import Stream
from ..reference.rows import checked_counts, checked_floats
from .binomial import binomial
from .birth_loss import NO_BIRTHS, birth_loss
from .poisson import poisson

if TYPE_CHECKING:
    from ..typing import Backend

Values = Sequence[Any]
Limits = dict[str, tuple[str, float, float]]  # of numbers, by name: a rule, the largest and the least that they may be

_PROBABILITY = "must be in [0, 1]", 1.0, 0.0
_MAX_RATE = 2.0**52  # of fb.poisson
_RATE = "must be in 0..2^52", _MAX_RATE, 0.0
_GAIN = "must be finite and at least 0", FLOAT32_MAX, 0.0
_INPUT = "must be finite in float32", FLOAT32_MAX, -FLOAT32_MAX
# What the op takes in the place of a number of each element, which is applied to its draw.
_NEUTRAL = {"alive": 1.0, "step": 1.0, "attrition": 0.0, "gain": 1.0, "center": 0.0, "scale": 1.0}


def masked(op: Operation, values: Values, request: Values, backend: Backend, mask: Any) -> Any:
    """The op with a mask. values: of its arguments. request: outputs, input_dtype and out."""
    if (array := foreign_of(values[0])) is not None:
        return by_tensors(op.op, masked, array, op, values, request, backend, mask)
    assert op.per_element is not None
    return op.per_element(op, values, request, backend, mask)


def thin(op: Operation, values: Values, request: Values, backend: Backend, mask: Any = None) -> Any:
    """x_t by fb.binomial where alive differs, else by fb.thin."""
    x_0, alive, key, *_ = values
    if cells_of(op.op, "x_0", x_0) is not None:
        raise TypeError(f"{op.op}: mask: must be None for scipy.sparse and AnnData, got {type(mask).__name__}")
    step = Step(op, values, request, backend, mask, {"alive": _PROBABILITY} if is_spread(alive) else {})
    if not is_spread(alive):
        return step.results(step.run(bounded=False)[0])
    count = step.check(bounded=False)
    return step.results(step.binomial(count, "alive", step.call.keys(Stream.THIN_ELEMENT, *key), 0))


def bridge_step(op: Operation, values: Values, request: Values, backend: Backend, mask: Any = None) -> Any:
    """Births by fb.bridge_step; where step differs all of them, of which fb.binomial draws those that take place.

    Deaths by fb.binomial where attrition differs, or step does; else by fb.bridge_step, in a call of their own where
    max_count is an array, as its counts are not raised.
    """
    _, _, birth, attrition, key, max_count, gain, *_ = values
    none = is_number(attrition) and attrition == 0
    each = {"step": _PROBABILITY} if is_spread(birth) else {}
    if is_spread(attrition) or (each and not none):
        each["attrition"] = _PROBABILITY
    drawn_on, again = bool(each), is_array(max_count) and not none and "attrition" not in each
    step = Step(op, values, request, backend, mask, {**each, "gain": _GAIN} if is_spread(gain) else each)
    if not drawn_on and not again:
        return step.results(step.run()[0])
    if again and key[0] is None:  # a call that is refused draws no seed
        step.check(attrition=attrition, bounded=False)
    keys = step.call.keys(Stream.BRIDGE_ELEMENT, *key)
    key = keys.key, None
    x_s, _ = step.run(key=key, attrition=0.0) if again else step.run(key=key)
    if "step" in each:
        x_s = step.inside + step.binomial(x_s - step.inside, "step", keys, 0)
    if "attrition" in each:
        x_s = x_s - step.binomial(step.inside, "attrition", keys, 1)
    if again:
        left, _ = step.run(key=key, step=0.0, bounded=False)
        x_s = x_s - (step.inside - left)
    return step.results(x_s)


def tau_leap_step(op: Operation, values: Values, request: Values, backend: Backend, mask: Any = None) -> Any:
    """Births by fb.poisson where step differs, else by fb.tau_leap_step."""
    x_t, (logits, births), factor, key, max_count, gain, *of_input = values
    factor = factor.p if isinstance(factor, Prob) else factor
    values = x_t, (logits, births), factor, key, max_count, gain, *of_input
    each = {"step": _RATE} if is_spread(factor) else {}
    if is_spread(gain) or (each and logits is not None):
        each["gain"] = _GAIN
    step = Step(op, values, request, backend, mask, each)
    if "step" not in each:
        x_s, leaped = step.run()
        return step.results(x_s, overshoot=leaped.overshoot)
    x_t, keys = step.check(), step.call.keys(Stream.TAU_LEAP, *key)
    _, births = step.values["logits"]
    rate = as_type(as_type(births, "float32"), "float64") * as_type(step.each["step"].value, "float64")
    drawn = poisson(where(rate < _MAX_RATE, rate, _MAX_RATE), rng=keys.of(0), backend=backend)
    room = step.limit - as_type(step.inside, "int64")
    born = as_type(where(drawn > room, room, drawn), step.x.dtype)
    over = (drawn > room).reshape(*step.x.size(op.op, step.first)).sum(-1)
    return step.results(x_t + born, overshoot=step.x.like(over).give())


class Step:
    """A call of an op, its arguments checked. each: those with a number for each element; center and scale are such,
    or `single`, numbers of Python's.

    source, x: the counts as they came, and as the op takes them. inside: x, but 0 where the mask is false. values: the
    op's own arguments by name. limit: max_count, a number or an array with a number for each element. In place of an
    array the op takes its largest number M. An element with a lower number m is raised by `up` = M - m for the call, so
    that the room above it is the same. Its result is lowered again.
    """

    up: Any = None
    single: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self, op: Operation, values: Values, request: Values, backend: Backend, mask: Any, each: Limits
    ) -> None:
        outputs, input_dtype, out = request
        self.op, self.backend, self.first, self.changed = op, backend, op.arguments[0].names[0], op.outputs.names[0]
        self.values = dict(zip(op.values, values, strict=True))
        each = {**each, "center": _INPUT, "scale": _INPUT}
        numbers = self._read(each, mask)
        if out is not None:
            rule = "must be None with a mask, or with numbers that differ within a sample"
            raise TypeError(f"{op.op}: out: {rule}, got {type(out).__name__}")
        self.names, dtypes = op.outputs.wanted(self.call.call, outputs, input_dtype)  # type: ignore[attr-defined]
        self.input_dtype = dtypes["model_input"]
        self._bound(numbers.get("max_count"))
        self.values.update({name: _NEUTRAL[name] for name in each})
        if "logits" in self.values:
            self._expect("gain" in each)

    def _read(self, each: Limits, mask: Any) -> dict[str, Any]:
        """The counts, the mask and the numbers of each element, checked. Returns these in the shapes they came in."""
        op, of = self.op.op, self.first
        self.source = adopt_settled(self.values[of], op, of, (*COUNTS, *COPIED))
        self.mask = None if mask is None else mask_of(op, mask, self.source, of)
        numbers: dict[str, Any] = {}
        limits: Limits = {}
        for name, rule in each.items():
            value = self.values[name]
            pair = rule == _PROBABILITY and isinstance(value, Prob)
            parts = {f"{name}.p": value.p, f"{name}.q": value.q} if pair else {name: value}
            numbers |= parts
            limits |= dict.fromkeys(parts, rule)
        if not self.source.is_tensor or not is_traced(self.source.value):  # then numbers of Python's need no array
            self.single = {name: numbers.pop(name) for name in ("center", "scale") if type(numbers[name]) in NUMBERS}
            for name, value in self.single.items():
                said, most, least = limits.pop(name)
                if not least <= (number := as_float(op, name, value)) <= most:
                    checked_floats(np.asarray(number), op, name, said, most, least)  # which says so
        if is_array(self.values["max_count"]):
            numbers["max_count"] = self.values["max_count"]
        numbers = {name: broadcastable(op, name, value, self.source.value, of) for name, value in numbers.items()}
        self.floats = self.source.dtype.startswith("float")  # what is no count may be NaN
        counts = self.keep(self.source.value, 0) if self.floats else self.source.value
        arguments = Elements({of: COUNTS, **dict.fromkeys(numbers, DTYPES)})
        self.call = Composed(op, op, self.backend, arguments, [counts, *numbers.values()])
        self.x, *arrays = self.call.arrays
        self.inside, self.each = self.keep(self.x.value, 0), dict(zip(numbers, arrays, strict=True))
        here = numbers if self.call.values_are_here else {}  # as they came: small ones, or beside no elements at all
        came = {part: Array(np.asarray(value) if is_number(value) else value, op, part) for part, value in here.items()}
        for part, rule in limits.items() if here else ():
            self.call.check_floats(part, came[part], *rule)
            if part.endswith(".q"):
                check_sum(op, part[:-2], came[f"{part[:-2]}.p"].numpy(), came[part].numpy())
        return numbers

    def _bound(self, limits: Any) -> None:
        """Reads max_count. limits: the array, if it is one."""
        op, x, dtype = self.op.op, self.x, self.x.came_as or self.x.dtype
        if limits is None:
            self.limit = max_count_of(op, self.values["max_count"], dtype, low=0)
            return
        self.values["max_count"] = limit = min(largest(dtype), MAX_COUNT)
        if self.call.values_are_here:
            each = checked_counts(real_array(op, "max_count", limits), op, "max_count", limit).reshape(limits.shape)
            counts = x.like(self.inside).numpy()
            wrong = (counts < 0) | (counts > each)
            if wrong.any():
                rule = "must be whole numbers in 0..max_count, which is"
                got = f"{np.broadcast_to(each, x.shape)[wrong][0]} there, got {counts[wrong][0]}{place_of(wrong)}"
                raise ValueError(f"{op}: {self.first}: {rule} {got}")
            self.values["max_count"] = int(each.max(initial=0))
        self.limit = as_type(limits, "int64")
        # On a device wrong counts become -1, which the kernels flag.
        self.taken = x.dtype if self.call.values_are_here or x.dtype != "uint8" else "int16"
        self.up = as_type(self.values["max_count"] - self.limit, self.taken)

    def _expect(self, by_gain: bool) -> None:
        """What a network gives: none where the mask is false, and births y where each element has a gain of its own."""
        names, arrays = ("logits", "births"), ExpectedBirths().canon(self.call.call, self.values["logits"])
        logits, births = (
            None
            if array is None
            else self.keep(broadcastable(self.op.op, name, array.value, self.x.value, self.first), none)
            for name, array, none in zip(names, arrays, (NO_BIRTHS, 0.0), strict=True)
        )
        self.values["logits"] = logits, births
        if by_gain and logits is not None:
            self.check()
            # softplus, to the bit, is the loss of a sample of one element without births.
            soft = birth_loss(logits.reshape(-1, 1), 0 * self.inside.reshape(-1, 1), 1.0, backend=self.backend)
            gain = as_type(as_type(self.each["gain"].value, "float32"), "float64")
            y = gain * as_type(soft.reshape(logits.shape), "float64")  # exact: the op rounds it
            self.values["logits"] = None, y.clip(max=FLOAT32_MAX)

    def keep(self, value: Any, other: Any) -> Any:
        """value where the mask is true, the other where it is not."""
        return value if self.mask is None else where(self.mask, value, other)

    def run(self, bounded: bool = True, **changed: Any) -> tuple[Any, Any]:
        """The op on what lies inside the mask: its new counts, and all its results, but of counts as the op takes them.

        changed: arguments that are others than in `values`. bounded: whether births are cut off at the max_count of
        each element.
        """
        counts = self.inside
        if self.up is not None:
            taken = as_type(counts, self.taken)
            counts = taken + self.up if bounded else taken
            if not self.call.values_are_here:
                counts = where((taken >= 0) & (taken <= self.limit), counts, -1)
        changed[self.first] = counts
        values = tuple([changed.get(name, value) for name, value in self.values.items()])
        results = self.op(values, ((self.changed,), "float32", None), self.backend)
        new = getattr(results, self.changed)
        if self.up is not None:
            new = as_type(new - self.up if bounded else new, self.x.dtype)
        return new, results

    def check(self, **changed: Any) -> Any:
        """Runs the op for its checks alone: nothing is drawn, but of what is `changed`. Returns the counts.

        The key is a tensor where the caller's is, for torch.vmap.
        """
        rng, _ = self.values["key"]
        still = {"key": (rng if is_tensor(rng) else Philox(0), None), "alive": 1.0, "step": 0.0, "attrition": 0.0}
        return self.run(**{**still, **changed})[0]

    def binomial(self, count: Any, name: str, keys: DrawKeys, number: int) -> Any:
        """Binomial draws with the probabilities `name`, which may be a pair."""
        parts = [self.each[part] for part in (name, f"{name}.p", f"{name}.q") if part in self.each]
        p, *q = [as_type(part.value, "float64") if part.dtype in COUNTS else part.value for part in parts]
        return binomial(count, Prob(p, *q) if q else p, rng=keys.of(number), backend=self.backend)

    def results(self, new: Any, **others: Any) -> Any:
        """The outputs asked for, of new counts. others: parts of the op's result that are no such outputs."""
        births, new = self.inside - new, self.keep(new, self.x.value)
        if self.x.came_as:
            births, new = as_it_came(births, self.x), as_it_came(new, self.x)
        new = self.keep(new, self.source.value) if self.floats else new
        outputs: dict[str, Any] = {self.changed: new, "births": births}
        if "model_input" in self.names:
            outputs["model_input"] = self._model_input(new)
        return self.op.outputs.result(**{name: self.source.like(outputs[name]).give() for name in self.names}, **others)

    def _of_input(self, name: str) -> Any:
        """center or scale, in float32."""
        if name not in self.single:
            return as_type(self.each[name].value, "float32")
        number = np.float32(self.single[name])  # NumPy 1 adds Python's floats to arrays without dimensions in float64
        return float(number) if self.x.is_tensor else number

    def _model_input(self, new: Any) -> Any:
        x, center, scale = as_type(new, "float32"), self._of_input("center"), self._of_input("scale")
        if self.x.is_tensor:
            return as_type((x - center) * scale, self.input_dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            return as_type((x - center) * scale, self.input_dtype)
