"""birth_loss with gains or weights that differ within a sample, or with the expected births in the place of logits.

On the host a C++ kernel reads the numbers of each element beside its logit. The other kernels take one number for each
sample: there every element is a sample of its own, with its weight and its gain, so that they give the cost of each,
and the costs of a sample are then added in the order that the kernels keep. The bits are the same.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import DTYPES, FLOATS, Array, in_functorch, is_traced, repeated
from ..backends import host, select
from ..backends.float_mode import default_floats
from ..call import short
from ..call.arguments import Births, Call, Logits
from ..call.composed import FLOAT32_MAX, as_type, broadcastable, library_of, where
from ..call.elements import Typed, element_arguments
from ..call.route import need_gradient, through_torch
from ..ground.values import is_number, is_spread, is_tensor, place_of, real_array
from ..reference.birth_loss import CHUNK, sum_sample
from ..reference.elements import checked_floats

_OP = "birth_loss"
NO_BIRTHS = -200.0  # a logit whose softplus is 0 in float32
_ONE = 0.5413248  # a logit whose float32 softplus is 1 to the bit, and the logarithm of that 0

Loss = Callable[..., Any]


@default_floats
def element_loss(loss: Loss, name: str, logits: Any, births: Any, weight: Any, gain: Any, backend: str) -> Any:
    """The loss of logits. loss: fb.birth_loss of one number a sample. name: what errors call the logits."""
    x, born, here = _read(name, logits, births, backend)
    weights, gains = _numbers(name, x, weight, gain)
    if not all(x.size(_OP, name)):
        weight, gain = (1.0 if is_spread(each) else each for each in (weight, gain))
        return x.like(loss(x.value, born.value, weight, gain=gain, backend=backend)).give()
    if not through_torch(x.value, backend) and select.select_host(_OP, backend) == "cpu":
        return x.like(_in_one_pass(x, born, weights, gains)).give()
    relative, scale = _relative(weights, here)
    single = gain if is_number(gain) else as_type(gains.value, "float32").reshape(-1)
    costs = loss(_column(x.value), _column(born.value), relative.reshape(-1), gain=single, backend=backend)
    return x.like(_summed(costs.reshape(relative.shape), scale)).give()


@default_floats
def expected_loss(loss: Loss, expected: Any, births: Any, weight: Any, backend: str) -> Any:
    """The loss of the expected births y themselves: the births of a gain of y at the logit whose softplus is 1.

    Where y is 0 and nothing was born, the logit is one without births.
    """
    x, births, here = _read("expected", expected, births, backend)
    if not all(x.size(_OP, "expected")):
        return element_loss(loss, "expected", x.value, births.value, weight, 1.0, backend)
    if here:
        checked_floats(x.numpy(), _OP, "expected", "must be finite in float32 and at least 0", FLOAT32_MAX)
    y, born = as_type(x.value, "float32"), broadcastable(_OP, "births", births.value, x.value, "expected")
    fixed, born = y.detach() if x.is_tensor else y, as_type(born, "float32")
    zero = fixed == 0
    wrong = zero & (born != 0)
    if here and wrong.any():
        got = f"{float(born[wrong][0]):g}{place_of(wrong)}"
        raise ValueError(f"{_OP}: births: must be 0 where expected is 0, got {got}")
    born = where(~wrong, born, np.inf)  # which the kernels of a device flag
    logits = where(~zero, library_of(fixed).full_like(fixed, _ONE), NO_BIRTHS)
    sums = element_loss(loss, "expected", logits, born, weight, where(~zero, fixed, 1.0), backend)
    if not need_gradient(x.value) and not (x.is_tensor and in_functorch()):
        return x.like(sums).give()
    relative, scale = _relative(_numbers("expected", x, weight, 1.0)[0], here=False)
    y, born = y.double(), born.double()
    exact = y - born * y.masked_fill(zero, 1.0).log()
    # What is subtracted is 0, and its derivatives are the negative derivatives of the costs. A loss of -0.0 stays one.
    none = (relative * (exact.detach() - exact).reshape(relative.shape)).float()
    return sums - (scale[:, 0] * none.double().sum(1) + 0.0).float()


def _read(name: str, value: Any, births: Any, backend: str) -> tuple[Array, Array, bool]:
    """What a network gives and the births, and whether their values may be looked at: on the host, untraced."""
    through = through_torch(value, backend)
    call = Call(_OP, backend, through, through and is_traced(value))
    (x,), (born,) = Logits(name).canon(call, value), Births("births").canon(call, births)
    return x, born, x.device == "cpu" and not call.traced


def _in_one_pass(x: Array, births: Array, weights: Array, gains: Array) -> Any:
    """The loss by the C++ kernel that reads the numbers of each element, and its gradient where that is foreseen
    (birth_loss.py)."""
    graded = need_gradient(x.value)
    foreseen = short.foreseen() if graded else None
    slopes = None if foreseen is None else x.empty_like()
    ahead, losses = repeated(np.array(foreseen or 0.0), x.samples), np.empty(x.samples, np.float32)
    _run("birth_loss_each", (x, births, weights, gains), ahead, {"loss": losses, "grad": slopes})
    loss = sys.modules["torch"].from_numpy(losses) if x.is_tensor else losses
    if not graded:
        return loss
    from .loss_gradient import Kept

    gradient = _gradient if slopes else functools.partial(_gradient, note=True)
    graph = _OP, gradient, [slopes.value] if slopes else [], foreseen
    return Kept.apply(x.value, (graph, (x.value, births.value, weights.value, gains.value), loss))


def _run(kernel: str, arrays: tuple[Array, ...], ahead: Any, outputs: dict[str, Any]) -> None:
    fields = dict(zip(("logits", "births", "weight", "gain"), arrays, strict=True)) | {"ahead": ahead}
    host.run(kernel, None, "cpu", fields, outputs, arrays[0].size(_OP, "logits"))


def _gradient(upstream: Any, *values: Any, note: bool = False) -> Any:
    """The gradient by the logits. values: as _in_one_pass keeps them. note: where none was foreseen, so that the next
    one like it is."""
    if note:
        short.note_upstream(upstream)
    arrays = tuple(Array(value, _OP, "") for value in values)
    grad = arrays[0].empty_like()
    _run("birth_loss_each_backward", arrays, np.asarray(as_type(upstream, "float64")), {"grad": grad})
    return grad.value


@default_floats
@np.errstate(over="ignore", invalid="ignore")
def element_gradient(
    gradient: Loss, logits: Any, expected: Any, births: Any, upstream: Any, weight: Any, gain: Any = 1.0
) -> Any:
    """The gradient of NumPy arrays, to the bit as torch makes it; by the expected births y it is weight times
    1 - births / y, and the weight where y is 0. gradient: the op of one number a sample. upstream: that by the losses.
    """
    name, value = ("logits", logits) if expected is None else ("expected", expected)
    x = Array(value, _OP, name)
    if not all(x.size(_OP, name)):
        return np.zeros_like(value)
    weights, gains = _numbers(name, x, weight, gain)
    if expected is None and select.select_host(_OP, "auto") == "cpu":
        return _gradient(upstream, logits, births, weights.value, gains.value)
    relative, scale = _relative(weights)
    coefficient = (upstream.astype("float64")[:, None] * scale).astype("float32") * relative
    if expected is None:
        numbers = coefficient.reshape(-1), as_type(gains.value, "float32").reshape(-1)
        return gradient((_column(logits), _column(births), *numbers), backend="auto").reshape(x.shape)
    y, born = (as_type(as_type(each, "float32"), "float64") for each in (expected, real_array(_OP, "births", births)))
    coefficient = coefficient.reshape(x.shape)
    by_logarithm = np.where(y == 0, 0.0, -coefficient * born / np.where(y == 0, 1.0, y))
    return as_type(as_type(coefficient + by_logarithm, "float32"), expected.dtype)


def _column(value: Any) -> Any:
    return value.reshape(-1, 1)


def _numbers(name: str, x: Array, weight: Any, gain: Any) -> tuple[Array, Array]:
    """The weights and the gains, of the shape of x."""
    typed: Typed = {name: (x.value, FLOATS)}
    for each, value in (("weight", weight), ("gain", gain)):
        typed[each] = broadcastable(_OP, each, value, x.value, name), DTYPES
    _, weights, gains = element_arguments(_OP, typed)
    return weights, gains


def _relative(weights: Array, here: bool = True) -> tuple[Any, Any]:
    """Weights over the largest magnitude in their sample, (B, n), and that magnitude, (B, 1), in float64.

    So equal weights are 1 or -1, weights of 0 too, and their loss is to the bit the loss with one number.
    """
    value = as_type(weights.value, "float64").reshape(*weights.size(_OP, "weight"))
    scale = library_of(value).amax(abs(value), axis=1, keepdims=True)
    if here:
        checked_floats(np.asarray(value), _OP, "weight", "must be finite", sys.float_info.max, -sys.float_info.max)
    none = as_type(scale == 0, "float64")
    return value / (scale + none) + none, scale


def _summed(costs: Any, scale: Any) -> Any:
    """The sums of the costs (B, n) in the order of reference/birth_loss.py, times the weights' size; float32 (B,)."""
    if not is_tensor(costs):
        with np.errstate(over="ignore", invalid="ignore"):
            return (scale[:, 0] * sum_sample(costs)).astype(np.float32)
    torch = sys.modules["torch"]
    chunks = -(-costs.shape[1] // CHUNK)
    level = torch.nn.functional.pad(costs, (0, chunks * CHUNK - costs.shape[1])).unflatten(1, (chunks, CHUNK))
    while level.shape[2] > 1:
        first, second = level.unflatten(2, (2, level.shape[2] // 2)).unbind(2)  # whose gradient is one copy
        level = first + second
    total = torch.zeros_like(scale[:, 0])
    for chunk in level.squeeze(2).double().unbind(1):
        total = total + chunk
    return (scale[:, 0] * total).float()
