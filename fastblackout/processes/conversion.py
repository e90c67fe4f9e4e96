"""From what one network predicts to what another formula asks for: every parametrization of a reverse process.

| name | what it is |
|---|---|
| logits | real numbers, (..., S): x_0-probabilities before softmax; or (...): births before softplus and gain |
| probs | p(x_0 | x_t), (..., S) |
| births | y = E[x_0 - x_t | x_t], (...), of pure death |
| score | the ratios p_t(i) / p_t(x_t), (..., S), where Q[i, x_t] > 0 (concrete score); 1 at i = x_t, NaN elsewhere |
| rates | of the reverse process from x_t to i, (..., S): beta(t) Q[i, x_t] score[i]; 0 at i = x_t |

NumPy arrays or torch tensors, computed in their own float type (integers count as float64) and differentiable in torch.
A posterior mean does not determine a law: probs cannot be had from births, nor from the score of a process whose jumps
reach too few states; probs_from_score says so.
Source: Lou et al., arXiv 2310.16834 (score); Austin et al., arXiv 2107.03006 (x_0-probabilities); Santos et al., arXiv
2305.11089 (births).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import host, like_of, move, states_of

if TYPE_CHECKING:
    from .base import Process
    from .lookup import Lookup


def probs_from_logits(logits: Any, reachable: Any = None) -> Any:
    """softmax(logits) over the last dimension, (..., S); reachable, bool (..., S): 0 elsewhere, the rest summing to 1.

    ValueError where a row has no reachable state with a logit above -inf (NumPy and CPU tensors).
    """
    xp, _ = like_of(logits)
    masked = logits if reachable is None else xp.where(reachable, logits, -math.inf)
    top = xp.amax(masked, -1)[..., None]
    if xp is np or top.device.type == "cpu":
        wrong = ~xp.isfinite(top)
        if wrong.any():
            raise ValueError(
                f"probs_from_logits: logits: each row must have a finite largest, got {float(top[wrong][0])}"
            )
    weights = xp.exp(masked - top)
    return weights / weights.sum(-1)[..., None]


def logits_from_probs(probs: Any) -> Any:
    """log probs, the logits whose softmax they are: -inf for 0."""
    xp, _ = like_of(probs)
    with np.errstate(divide="ignore"):
        return xp.log(probs)


def births_from_logits(logits: Any, gain: Any = 1.0) -> Any:
    """y = gain softplus(logits), elementwise: the output of a Blackout Diffusion network as births."""
    xp, _ = like_of(logits)
    return gain * (xp.logaddexp(logits, xp.zeros_like(logits)))


def logits_from_births(births: Any, gain: Any = 1.0) -> Any:
    """The logits with gain softplus(logits) = births; -inf for 0. births: at least 0."""
    xp, _ = like_of(births)
    y = births / gain
    with np.errstate(divide="ignore"):
        return y + xp.log(-xp.expm1(-y))


def births_from_probs(probs: Any, x_t: Any) -> Any:
    """y = E[x_0 | x_t] - x_t, (...), of pure death: probs (..., S) over x_0 = 0..S - 1, x_t (...)."""
    xp, device = like_of(probs)
    counts = move(np.arange(float(probs.shape[-1])), xp, device)
    return (probs * (counts - x_t[..., None])).sum(-1)


def rate_from_births(births: Any, alive: Any) -> Any:
    """The birth rate y p / (1 - p) of pure death; alive: fb.Prob(p, q) that broadcasts with births, q above 0."""
    return births * (alive.p / alive.q)


def births_from_rate(rate: Any, alive: Any) -> Any:
    """y = rate (1 - p) / p of pure death, p above 0."""
    return rate * (alive.q / alive.p)


def score_from_births(births: Any, x_t: Any, alive: Any) -> Any:
    """The ratio p_t(x_t + 1) / p_t(x_t) = y p / ((1 - p) (x_t + 1)) of pure death: its one defined score."""
    return rate_from_births(births, alive) / (x_t + 1.0)


def births_from_score(score: Any, x_t: Any, alive: Any) -> Any:
    """The inverse of score_from_births."""
    return births_from_rate(score * (x_t + 1.0), alive)


def jumps_into(process: Process, x_t: Any, t: Any) -> Any:
    """beta(t) Q[i, x_t] for every i, (..., S) float64, 0 at i = x_t: what turns a score into reverse rates."""
    now = states_of("jumps_into", "x_t", x_t, process.states)
    xp, device = like_of(now)
    rates = process.generator().T.copy()
    np.fill_diagonal(rates, 0.0)
    beta = np.asarray(process.beta(t))
    factor = move(beta.reshape(beta.shape + (1,) * now.ndim) if beta.ndim else beta, xp, device)
    return move(rates, xp, device)[now] * factor


def rates_from_score(process: Process, x_t: Any, score: Any, t: Any) -> Any:
    """beta(t) Q[i, x_t] score[i], (..., S); 0 where Q[i, x_t] = 0, whatever the score says there. x_t: (B, ...)."""
    jumps = jumps_into(process, x_t, t)
    xp, _ = like_of(score)
    return xp.where(jumps > 0, jumps * score, 0.0)


def score_from_rates(process: Process, x_t: Any, rates: Any, t: Any) -> Any:
    """rates / (beta(t) Q[i, x_t]), (..., S): 1 at i = x_t, NaN where Q[i, x_t] = 0. The inverse of rates_from_score."""
    jumps = jumps_into(process, x_t, t)
    xp, device = like_of(rates)
    score = xp.where(jumps > 0, rates / xp.where(jumps > 0, jumps, 1.0), math.nan)
    own = move(np.eye(process.states, dtype=bool), xp, device)[
        states_of("score_from_rates", "x_t", x_t, process.states)
    ]
    return xp.where(own, 1.0, score)


def reachable_from(process: Process, x_t: Any, t: Any) -> Any:
    """bool (..., S): whether x_0 can be at x_t at time t at all."""
    now = states_of("reachable_from", "x_t", x_t, process.states)
    return _lookup(process, t, now).columns(now) > 0


def _lookup(process: Process, t: Any, like: Any) -> Lookup:
    """P(t), in the library and on the device of `like`."""
    (times,) = process._durations("conversion", host(t, "conversion", "t"))
    return process._lookup(times, *like_of(like))


def score_from_probs(process: Process, x_t: Any, probs: Any, t: Any) -> Any:
    """sum over x_0 of probs[x_0] P(t)[x_0, i] / P(t)[x_0, x_t], (..., S); differentiable, unlike Process.score.

    t: number or (B,). probs must be 0 where P(t)[x_0, x_t] is (see probs_from_logits). NaN where Q[i, x_t] = 0.
    """
    xp, device = like_of(probs)
    at = _lookup(process, t, probs)
    here = at.columns(states_of("score_from_probs", "x_t", x_t, process.states))
    if (xp is np or device.type == "cpu") and bool(((probs > 0) & (here == 0)).any()):
        raise ValueError("score_from_probs: probs: must be 0 where P(t)[x_0, x_t] is 0, got more for such an x_0")
    weights = xp.where(here > 0, probs / xp.where(here > 0, here, 1.0), 0.0)
    return _where_defined(process, x_t, at.weighted(weights))


def _where_defined(process: Process, x_t: Any, score: Any) -> Any:
    xp, device = like_of(score)
    allowed = (process.generator().T > 0) | np.eye(process.states, dtype=bool)
    return xp.where(move(allowed, xp, device)[states_of("conversion", "x_t", x_t, process.states)], score, math.nan)


def probs_from_score(process: Process, x_t: Any, score: Any, t: float) -> Any:
    """p(x_0 | x_t) from the score at x_t, NumPy float64 (..., S): the inverse of score_from_probs, where there is one.

    Solves sum over x_0 of probs[x_0] P(t)[x_0, i] / P(t)[x_0, x_t] = score[i] over the x_0 that reach x_t. There are as
    many equations as states that jump into x_t, and one more; ValueError where they do not determine probs, as for
    every process of nearest neighbours with more states than that, or at times so late that x_t has forgotten x_0.
    The error grows with the condition number of P(t): 1e-16 exp(t) for uniform and absorbing.
    """
    op = "probs_from_score"
    matrix = process._small(*process._durations(op, np.float64(t)))
    now = states_of(op, "x_t", x_t, process.states)
    flat = np.asarray(score, dtype=np.float64).reshape(-1, process.states)
    result = np.zeros_like(flat)
    for j in np.unique(now):
        sources = matrix[:, j] > 0
        if sources.sum() == 1:
            result[now.ravel() == j] = sources
            continue
        rows = now.ravel() == j
        defined = np.isfinite(flat[rows]).all(0)
        ratios = (matrix[sources] / matrix[sources, j, None])[:, defined]
        if np.linalg.matrix_rank(ratios, rtol=1e-12) < sources.sum():
            raise ValueError(
                f"{op}: score: must determine the law of x_0, got {int(defined.sum())} ratios at x_t = {j}, "
                f"t = {t}, for {int(sources.sum())} states"
            )
        solved = np.linalg.lstsq(ratios.T, flat[rows][:, defined].T, rcond=None)[0]
        result[np.ix_(rows, sources)] = solved.T
    return result.reshape(*now.shape, process.states)
