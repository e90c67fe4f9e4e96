"""The loss of blackout diffusion and its gradient."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..arrays import FLOATS, adopt_settled, is_traced
from ..call import short
from ..call.arguments import WITHIN, Births, Call, Logits
from ..call.composed import broadcastable, mask_of, where
from ..call.door import by_tensors, foreign_of
from ..call.numbers import PerSample
from ..call.outputs import Single
from ..call.route import need_gradient, through_torch
from ..call.rules import on_host
from ..ground.values import is_number, is_spread, is_tensor, shown
from ..reference import birth_loss as reference
from .loss_declaration import WEIGHT, declare_loss, run_graded
from .per_element_loss import NO_BIRTHS, element_gradient, element_loss, expected_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import Array, ArrayT, Backend, Numbers

_BIRTH_LOSS, _BIRTH_LOSS_BACKWARD = declare_loss(
    "birth_loss",
    Logits("logits"),
    Births("births"),
    WEIGHT,
    PerSample("gain", low=0.0, open_low=True),
    loss=(Single("loss", "float32", like="sample"), reference.checked_birth_loss),
    gradient=(Single("grad"), reference.birth_loss_backward),
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
    # foreseen: the gradient by the losses, the same for all of them, for which the slopes are the gradient already.
    if (quick := short.call("quick_loss", logits, backend, values)) is not None:
        loss, slopes, foreseen = quick
        return loss if slopes is None else _kept().apply(logits, (_how([slopes], foreseen), (*values, "cpu"), loss))
    if (quick := short.call("quick_device_loss", logits, backend, values)) is not None:
        loss, graded = quick
        how: tuple[Any, ...] = "birth_loss", _gradient_on_device, [], None
        return _kept().apply(logits, (how, (*values, "cuda"), loss)) if graded else loss
    if logits is None:
        raise TypeError("birth_loss: logits: exactly one of logits and expected must be given, got none")
    if foreign_of(logits) is not None:
        return _other_loss(values, None, None, backend)
    if is_spread(weight) or is_spread(gain):
        return element_loss(birth_loss, "logits", logits, births, weight, gain, backend)
    if not need_gradient(logits) or through_torch(logits, backend):
        return _BIRTH_LOSS(values, backend=backend)
    (loss,), chosen, slopes, foreseen = run_graded(_BIRTH_LOSS, values, backend, _BIRTH_LOSS_BACKWARD)
    return _kept().apply(logits, (_how(slopes, foreseen), (*values, chosen), loss))


def _other_loss(values: Sequence[Any], expected: Any, mask: Any, backend: Backend) -> Any:
    """The loss of the expected births, with a mask, or of arrays of another library on a device."""
    logits, births, weight, gain = values
    if (array := foreign_of((logits, expected))) is not None:
        call = functools.partial(_other_loss, backend=backend)
        return by_tensors("birth_loss", call, array, values, expected, mask)
    if expected is None:
        if mask is not None:
            logits, births = _where(mask, "logits", logits, births, NO_BIRTHS)
        return birth_loss(logits, births, weight, gain=gain, backend=backend)
    check_alone(logits, gain)
    if mask is not None:
        expected, births = _where(mask, "expected", expected, births, 0)
    return expected_loss(birth_loss, expected, births, weight, backend)


def _where(mask: Any, name: str, given: Any, births: Any, none: float) -> tuple[Any, Any]:
    """The argument `name` and the births, but where the mask is false `none` and 0, of which the loss is 0."""
    call = Call("birth_loss", "auto", traced=is_tensor(given) and is_traced(given))
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


def _how(slopes: list[Any], foreseen: float | None) -> tuple[Any, ...]:
    return "birth_loss", _gradient, slopes, foreseen


@functools.cache
def _kept() -> Any:
    """loss_gradient.Kept, which needs torch. An import in a call would take a microsecond."""
    from .loss_gradient import Kept

    return Kept


def _gradient(upstream: Any, logits: Any, births: Any, weight: Any, gain: Any, backend: Backend) -> Any:
    from .loss_gradient import coefficient

    arguments = logits, births, coefficient("birth_loss", upstream, weight), gain
    return _BIRTH_LOSS_BACKWARD(arguments, backend=backend)


def _gradient_on_device(upstream: Any, logits: Any, births: Any, weight: Any, gain: Any, backend: Backend) -> Any:
    arguments = logits, births, upstream.double() * weight, gain
    made = short.call("quick_device_loss_gradient", logits, backend, arguments)
    return _BIRTH_LOSS_BACKWARD(arguments, backend=backend) if made is None else made


def gradient_of(logits: Any, upstream: Any, births: Any, weight: Any, gain: Any = 1.0, mask: Any = None) -> Any:
    """The gradient by the logits, for libraries that ask for it by name. upstream: that by the losses. NumPy arrays."""
    if mask is not None:
        logits, births = _where(mask, "logits", logits, births, NO_BIRTHS)
    if is_spread(weight) or is_spread(gain):
        return element_gradient(_BIRTH_LOSS_BACKWARD, logits, None, births, upstream, weight, gain)
    weights = on_host("birth_loss", "weight", weight, len(logits))
    return _BIRTH_LOSS_BACKWARD((logits, births, upstream.astype("float64") * weights, gain), backend="auto")


def gradient_by_expected(expected: Any, upstream: Any, births: Any, weight: Any, mask: Any = None) -> Any:
    """The same by the expected births."""
    known = None
    if mask is not None:
        known = mask_of("birth_loss", mask, adopt_settled(expected, "birth_loss", "expected", FLOATS), "expected")
        expected, births = _where(mask, "expected", expected, births, 0)
    made = element_gradient(_BIRTH_LOSS_BACKWARD, None, expected, births, upstream, weight)
    return made if known is None else where(known, made, 0)
