"""Numbers of samples, as callers give them, made what the host's kernels read, NumPy (B,), and the rules they follow.

tensors.py makes them tensors on a device, by the same rules.
"""

from __future__ import annotations

import functools
import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from ..arrays import repeated
from ..backends import available
from ..backends.float_mode import default_floats
from ..ground.values import one_a_sample, real_array
from ..probability import Prob, check_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray


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

    def refuse(self, op: str, argument: str, value: float) -> NoReturn:
        bound = "" if self.low == -math.inf else f" and {'above' if self.open_low else 'at least'} {self.low:g}"
        rule = "must be in [0, 1]" if self.unit else f"must be finite{bound}"
        raise ValueError(f"{op}: {argument}: {rule}, got {value!r}")


FINITE = Rule()
UNIT = Rule(unit=True, forms="a fb.Prob, a number or an array or list of real numbers")


def on_host(op: str, argument: str, value: Any, samples: int, rule: Rule = FINITE) -> NDArray[Any]:
    """Numbers as an array (samples,) of the rule's dtype.

    value: as in ground.values.real_array, of a shape of ground.values.one_a_sample. The result is contiguous, or
    `repeated`; it may be shared between calls, which only read it.
    """
    kind = type(value)
    # -0.0 is equal to 0.0, so it would find what is kept for that.
    if kind is int or (kind is float and (value != 0.0 or math.copysign(1.0, value) > 0.0)):
        return _one_for_all(op, argument, value, samples, rule)
    return _for_each(_checked(op, argument, value, samples, rule), samples)


def pair_on_host(op: str, argument: str, value: Any, samples: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(p, q) as `on_host` makes numbers; of probabilities in the right form no copy is made.

    value: a Prob, or p alone (then q = 1 - p in float64). ValueError also for a pair with |p + q - 1| > 1e-9.
    """
    if type(value) is float or (type(value) is Prob and type(value.p) is float and type(value.q) is float):
        return _one_pair_for_all(op, argument, value, samples)
    return _plain_pair(value, samples) or _pair(op, argument, value, samples)


def _pair(op: str, argument: str, value: Any, samples: int) -> tuple[NDArray[Any], NDArray[Any]]:
    if isinstance(value, Prob):
        p = _checked(op, f"{argument}.p", value.p, samples, UNIT)
        q = _checked(op, f"{argument}.q", value.q, samples, UNIT)
        check_sum(op, argument, p, q)
    else:
        p = _checked(op, argument, value, samples, UNIT)
        q = 1.0 - p
    return _for_each(p, samples), _for_each(q, samples)


# One number for all samples comes with nearly every call: a center of 0, a scale of 1, the p of a step (-0.0 is 0).
@functools.lru_cache(maxsize=256)
def _one_for_all(op: str, argument: str, value: float, samples: int, rule: Rule) -> NDArray[Any]:
    return _for_each(_checked(op, argument, value, samples, rule), samples)


_one_pair_for_all = functools.lru_cache(maxsize=256)(_pair)


def _for_each(array: NDArray[Any], samples: int) -> NDArray[Any]:
    return array if array.shape else repeated(np.array(array), samples)


@default_floats
def _checked(op: str, argument: str, value: Any, samples: int, rule: Rule) -> NDArray[Any]:
    """(samples,) or ()."""
    array = one_a_sample(op, argument, real_array(op, argument, value, rule.forms), samples)
    if not rule.unit:
        given, array = array, np.empty(array.shape, rule.dtype)
        with np.errstate(over="ignore"):
            array[...] = given
    right = rule.right(array)
    if not right.all():
        rule.refuse(op, argument, float(array[~right].flat[0]))
    if rule.unit and array.shape and array.strides != (0,):
        return np.ascontiguousarray(array, np.float64)
    return array.astype(rule.dtype, copy=False)


def _plain_pair(value: Any, samples: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The pair as it is, when it needs no conversion and the kernels' module finds nothing wrong with it."""
    if not isinstance(value, Prob):
        return None
    p, q = value
    torch = sys.modules.get("torch")
    if torch is not None and type(p) is torch.Tensor and type(q) is torch.Tensor:
        f64 = torch.float64
        if not all(t.is_cpu and t.dtype is f64 and not (t.requires_grad or t.is_neg()) for t in value):
            return None
        p, q = p.numpy(), q.numpy()
    if type(p) is not np.ndarray or type(q) is not np.ndarray or p.shape != (samples,) or q.shape != (samples,):
        return None
    cpu = available.load("_cpu")
    return (p, q) if not isinstance(cpu, str) and cpu.good_pair(p, q) else None
