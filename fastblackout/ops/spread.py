"""thin and the reverse steps with numbers that differ within a sample, or with a mask.

Their kernels take one number for each sample, and one max_count. What differs within a sample is made of several draws
instead: of the op's own, of fb.binomial's or fb.poisson's with a number for each element, and of arithmetic that rounds
alike everywhere, so that what the ops promise holds: exact laws, and equal keys give equal results on every backend.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..arrays import Array
from ..call.foreign import by_tensors, foreign_of
from ..call.operation import Operation
from ..call.sparse import cells_of
from ..ground.values import is_array, is_number, is_spread
from ..probability import Prob
from ..reference.philox import Stream
from .poisson import poisson
from .spread_step import Number, Step, no_draw, of_input, probability
from .spread_values import FLOAT32_MAX, as_type, where

_MOST_RATE = 2.0**52  # of fb.poisson


_Spread = Callable[..., Any]


def _of_any_library(spread: _Spread) -> _Spread:
    """The function, of arrays of other libraries on a device, too, which may come straight to it, with a mask."""

    @functools.wraps(spread)
    def called(op: Operation, values: Sequence[Any], *how: Any) -> Any:
        if (array := foreign_of(values[0])) is not None:
            return by_tensors(op.op, functools.partial(spread, op), array, values, *how)
        return spread(op, values, *how)

    return called


@_of_any_library
def thin(op: Operation, values: Sequence[Any], request: Sequence[Any], backend: str, mask: Any = None) -> Any:
    """fb.thin."""
    x_0, alive, rng, max_count, *_ = values
    if cells_of(op.op, "x_0", x_0) is not None:
        raise TypeError(f"{op.op}: mask: must be None for scipy.sparse and AnnData, got {type(mask).__name__}")
    how, numbers = (request, backend, mask), of_input(values[-2:])
    if not is_spread(alive):
        step = Step(op, x_0, max_count, how, numbers)
        return step.results(step.run(alive, rng, step.most, bounded=False))
    step = Step(op, x_0, max_count, how, {**probability("alive", alive), **numbers})
    count = step.run(1.0, no_draw(rng[0]), step.most, bounded=False)  # checked, and nothing is drawn
    keys = step.call.keys(Stream.THIN_ELEMENT, *rng)
    return step.results(step.binomial(count, "alive", keys, 0))


@_of_any_library
def bridge_step(op: Operation, values: Sequence[Any], request: Sequence[Any], backend: str, mask: Any = None) -> Any:
    """fb.bridge_step."""
    x_t, given, birth, attrition, rng, max_count, gain, rounding, *_ = values
    spread = is_spread(birth)
    none = is_number(attrition) and attrition == 0
    apart = is_spread(attrition) or (spread and not none)  # whether deaths are drawn on their own
    again = is_array(max_count) and not (apart or none)  # or by a second call of the op, of counts that are not raised
    numbers = {**_gain(given, gain), **of_input(values[-2:])}
    if apart:
        numbers = {**probability("attrition", attrition), **numbers}
    if spread:
        numbers = {**probability("step", birth), **numbers}
    step = Step(op, x_t, max_count, (request, backend, mask), numbers)

    def check(given: Any) -> None:
        step.run(given, 0.0, 0.0, no_draw(rng[0]), step.most, 1.0, rounding)

    given, gain = _births(step, given, gain, check)
    more = step.most, gain, rounding
    if not spread and not apart and not again:
        return step.results(step.run(given, birth, attrition, rng, *more))
    how = given, 1.0 if spread else birth, 0.0 if apart or again else attrition
    if again and rng[0] is None:  # a call that is refused draws no seed
        step.run(given, 0.0, attrition, no_draw(None), *more, bounded=False)
    keys = step.call.keys(Stream.BRIDGE_ELEMENT, *rng)
    x_s = step.run(*how, (keys.key, None), *more)
    if spread:  # so far all births took place
        x_s = step.inside + step.binomial(x_s - step.inside, "step", keys, 0)
    if apart:
        x_s = x_s - step.binomial(step.inside, "attrition", keys, 1)
    if again:
        left = step.run(given, 0.0, attrition, (keys.key, None), *more, bounded=False)
        x_s = x_s - (step.inside - left)
    return step.results(x_s)


@_of_any_library
def tau_leap_step(op: Operation, values: Sequence[Any], request: Sequence[Any], backend: str, mask: Any = None) -> Any:
    """fb.tau_leap_step."""
    x_t, given, factor, rng, max_count, gain, *_ = values
    factor = factor.p if isinstance(factor, Prob) else factor
    spread = is_spread(factor)
    numbers = {**_gain(given, gain, spread), **of_input(values[-2:])}
    if spread:
        numbers["step"] = Number(factor, "must be finite and at least 0", 0.0, _MOST_RATE)
    step = Step(op, x_t, max_count, (request, backend, mask), numbers)

    def check(given: Any) -> Any:
        return step.run(given, 0.0, no_draw(rng[0]), step.most, 1.0 if "gain" in step.numbers else gain)

    given, gain = _births(step, given, gain, check)
    if not spread:
        x_s, leaped = step.run_whole(given, factor, rng, step.most, gain)
        return step.results(x_s, overshoot=leaped.overshoot)
    x_t = check(given)  # nothing is drawn
    keys = step.call.keys(Stream.TAU_LEAP, *rng)
    y = as_type(as_type(Array(given[1], op.op, "births").value, "float32"), "float64")
    rate = y * as_type(step.numbers["step"].value, "float64")
    drawn = poisson(where(rate < _MOST_RATE, rate, _MOST_RATE), rng=keys.of(0), backend=backend)
    room = step.room()
    born = as_type(where(drawn > room, room, drawn), step.x.dtype)
    over = (drawn > room).reshape(step.x.samples, step.x.elements).sum(-1)
    return step.results(x_t + born, overshoot=step.x.like(over).give())


def _gain(given: Sequence[Any], gain: Any, always: bool = False) -> dict[str, Number]:
    """The gain, where it makes births of logits element by element: as it differs within a sample, or always."""
    if not is_spread(gain) and (given[0] is None or not always):
        return {}
    return {"gain": Number(gain, "must be finite and at least 0", 0.0, FLOAT32_MAX)}


def _births(step: Step, given: Sequence[Any], gain: Any, check: Callable[[Any], Any]) -> tuple[Any, Any]:
    """What the op takes for (logits, births), and its gain: births where each element has a gain of its own.

    check: a call that draws nothing, for the checks of the logits.
    """
    logits, births = step.births_inside(*given)
    if "gain" not in step.numbers:
        return (logits, births), gain
    if logits is not None:
        check((logits, births))
        births = step.expected(logits)
    return (None, births), 1.0
