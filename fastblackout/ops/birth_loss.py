"""The loss of blackout diffusion and its gradient.

Gains or weights may differ within a sample, and the expected births may stand in the place of logits. On the host a C++
kernel reads the numbers of each element beside its logit. The other kernels take one number for each sample: there
every element is a sample of its own, with its weight and its gain, so that they give the cost of each, and the costs of
a sample are then added in the order that the kernels keep. The bits are the same.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import arrays
from ..arrays import DTYPES, FLOATS, adopt_settled, in_functorch, is_traced
from ..backends import host, select
from ..backends.float_mode import default_floats
from ..call.arguments import WITHIN, Births, Call, Logits, need_gradient, through_torch
from ..call.elements import (
    FLOAT32_MAX,
    Typed,
    as_type,
    broadcastable,
    element_arguments,
    library_of,
    mask_of,
    where,
)
from ..call.foreign import by_tensors, foreign_of
from ..call.numbers import PerSample, on_host
from ..call.outputs import Single
from ..ground.values import is_number, is_spread, is_tensor, place_of, real_array, shown
from ..reference import birth_loss as reference
from ..reference.birth_loss import CHUNK, sum_sample
from ..reference.rows import checked_floats
from .loss_declaration import WEIGHT, Loss, graded, scale_slopes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import Array, ArrayT, Backend, Numbers

NO_BIRTHS = -200.0  # a logit whose softplus is 0 in float32
_ONE = 0.5413248  # a logit whose float32 softplus is 1 to the bit, and the logarithm of that 0
_OP = "birth_loss"

_BIRTH_LOSS = Loss(
    "birth_loss",
    Logits("logits"),
    Births("births"),
    WEIGHT,
    PerSample("gain", low=0.0, open_low=True),
    loss=(Single("loss", "float32", like="sample"), reference.checked_birth_loss),
    gradient=(Single("grad"), reference.birth_loss_backward),
    finish=functools.partial(scale_slopes, at=2),
)
WITHIN.add("birth_loss")


def birth_loss(
    logits: ArrayT | NDArray[Any] | None,
    births: Array,
    weight: Numbers,
    *,
    expected: ArrayT | NDArray[Any] | None = None,
    gain: Numbers = 1.0,
    mask: Array | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Sum over each sample the cost of predicting y births where there were `births`.

    ::

        y = gain * softplus(logits),  loss_b = weight_b * sum over the sample of (y - births * log y)

    The expected cost is least where y is E[births | model input]. Constants in births are left out, so it may be
    negative.

    Parameters
    ----------
    logits : array (B, ...) or None
        The outputs of a network, of float32, float64, bfloat16 or float16, finite in float32. They are
        computed in float32. A torch tensor has a gradient, see the notes. None where `expected` is given.
    births : array
        x_0 - x_t, in the shape of `logits` and any integer or float dtype, finite and at least 0.
    weight : number or array
        Finite, per sample or within a sample: Schedule.weight(name, k). A weight within a sample is the weight of its
        element.
    expected : array, optional
        y itself, where a network gives it, say by softplus. It has the shape and the dtypes of `logits`, is finite and
        at least 0, and is taken in float32. Births must be 0 where it is 0. `logits` is then None, and `gain` is not
        given.
    gain : number or array, optional
        Finite and above 0, per sample or within a sample.
    mask : array of bool, optional
        True where elements count. It has no dimensions, or as many as `logits`, and broadcasts. Other elements add
        nothing, whatever is there, and have the gradient 0.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array of float32 (B,)
        The loss of each sample, in the library of `logits`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. On CUDA devices fb.check_values tells of
        wrong values in tensors.
    RuntimeError
        If the gradient by the logits is differentiated. The gradient by `expected` may be.

    Notes
    -----
    **Gradient.** By the logits it is ::

        d loss_b / d logit = weight_b * (gain * sigmoid - births * sigmoid / softplus)

    in their dtype, under torch.func too. The kernel recomputes y instead of keeping it. By `expected` it is weight
    times 1 - births / y, computed in float64. Neither `weight` nor `gain` has a gradient. Autocast leaves the loss
    alone.

    **Within a sample** numbers are arrays of as many dimensions as `logits` that broadcast, such as (1, D). The loss
    then takes 3 times as long on the CPU. https://github.com/fastblackout/fastblackout/blob/main/docs/ops.md, "Arrays
    and types", has the rule.

    **Accuracy.** The loss of an element is within 8 2^-24 ``(y + births (|log gain| + |log softplus|))`` of the exact
    one, and a gradient within a few ulp. The sum runs in a fixed order: trees of 1,024 in float32, added in float64.
    All are equal to the bit on every backend. A logit below -86.99 has y = 0 and log y = log gain + logit. The loss is
    finite for every finite logit with gain * logit below 3.4e38.

    References
    ----------
    Santos et al., Blackout Diffusion, ICML 2023, arXiv 2305.11089, section 4.4.

    Examples
    --------
    >>> logits, births = np.array([[0.0, 1, 2]], np.float32), np.array([[1, 0, 2]])
    >>> fb.birth_loss(logits, births, weight=1.0)
    array([2.9904923], dtype=float32)
    """
    values = logits, births, weight, gain
    if expected is not None or mask is not None:
        return _other_loss(values, expected, mask, backend)
    if (made := _BIRTH_LOSS.plain(values, backend)) is not None:
        return made
    if logits is None:
        raise TypeError("birth_loss: logits: exactly one of logits and expected must be given, got none")
    if foreign_of(logits) is not None:
        return _other_loss(values, None, None, backend)
    if is_spread(weight) or is_spread(gain):
        return _element_loss("logits", logits, births, weight, gain, backend)
    return _BIRTH_LOSS.other(values, backend)


def _other_loss(values: Sequence[Any], expected: Any, mask: Any, backend: Backend) -> Any:
    """The loss of the expected births, with a mask, or of arrays of another library on a device."""
    logits, births, weight, gain = values
    if (array := foreign_of((logits, expected))) is not None:
        call = functools.partial(_other_loss, backend=backend)
        return by_tensors(_OP, call, array, values, expected, mask)
    if expected is None:
        if mask is not None:
            logits, births = _where(mask, "logits", logits, births, NO_BIRTHS)
        return birth_loss(logits, births, weight, gain=gain, backend=backend)
    check_alone(logits, gain)
    if mask is not None:
        expected, births = _where(mask, "expected", expected, births, 0)
    return _expected_loss(expected, births, weight, backend)


def _where(mask: Any, name: str, given: Any, births: Any, none: float) -> tuple[Any, Any]:
    """The argument `name` and the births, but where the mask is false `none` and 0, of which the loss is 0."""
    call = Call(_OP, "auto", traced=is_tensor(given) and is_traced(given))
    (first,), (born,) = Logits(name).canon(call, given), Births("births").canon(call, births)
    known = mask_of(call.op, mask, first, name)
    born = broadcastable(call.op, "births", born.value, first.value, name)
    return where(known, first.value, none), where(known, born, 0.0)


def check_alone(logits: Any, gain: Any) -> None:
    """TypeError for what makes no difference beside the expected births."""
    if logits is not None:
        raise TypeError("birth_loss: logits: must be None where expected is given, got both")
    if not (is_number(gain) and gain == 1):
        raise TypeError(f"birth_loss: gain: must be 1 where expected is given, got {shown(gain)}")


def gradient_of(logits: Any, upstream: Any, births: Any, weight: Any, gain: Any = 1.0, mask: Any = None) -> Any:
    """The gradient by the logits, for libraries that ask for it by name. upstream: that by the losses. NumPy arrays."""
    if mask is not None:
        logits, births = _where(mask, "logits", logits, births, NO_BIRTHS)
    if is_spread(weight) or is_spread(gain):
        return _element_gradient(logits, None, births, upstream, weight, gain)
    weights = on_host("birth_loss", "weight", weight, len(logits))
    return _BIRTH_LOSS.backward((logits, births, upstream.astype("float64") * weights, gain), backend="auto")


def gradient_by_expected(expected: Any, upstream: Any, births: Any, weight: Any, mask: Any = None) -> Any:
    """The same by the expected births."""
    known = None
    if mask is not None:
        known = mask_of("birth_loss", mask, adopt_settled(expected, "birth_loss", "expected", FLOATS), "expected")
        expected, births = _where(mask, "expected", expected, births, 0)
    made = _element_gradient(None, expected, births, upstream, weight)
    return made if known is None else where(known, made, 0)


@default_floats
def _element_loss(name: str, logits: Any, births: Any, weight: Any, gain: Any, backend: Backend) -> Any:
    """The loss of logits. name: what errors call them."""
    x, born, here = _read(name, logits, births, backend)
    weights, gains = _weights_and_gains(name, x, weight, gain)
    if not all(x.size(_OP, name)):
        weight, gain = (1.0 if is_spread(each) else each for each in (weight, gain))
        return x.like(birth_loss(x.value, born.value, weight, gain=gain, backend=backend)).give()
    if not through_torch(x.value, backend) and select.select_host(_OP, backend) == "cpu":
        return x.like(_in_one_pass(x, born, weights, gains)).give()
    relative, scale = _relative(weights, here)
    single = gain if is_number(gain) else as_type(gains.value, "float32").reshape(-1)
    costs = birth_loss(_column(x.value), _column(born.value), relative.reshape(-1), gain=single, backend=backend)
    return x.like(_summed(costs.reshape(relative.shape), scale)).give()


@default_floats
def _expected_loss(expected: Any, births: Any, weight: Any, backend: Backend) -> Any:
    """The loss of the expected births y themselves: the births of a gain of y at the logit whose softplus is 1.

    Where y is 0 and nothing was born, the logit is one without births.
    """
    x, births, here = _read("expected", expected, births, backend)
    if not all(x.size(_OP, "expected")):
        return _element_loss("expected", x.value, births.value, weight, 1.0, backend)
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
    sums = _element_loss("expected", logits, born, weight, where(~zero, fixed, 1.0), backend)
    if not need_gradient(x.value) and not (x.is_tensor and in_functorch()):
        return x.like(sums).give()
    relative, scale = _relative(_weights_and_gains("expected", x, weight, 1.0)[0], here=False)
    y, born = y.double(), born.double()
    exact = y - born * y.masked_fill(zero, 1.0).log()
    # What is subtracted is 0, and its derivatives are the negative derivatives of the costs. A loss of -0.0 stays one.
    none = (relative * (exact.detach() - exact).reshape(relative.shape)).float()
    return sums - (scale[:, 0] * none.double().sum(1) + 0.0).float()


def _read(name: str, value: Any, births: Any, backend: str) -> tuple[arrays.Array, arrays.Array, bool]:
    """What a network gives and the births, and whether their values may be looked at: on the host, untraced."""
    through = through_torch(value, backend)
    call = Call(_OP, backend, through, through and is_traced(value))
    (x,), (born,) = Logits(name).canon(call, value), Births("births").canon(call, births)
    return x, born, x.device == "cpu" and not call.traced


def _in_one_pass(x: arrays.Array, births: arrays.Array, weights: arrays.Array, gains: arrays.Array) -> Any:
    """The loss by the C++ kernel that reads the numbers of each element."""
    losses = np.empty(x.samples, np.float32)
    _run_each("birth_loss_each", (x, births, weights, gains), {"loss": losses})
    loss = sys.modules["torch"].from_numpy(losses) if x.is_tensor else losses
    if not need_gradient(x.value):
        return loss
    values = x.value, births.value, weights.value, gains.value
    return graded(x.value, (_OP, _gradient_of_each, values, loss))


def _run_each(kernel: str, numbers: Sequence[arrays.Array], outputs: dict[str, Any], **upstream: Any) -> None:
    fields = dict(zip(("logits", "births", "weight", "gain"), numbers, strict=True)) | upstream
    host.run(kernel, None, "cpu", fields, outputs, numbers[0].size(_OP, "logits"))


def _gradient_of_each(upstream: Any, *values: Any) -> Any:
    """The gradient by the logits. values: as _in_one_pass keeps them."""
    numbers = tuple(arrays.Array(value, _OP, "") for value in values)
    grad = numbers[0].empty_like()
    by_losses = np.asarray(as_type(upstream, "float64"))
    _run_each("birth_loss_each_backward", numbers, {"grad": grad}, upstream=by_losses)
    return grad.value


@default_floats
@np.errstate(over="ignore", invalid="ignore")
def _element_gradient(logits: Any, expected: Any, births: Any, upstream: Any, weight: Any, gain: Any = 1.0) -> Any:
    """The gradient of NumPy arrays, to the bit as torch makes it; by the expected births y it is weight times
    1 - births / y, and the weight where y is 0. upstream: that by the losses.
    """
    name, value = ("logits", logits) if expected is None else ("expected", expected)
    x = arrays.Array(value, _OP, name)
    if not all(x.size(_OP, name)):
        return np.zeros_like(value)
    weights, gains = _weights_and_gains(name, x, weight, gain)
    if expected is None and select.select_host(_OP, "auto") == "cpu":
        return _gradient_of_each(upstream, logits, births, weights.value, gains.value)
    relative, scale = _relative(weights)
    coefficient = (upstream.astype("float64")[:, None] * scale).astype("float32") * relative
    if expected is None:
        numbers = coefficient.reshape(-1), as_type(gains.value, "float32").reshape(-1)
        return _BIRTH_LOSS.backward((_column(logits), _column(births), *numbers), backend="auto").reshape(x.shape)
    y, born = (as_type(as_type(each, "float32"), "float64") for each in (expected, real_array(_OP, "births", births)))
    coefficient = coefficient.reshape(x.shape)
    by_logarithm = np.where(y == 0, 0.0, -coefficient * born / np.where(y == 0, 1.0, y))
    return as_type(as_type(coefficient + by_logarithm, "float32"), expected.dtype)


def _column(value: Any) -> Any:
    return value.reshape(-1, 1)


def _weights_and_gains(name: str, x: arrays.Array, weight: Any, gain: Any) -> tuple[arrays.Array, arrays.Array]:
    """The weights and the gains, of the shape of x."""
    typed: Typed = {name: (x.value, FLOATS)}
    for each, value in (("weight", weight), ("gain", gain)):
        typed[each] = broadcastable(_OP, each, value, x.value, name), DTYPES
    _, weights, gains = element_arguments(_OP, typed)
    return weights, gains


def _relative(weights: arrays.Array, here: bool = True) -> tuple[Any, Any]:
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
