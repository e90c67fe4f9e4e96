"""thin and the reverse steps with numbers that differ within a sample, or with a mask.

Their kernels take one number for each sample. What differs within a sample is made of several draws instead: of the
op's own, of fb.binomial's or fb.poisson's with a number for each element, and of arithmetic that rounds alike
everywhere, so that what the ops promise holds: exact laws, and equal keys give equal results on every backend.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import COUNTS, DTYPES, Array, to_device
from ..call import checks
from ..call.arguments import Elements
from ..call.call import Call
from ..call.composed import Composed, DrawKeys
from ..call.copied_counts import as_it_came
from ..call.operation import Operation
from ..call.sparse import cells_of
from ..ground.values import is_number, is_spread, is_tensor, real_array
from ..philox import Philox
from ..probability import Prob
from ..reference.philox import Stream
from .binomial import binomial
from .poisson import poisson

NO_KEY = Philox(0)  # of calls that draw nothing, or whose draw is left
NO_BIRTHS = -200.0  # a logit whose softplus is 0 in float32
_FLOAT32_MAX = (2.0 - 2.0**-23) * 2.0**127
_MOST_RATE = 2.0**52  # of fb.poisson


class _Number(NamedTuple):
    """An argument that may differ within a sample, and what its values must be."""

    value: Any
    rule: str = "must be in [0, 1]"
    least: float = 0.0
    most: float = 1.0


class _Step:
    """A call of an op: its counts x and `numbers`, checked, in one shape. inside: x, but 0 where the mask is false."""

    def __init__(
        self, op: Operation, counts: Any, mask: Any, request: Sequence[Any], backend: str, numbers: dict[str, _Number]
    ) -> None:
        outputs, input_dtype, out = request
        self.op, self.backend = op, backend
        self.first, self.changed = op.arguments[0].names[0], op.outputs.names[0]
        given = {name: _beside(op.op, name, number.value, counts) for name, number in numbers.items()}
        arguments = Elements({self.first: COUNTS, **dict.fromkeys(given, DTYPES)})
        self.given = Array(counts, op.op, self.first)
        self.mask = None if mask is None else mask_of(op.op, mask, self.given, self.first)
        self.floats = self.given.dtype.startswith("float")
        if self.floats:  # what is no count may be NaN
            counts = self.keep(self.given.value, 0)
        self.call = Composed(op.op, op.op, backend, arguments, [counts, *given.values()])
        self.x, *arrays = self.call.arrays
        self.numbers = dict(zip(given, arrays, strict=True))
        for name, number in numbers.items():
            self.call.check_floats(name, self.numbers[name], number.rule, number.most, number.least)
            if name.endswith(".q"):
                self.call.check_pairs(name[:-2], self.numbers[name[:-2]], self.numbers[name])
        if out is not None:
            rule = "must be None with a mask, or with numbers that differ within a sample"
            raise TypeError(f"{op.op}: out: {rule}, got {type(out).__name__}")
        asked = Call(op.op, backend, through_torch=True)
        asked.first = self.x
        self.names, dtypes = op.outputs.wanted(asked, outputs, input_dtype)  # type: ignore[attr-defined]
        self.input_dtype = dtypes["model_input"]
        self.inside = self.keep(self.x.value, 0)

    def keep(self, value: Any, other: Any) -> Any:
        """value where the mask is true, the other where it is not."""
        return value if self.mask is None else where(self.mask, value, other)

    def births_inside(self, logits: Any, births: Any) -> tuple[Any, Any]:
        """What a network gives, with no births where the mask is false."""
        if self.mask is None:
            return logits, births
        op, known = self.op.op, self.mask
        return (
            None if logits is None else where(known, Array(logits, op, "logits").value, NO_BIRTHS),
            None if births is None else where(known, Array(births, op, "births").value, 0),
        )

    def run(self, *values: Any) -> Any:
        """The op on what lies inside the mask, for its new counts. values: its arguments but these and its input's."""
        return self.op((self.inside, *values, 0.0, 1.0), ((self.changed,), "float32", None), self.backend)

    def binomial(self, count: Any, name: str, keys: DrawKeys, number: int) -> Any:
        """Binomial draws with the probabilities `name`, of which p may come with its q."""
        p, q = self.numbers[name], self.numbers.get(f"{name}.q")
        prob = _real(p) if q is None else Prob(_real(p), _real(q))
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


def thin(op: Operation, values: Sequence[Any], request: Sequence[Any], backend: str, mask: Any = None) -> Any:
    """fb.thin."""
    x_0, alive, rng, max_count, *_ = values
    if cells_of(op.op, "x_0", x_0) is not None:
        raise TypeError(f"{op.op}: mask: must be None for scipy.sparse and AnnData, got {type(mask).__name__}")
    numbers = _of_input(values[-2:])
    if not is_spread(alive):
        step = _Step(op, x_0, mask, request, backend, numbers)
        return step.results(step.run(alive, rng, max_count).x_t)
    step = _Step(op, x_0, mask, request, backend, {**_probability("alive", alive), **numbers})
    count = step.run(1.0, (NO_KEY, None), max_count).x_t  # checked, and nothing is drawn
    keys = step.call.keys(Stream.THIN_ELEMENT, *rng)
    return step.results(step.binomial(count, "alive", keys, 0))


def bridge_step(op: Operation, values: Sequence[Any], request: Sequence[Any], backend: str, mask: Any = None) -> Any:
    """fb.bridge_step."""
    x_t, given, birth, attrition, rng, max_count, gain, rounding, *_ = values
    _check_gain(op.op, gain)
    spread = is_spread(birth)
    none = is_number(attrition) and attrition == 0
    apart = is_spread(attrition) or (spread and not none)  # whether deaths are drawn on their own
    numbers = _of_input(values[-2:])
    if apart:
        numbers = {**_probability("attrition", attrition), **numbers}
    if spread:
        numbers = {**_probability("step", birth), **numbers}
    step = _Step(op, x_t, mask, request, backend, numbers)
    given, more = step.births_inside(*given), (max_count, gain, rounding)
    if not spread and not apart:
        return step.results(step.run(given, birth, attrition, rng, *more).x_s)
    how = given, 1.0 if spread else birth, 0.0 if apart else attrition
    if rng[0] is None:  # a call that is refused draws no seed
        step.run(*how, (NO_KEY, None), *more)
    keys = step.call.keys(Stream.BRIDGE_ELEMENT, *rng)
    x_s = step.run(*how, (keys.key, None), *more).x_s
    if spread:  # so far all births took place
        x_s = step.inside + step.binomial(x_s - step.inside, "step", keys, 0)
    if apart:
        x_s = x_s - step.binomial(step.inside, "attrition", keys, 1)
    return step.results(x_s)


def tau_leap_step(op: Operation, values: Sequence[Any], request: Sequence[Any], backend: str, mask: Any = None) -> Any:
    """fb.tau_leap_step."""
    x_t, given, factor, rng, max_count, gain, *_ = values
    _check_gain(op.op, gain)
    numbers = _of_input(values[-2:])
    if not is_spread(factor):
        step = _Step(op, x_t, mask, request, backend, numbers)
        leaped = step.run(step.births_inside(*given), factor, rng, max_count, gain)
        return step.results(leaped.x_s, overshoot=leaped.overshoot)
    if given[1] is None:
        rule = "must be one number a sample beside logits; give births=y, the expected births, for others"
        raise ValueError(f"{op.op}: step: {rule}, got shape {_shape_of(factor)}")
    factor = factor.p if isinstance(factor, Prob) else factor
    numbers["step"] = _Number(factor, "must be finite and at least 0", 0.0, _MOST_RATE)
    step = _Step(op, x_t, mask, request, backend, numbers)
    given = step.births_inside(*given)
    x_t = step.run(given, 0.0, (NO_KEY, None), max_count, gain).x_s  # checked, and nothing is drawn
    keys = step.call.keys(Stream.TAU_LEAP, *rng)
    y = as_type(as_type(Array(given[1], op.op, "births").value, "float32"), "float64")
    rate = y * as_type(step.numbers["step"].value, "float64")
    drawn = poisson(where(rate < _MOST_RATE, rate, _MOST_RATE), rng=keys.of(0), backend=backend)
    room = checks.max_count_of(op.op, max_count, step.x.came_as or step.x.dtype) - as_type(x_t, "int64")
    born = as_type(where(drawn > room, room, drawn), step.x.dtype)
    over = (drawn > room).reshape(step.x.samples, -1).sum(-1)
    return step.results(x_t + born, overshoot=step.x.like(over).give())


def mask_of(op: str, mask: Any, x: Array, name: str) -> Any:
    """A mask as bools of the library, the device and the shape of x, the argument `name`."""
    array = Array(mask, op, "mask")
    checks.same_library(op, "mask", array, name, x)
    checks.same_device(op, "mask", array, name, x)
    if array.dtype != "bool":
        raise TypeError(f"{op}: mask: must be bools, true where elements take part, got dtype {array.dtype}")
    try:
        return array.value.expand(x.shape) if array.is_tensor else np.broadcast_to(array.value, x.shape)
    except (RuntimeError, ValueError):
        raise ValueError(f"{op}: mask: shape must broadcast to {x.shape}, got {array.shape}") from None


def where(mask: Any, value: Any, other: Any) -> Any:
    """value where the mask is true, else the other, an array or a number, in value's dtype."""
    if not is_tensor(value):
        return np.where(mask, value, np.asarray(other, value.dtype))
    return value.masked_fill(~mask, other) if not is_tensor(other) else other.where(~mask, value)


def as_type(value: Any, dtype: str) -> Any:
    """An array of either library in this dtype."""
    return value.to(getattr(sys.modules["torch"], dtype)) if is_tensor(value) else value.astype(dtype)


def _real(array: Array) -> Any:
    """Its values in a float dtype."""
    return as_type(array.value, "float64") if array.dtype in COUNTS else array.value


def _of_input(center_and_scale: Sequence[Any]) -> dict[str, _Number]:
    limits = "must be finite in float32", -_FLOAT32_MAX, _FLOAT32_MAX
    return {name: _Number(each, *limits) for name, each in zip(("center", "scale"), center_and_scale, strict=True)}


def _probability(name: str, value: Any) -> dict[str, _Number]:
    if isinstance(value, Prob):
        return {name: _Number(value.p), f"{name}.q": _Number(value.q)}
    return {name: _Number(value)}


def _beside(op: str, name: str, value: Any, counts: Any) -> Any:
    """A number, or an array that broadcasts to the shape of the counts and is of their library."""
    if isinstance(value, (list, tuple)) or (is_tensor(counts) and isinstance(value, np.ndarray)):
        value = real_array(op, name, value)
        if is_tensor(counts):
            value = to_device(sys.modules["torch"].from_numpy(np.ascontiguousarray(value)), counts.device)
    shape, whole = _shape_of(value), _shape_of(counts)
    if len(shape) == 1:  # one for each sample
        value = value.reshape(-1, *(1 for _ in whole[1:]))
        shape = tuple(value.shape)
    before = len(whole) - len(shape)
    if before < 0 or any(size not in (1, most) for size, most in zip(shape, whole[before:], strict=True)):
        raise ValueError(f"{op}: {name}: shape must broadcast to that of the counts, {whole}, got {shape}")
    return value


def _shape_of(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value.p if isinstance(value, Prob) else value, "shape", ()))


def _check_gain(op: str, gain: Any) -> None:
    if is_spread(gain):
        rule = "must be one number a sample; give births=y, the expected births, for others"
        raise ValueError(f"{op}: gain: {rule}, got shape {_shape_of(gain)}")
