"""From what one network predicts to what another formula asks for: every parametrization of a reverse process.

| name | what it is |
|---|---|
| logits | real numbers, (..., S): x_0-probabilities before softmax; or (...): births before softplus and gain |
| probs | p(x_0 | x_t), (..., S) |
| births | y = E[x_0 - x_t | x_t], (...), of pure death |
| score | the ratios p_t(i) / p_t(x_t), (..., S), where Q[i, x_t] > 0 (concrete score); 1 at i = x_t, NaN elsewhere |
| rates | of the reverse process from x_t to i, (..., S): beta(t) Q[i, x_t] score[i]; 0 at i = x_t |

The functions take NumPy, torch or DLPack arrays and compute in their float type; integers count as float64. They are
differentiable in torch. NumPy states beside a tensor follow it. States x_t have the shape (B, ...), and t is a number
or (B,). TypeError or ValueError names function, argument, rule and value. Values on a device are not looked at, but for
states and times.

A posterior mean does not determine a law. So there is no way from births to probs. Nor is there one from the score of a
process whose jumps reach too few states; `probs_from_score` says so.

Sources: Lou et al., arXiv 2310.16834 (score); Austin et al., arXiv 2107.03006 (x_0-probabilities); Santos et al., arXiv
2305.11089 (births).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .inputs import a_state_each, any_library, host, like_of, move, number_of, one_a_sample, states_of, visible

if TYPE_CHECKING:
    from ..probability import Prob
    from ..typing import ArrayT, NumpyLike, Real
    from .base import Process


__all__ = [
    "births_from_logits",
    "births_from_probs",
    "births_from_rate",
    "births_from_score",
    "jumps_into",
    "logits_from_births",
    "logits_from_probs",
    "probs_from_logits",
    "probs_from_score",
    "rate_from_births",
    "rates_from_score",
    "reachable_from",
    "score_from_births",
    "score_from_probs",
    "score_from_rates",
]


@any_library
def probs_from_logits(logits: ArrayT | NumpyLike, reachable: ArrayT | NumpyLike | None = None) -> ArrayT:
    """The probabilities of logits.

    ::

        softmax(logits) over the last dimension

    Parameters
    ----------
    logits : array
        Logits of x_0, floating point (..., S).
    reachable : array of bool, optional
        (..., S), as `reachable_from` gives it. Probabilities are 0 where it is false, and the rest sums to 1.

    Returns
    -------
    array
        p(x_0 | x_t), like `logits`.

    Raises
    ------
    ValueError
        If a row has no reachable state with a logit above -inf (NumPy and CPU tensors).

    Examples
    --------
    >>> fb.processes.conversion.probs_from_logits(np.zeros(4))
    array([0.25, 0.25, 0.25, 0.25])
    """
    xp, _ = like_of(logits)
    masked = logits if reachable is None else xp.where(reachable, logits, -math.inf)
    top = xp.amax(masked, -1)[..., None]
    if visible(top):
        wrong = ~xp.isfinite(top)
        if wrong.any():
            raise ValueError(
                f"probs_from_logits: logits: each row must have a finite largest, got {float(top[wrong][0])}"
            )
    weights = xp.exp(masked - top)
    return weights / weights.sum(-1)[..., None]


@any_library
def logits_from_probs(probs: ArrayT | NumpyLike) -> ArrayT:
    """The logits whose softmax gives these probabilities.

    ::

        log(probs)

    Parameters
    ----------
    probs : array
        p(x_0 | x_t), floating point (..., S).

    Returns
    -------
    array
        The logits, like `probs`; -inf for 0.
    """
    xp, _ = like_of(probs)
    with np.errstate(divide="ignore"):
        return xp.log(probs)


@any_library
def jumps_into(process: Process, x_t: ArrayT | NumpyLike, t: Real) -> ArrayT:
    """The rates of the forward process into x_t, which turn a score into reverse rates.

    ::

        beta(t) Q[i, x_t] for every i

    Parameters
    ----------
    process : Process
        The process.
    x_t : int or array of int
        States (B, ...).
    t : float or array
        A time, or one for each sample, (B,).

    Returns
    -------
    array
        float64 (..., S); 0 at i = x_t.
    """
    return _jumps("jumps_into", process, states_of("jumps_into", "x_t", x_t, process.states), t)


def _jumps(op: str, process: Process, now: Any, t: Real) -> Any:
    return process._jumps(now) * process._beta(op, t, now)


@any_library
def rates_from_score(process: Process, x_t: ArrayT | NumpyLike, score: ArrayT | NumpyLike, t: Real) -> ArrayT:
    """The reverse rates of a score.

    ::

        beta(t) Q[i, x_t] score[i] for every i

    Parameters
    ----------
    process : Process
        The process.
    x_t : int or array of int
        States (B, ...).
    score : array
        The ratios p_t(i) / p_t(x_t), (..., S).
    t : float or array
        A time, or one for each sample, (B,).

    Returns
    -------
    array
        The rates (..., S); 0 where Q[i, x_t] = 0, whatever the score says there.
    """
    op = "rates_from_score"
    score, now = a_state_each(op, "score", score, states_of(op, "x_t", x_t, process.states), process.states)
    jumps = _jumps(op, process, now, t)
    xp, _ = like_of(score)
    return xp.where(jumps > 0, jumps * score, 0.0)


@any_library
def score_from_rates(process: Process, x_t: ArrayT | NumpyLike, rates: ArrayT | NumpyLike, t: Real) -> ArrayT:
    """The score of reverse rates, the inverse of `rates_from_score`.

    ::

        rates[i] / (beta(t) Q[i, x_t]) for every i

    Parameters
    ----------
    process : Process
        The process.
    x_t : int or array of int
        States (B, ...).
    rates : array
        The reverse rates (..., S).
    t : float or array
        A time, or one for each sample, (B,).

    Returns
    -------
    array
        The ratios (..., S): 1 at i = x_t, and NaN where Q[i, x_t] = 0.
    """
    op = "score_from_rates"
    rates, now = a_state_each(op, "rates", rates, states_of(op, "x_t", x_t, process.states), process.states)
    jumps = _jumps(op, process, now, t)
    xp, device = like_of(rates)
    score = xp.where(jumps > 0, rates / xp.where(jumps > 0, jumps, 1.0), math.nan)
    return xp.where(move(np.arange(process.states), xp, device) == now[..., None], 1.0, score)


@any_library
def reachable_from(process: Process, x_t: ArrayT | NumpyLike, t: Real) -> ArrayT:
    """Whether x_0 can be at x_t at time t at all, for every x_0.

    Parameters
    ----------
    process : Process
        The process.
    x_t : int or array of int
        States (B, ...).
    t : float or array
        A time, or one for each sample, (B,).

    Returns
    -------
    array of bool
        (..., S).
    """
    op = "reachable_from"
    now = states_of(op, "x_t", x_t, process.states)
    (times,) = process._durations(op, t)
    one_a_sample(op, times, now.shape)
    return process._lookup(times, *like_of(now)).columns(now) > 0


@any_library
def score_from_probs(process: Process, x_t: ArrayT | NumpyLike, probs: ArrayT | NumpyLike, t: Real) -> ArrayT:
    """The score of a law of x_0.

    ::

        sum over x_0 of probs[x_0] P(t)[x_0, i] / P(t)[x_0, x_t] for every i

    This is `Process.score`, but it waits for no values on a device.

    Parameters
    ----------
    process : Process
        The process.
    x_t : int or array of int
        States (B, ...).
    probs : array
        p(x_0 | x_t), floating point (..., S). They sum to 1, and are 0 where P(t)[x_0, x_t] is: see
        `probs_from_logits`.
    t : float or array
        A time, or one for each sample, (B,).

    Returns
    -------
    array
        The ratios (..., S); NaN where Q[i, x_t] = 0.

    Raises
    ------
    ValueError
        If the probabilities break a rule (NumPy and CPU tensors).
    """
    op = "score_from_probs"
    return process._ratios(op, "probs", states_of(op, "x_t", x_t, process.states), probs, t, wait=False)


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


@any_library
def probs_from_score(process: Process, x_t: ArrayT | NumpyLike, score: ArrayT | NumpyLike, t: float) -> ArrayT:
    """The law of x_0 of a score, the inverse of `score_from_probs` where there is one.

    It solves, over the x_0 that reach x_t::

        sum over x_0 of probs[x_0] P(t)[x_0, i] / P(t)[x_0, x_t] = score[i]

    Parameters
    ----------
    process : Process
        The process.
    x_t : int or array of int
        States (B, ...).
    score : array
        The ratios at x_t, (..., S).
    t : float
        One time.

    Returns
    -------
    array
        p(x_0 | x_t), float64 (..., S), in the library and on the device of `score`. It is not differentiable.

    Raises
    ------
    ValueError
        If the equations do not determine the law.

    Notes
    -----
    There are as many equations as states that jump into x_t, and one more. They do not determine the law for a process
    of nearest neighbours with more states than that, nor at times so late that x_t has forgotten x_0. The error grows
    with the condition number of P(t): 1e-16 exp(t) for uniform and absorbing. The equations are solved on the host.
    """
    op = "probs_from_score"
    matrix = process._small(*process._durations(op, np.float64(number_of(op, "t", t))))
    score, x_t = a_state_each(op, "score", score, states_of(op, "x_t", x_t, process.states), process.states)
    now = host(x_t, op, "x_t")
    flat = host(score, op, "score").astype(np.float64).reshape(-1, process.states)
    result = np.zeros_like(flat)
    for j in np.unique(now):
        sources = matrix[:, j] > 0
        if sources.sum() == 1:
            result[now.ravel() == j] = sources
            continue
        rows = now.ravel() == j
        defined = np.isfinite(flat[rows]).all(0)
        ratios = (matrix[sources] / matrix[sources, j, None])[:, defined]
        singular = np.linalg.svd(ratios, compute_uv=False)
        if (singular > 1e-12 * singular.max(initial=0.0)).sum() < sources.sum():
            raise ValueError(
                f"{op}: score: must determine the law of x_0, got {int(defined.sum())} ratios at x_t = {j}, "
                f"t = {t}, for {int(sources.sum())} states"
            )
        solved = np.linalg.lstsq(ratios.T, flat[rows][:, defined].T, rcond=None)[0]
        result[np.ix_(rows, sources)] = solved.T
    return move(result.reshape(*now.shape, process.states), *like_of(score))
