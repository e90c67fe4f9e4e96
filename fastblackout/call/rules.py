"""Numbers of samples, as callers give them, made NumPy (B,), and the rules they follow.

The compiled kernels check plain numbers by the same rules (csrc/include/fastblackout/ops.h), and tensors.py those that
become tensors on a device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from ..arrays import repeated
from ..backends.float_mode import default_floats
from ..ground.values import one_a_sample, real_array
from ..probability import Prob, check_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray


_FLOAT32_END = (2.0 - 2.0**-24) * 2.0**127  # rounds to infinity


class Rule(NamedTuple):
    """What a number must be, once it has the dtype: finite, and at least `low` or above it; or in [0, 1]."""

    dtype: str = "float64"
    low: float = -math.inf
    open_low: bool = False
    unit: bool = False
    forms: str = "a number or an array or list of real numbers"

    def right(self, numbers: Any) -> Any:
        """Bools; False for NaN."""
        if self.unit:
            return (numbers >= 0.0) & (numbers <= 1.0)
        return (numbers > self.low if self.open_low else numbers >= self.low) & np.isfinite(numbers)

    def holds(self, number: float) -> bool:
        """`right` of a float, unless that is in [0, 1], without NumPy, whose rounding torch.compile does not know."""
        end = _FLOAT32_END if self.dtype == "float32" else math.inf
        return -end < number < end and (number > self.low if self.open_low else number >= self.low)

    def refuse(self, op: str, argument: str, value: float, where: str = "") -> NoReturn:
        bound = "" if self.low == -math.inf else f" and {'above' if self.open_low else 'at least'} {self.low:g}"
        rule = "must be in [0, 1]" if self.unit else f"must be finite{bound}"
        raise ValueError(f"{op}: {argument}: {rule}, got {value!r}{where}")


FINITE = Rule()
UNIT = Rule(unit=True, forms="a fb.Prob, a number or an array or list of real numbers")


def on_host(op: str, argument: str, value: Any, samples: int, rule: Rule = FINITE) -> NDArray[Any]:
    """Numbers as an array (samples,) of the rule's dtype, contiguous or `repeated`.

    value: as in ground.values.real_array, of a shape of ground.values.one_a_sample.
    """
    return _for_each(_checked(op, argument, value, samples, rule), samples)


def pair_on_host(op: str, argument: str, value: Any, samples: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(p, q) as `on_host` makes numbers.

    value: a Prob, or p alone (then q = 1 - p in float64). ValueError also for a pair with |p + q - 1| > 1e-9.
    """
    if isinstance(value, Prob):
        p, q = (_checked(op, f"{argument}.{side}", part, samples, UNIT) for side, part in zip("pq", value, strict=True))
        check_sum(op, argument, p, q)
    else:
        p = _checked(op, argument, value, samples, UNIT)
        q = 1.0 - p
    return _for_each(p, samples), _for_each(q, samples)


def _for_each(array: NDArray[Any], samples: int) -> NDArray[Any]:
    return array if array.shape else repeated(np.array(array), samples)


@default_floats
def _checked(op: str, argument: str, value: Any, samples: int, rule: Rule) -> NDArray[Any]:
    """(samples,) or ()."""
    array = one_a_sample(op, argument, real_array(op, argument, value, rule.forms), samples)
    if not rule.unit:
        with np.errstate(over="ignore"):
            array = array.astype(rule.dtype)
    right = rule.right(array)
    if not right.all():
        sample = int(right.argmin())
        rule.refuse(op, argument, float(array.flat[sample]), f" at sample {sample}" if array.shape else "")
    if rule.unit and array.shape and array.strides != (0,):
        return np.require(array, np.float64, ("C", "A"))  # NumPy knows arrays at addresses that no double may have
    return np.require(array, rule.dtype, "A")
