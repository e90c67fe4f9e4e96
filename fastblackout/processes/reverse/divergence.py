"""The cost per unit time of a wrong jump rate: what every likelihood bound of a Markov process integrates."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inputs import any_library

if TYPE_CHECKING:
    from ...typing import ArrayT, NumpyLike


@any_library
def rate_divergence(
    rate: ArrayT | NumpyLike,
    model_rate: ArrayT | NumpyLike | None = None,
    *,
    log_model_rate: ArrayT | NumpyLike | None = None,
) -> ArrayT:
    """The cost per unit time of a wrong jump rate, element by element: the relative entropy of two Poisson processes.

    ::

        D(a || b) = b - a + a log(a / b)
        D(0 || b) = b,    D(a || 0) = inf for a > 0,    D(0 || 0) = 0

    It is never negative, and 0 only for a = b.

    Parameters
    ----------
    rate : float or array
        The true rate a, at least 0.
    model_rate : float or array, optional
        The model's rate b, at least 0.
    log_model_rate : float or array, optional
        log b, which keeps rates that underflow. Exactly one of `model_rate` and `log_model_rate` is given.

    Returns
    -------
    array
        D. NumPy or DLPack arrays and numbers give float64. Tensors give tensors, differentiable in b: the gradient is
        1 - a / b.

    Raises
    ------
    TypeError
        If not exactly one of `model_rate` and `log_model_rate` is given.
    ValueError
        If values are negative or NaN (NumPy and CPU tensors).

    Examples
    --------
    >>> fb.processes.rate_divergence(1.0, np.array([0.5, 1.0, 2.0])).round(4)
    array([0.1931, 0.    , 0.3069])
    """
    op = "rate_divergence"
    if (model_rate is None) == (log_model_rate is None):
        rule = "exactly one must be given"
        raise TypeError(f"{op}: model_rate, log_model_rate: {rule}, got {model_rate!r} and {log_model_rate!r}")
    given = log_model_rate if model_rate is None else model_rate
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(value, torch.Tensor) for value in (rate, given)):
        return _of_tensors(torch, op, rate, model_rate, log_model_rate)
    a = _checked(op, "rate", np.asarray(rate, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        if model_rate is None:
            log_b = np.asarray(log_model_rate, dtype=np.float64)
            b = np.exp(log_b)
        else:
            b = _checked(op, "model_rate", np.asarray(model_rate, dtype=np.float64))
            log_b = np.log(b)
        # a log a - a log b, not a log(a / b): the quotient over- or underflows where the difference does not.
        return b - a + np.where(a > 0, a * (np.log(a) - log_b), 0.0)


def _of_tensors(torch: Any, op: str, rate: Any, model_rate: Any, log_model_rate: Any) -> Any:
    given = log_model_rate if model_rate is None else model_rate
    device = next(value.device for value in (rate, given) if isinstance(value, torch.Tensor))
    a, given = torch.as_tensor(rate, device=device), torch.as_tensor(given, device=device)
    if device.type == "cpu" and not torch.compiler.is_compiling():
        _checked(op, "rate", a)
        if model_rate is not None:
            _checked(op, "model_rate", given)
    if not a.is_floating_point():
        a = a.to(given.dtype)
    log_b, b = (given, torch.exp(given)) if model_rate is None else (None, given)
    if log_b is None:
        # torch.xlogy(0, 0) is 0, but its gradient at b = 0 is NaN; b = 1 stands in where a = 0.
        log_b = torch.log(torch.where(a > 0, b, torch.ones_like(b)))
    return b - a + torch.xlogy(a, a) - torch.where(a > 0, a * log_b, torch.zeros_like(b))


def _checked(op: str, argument: str, values: Any) -> Any:
    wrong = ~(values >= 0)
    if wrong.any():
        raise ValueError(f"{op}: {argument}: must be at least 0, got {float(values[wrong].reshape(-1)[0])!r}")
    return values
