"""Births of pure death, from and to what else a network may predict: logits, probabilities, rates, scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .inputs import any_library, like_of, move, visible

if TYPE_CHECKING:
    from ..probability import Prob
    from ..typing import ArrayT, NumpyLike, Real


@any_library
def births_from_logits(logits: ArrayT | NumpyLike, gain: Real = 1.0) -> ArrayT:
    """The expected births of a Blackout Diffusion network, from its output, elementwise.

    ::

        y = gain softplus(logits)

    Parameters
    ----------
    logits : array
        The network's output, floating point.
    gain : float or array, default 1.0
        The factor, which broadcasts.

    Returns
    -------
    array
        y = E[x_0 - x_t | x_t], like `logits`.

    Examples
    --------
    >>> fb.processes.conversion.births_from_logits(np.array([0.0, 1.0])).round(4)
    array([0.6931, 1.3133])
    """
    xp, _ = like_of(logits)
    return gain * (xp.logaddexp(logits, xp.zeros_like(logits)))


@any_library
def logits_from_births(births: ArrayT | NumpyLike, gain: Real = 1.0) -> ArrayT:
    """The logits of expected births, the inverse of `births_from_logits`.

    ::

        gain softplus(logits) = births

    Parameters
    ----------
    births : array
        Expected births, at least 0.
    gain : float or array, default 1.0
        The factor, which broadcasts.

    Returns
    -------
    array
        The logits, like `births`; -inf for 0.

    Raises
    ------
    ValueError
        If births are below 0 (NumPy and CPU tensors).
    """
    xp, _ = like_of(births)
    values = xp.asarray(births)
    if visible(values) and not bool((values >= 0).all()):
        raise ValueError(f"logits_from_births: births: must be at least 0, got {float(values.min())!r}")
    y = values / gain
    with np.errstate(divide="ignore"):
        return y + xp.log(-xp.expm1(-y))


@any_library
def births_from_probs(probs: ArrayT | NumpyLike, x_t: ArrayT | NumpyLike) -> ArrayT:
    """The expected births of pure death, from probabilities of x_0.

    ::

        y = E[x_0 | x_t] - x_t

    Parameters
    ----------
    probs : array
        p(x_0 | x_t) for x_0 = 0..S - 1, floating point (..., S).
    x_t : array of int
        Counts (...).

    Returns
    -------
    array
        y, (...).
    """
    xp, device = like_of(probs)
    law, now = cast("tuple[Any, Any]", (probs, x_t))
    counts = move(np.arange(float(law.shape[-1])), xp, device)
    mean: ArrayT = (law * (counts - now[..., None])).sum(-1)
    return mean


@any_library
def rate_from_births(births: ArrayT | NumpyLike, alive: Prob[Any]) -> ArrayT:
    """The birth rate of pure death.

    ::

        rate = y p / (1 - p)

    Parameters
    ----------
    births : array
        Expected births y.
    alive : Prob
        p and 1 - p, which broadcast with `births`; 1 - p is above 0.

    Returns
    -------
    array
        The rate, like `births`.
    """
    return births * (alive.p / alive.q)


@any_library
def births_from_rate(rate: ArrayT | NumpyLike, alive: Prob[Any]) -> ArrayT:
    """The expected births of a birth rate of pure death.

    ::

        y = rate (1 - p) / p

    Parameters
    ----------
    rate : array
        The birth rate.
    alive : Prob
        p and 1 - p, which broadcast with `rate`; p is above 0.

    Returns
    -------
    array
        y, like `rate`.
    """
    return rate * (alive.q / alive.p)


@any_library
def score_from_births(births: ArrayT | NumpyLike, x_t: ArrayT | NumpyLike, alive: Prob[Any]) -> ArrayT:
    """The one score of pure death that is defined.

    ::

        p_t(x_t + 1) / p_t(x_t) = y p / ((1 - p) (x_t + 1))

    Parameters
    ----------
    births : array
        Expected births y.
    x_t : array of int
        Counts, which broadcast with `births`.
    alive : Prob
        p and 1 - p, which broadcast with `births`; 1 - p is above 0.

    Returns
    -------
    array
        The ratio, like `births`.
    """
    rate: Any = rate_from_births(births, alive)
    ratio: ArrayT = rate / (cast("Any", x_t) + 1.0)
    return ratio


@any_library
def births_from_score(score: ArrayT | NumpyLike, x_t: ArrayT | NumpyLike, alive: Prob[Any]) -> ArrayT:
    """The expected births of a score of pure death, the inverse of `score_from_births`.

    Parameters
    ----------
    score : array
        The ratio p_t(x_t + 1) / p_t(x_t).
    x_t : array of int
        Counts, which broadcast with `score`.
    alive : Prob
        p and 1 - p, which broadcast with `score`; p is above 0.

    Returns
    -------
    array
        y, like `score`.
    """
    rate: Any = cast("Any", score) * (cast("Any", x_t) + 1.0)
    return births_from_rate(rate, alive)
