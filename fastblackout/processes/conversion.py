"""From what one network predicts to what another formula asks for: every parametrization of a reverse process.

| name | what it is |
|---|---|
| logits | real numbers, (..., S): x_0-probabilities before softmax; or (...): births before softplus and gain |
| probs | p(x_0 | x_t), (..., S) |
| births | y = E[x_0 - x_t | x_t], (...), of pure death |
| score | the ratios p_t(i) / p_t(x_t), (..., S), where Q[i, x_t] > 0 (concrete score); 1 at i = x_t, NaN elsewhere |
| rates | of the reverse process from x_t to i, (..., S): beta(t) Q[i, x_t] score[i]; 0 at i = x_t |

NumPy, torch or DLPack, computed in their own float type (integers count as float64) and differentiable in torch; NumPy
states beside a tensor follow it. Shapes: x_t (B, ...), t a number or (B,). TypeError or ValueError naming function,
argument, rule and value; values on a device are not looked at, but for states and times.
A posterior mean does not determine a law: probs cannot be had from births, nor from the score of a process whose jumps
reach too few states; probs_from_score says so.
Source: Lou et al., arXiv 2310.16834 (score); Austin et al., arXiv 2107.03006 (x_0-probabilities); Santos et al., arXiv
2305.11089 (births).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import a_state_each, any_library, host, like_of, move, number_of, one_a_sample, states_of, visible

if TYPE_CHECKING:
    from .base import Process


@any_library
def probs_from_logits(logits: Any, reachable: Any = None) -> Any:
    """softmax(logits) over the last dimension, (..., S); reachable, bool (..., S): 0 elsewhere, the rest summing to 1.

    ValueError where a row has no reachable state with a logit above -inf (NumPy and CPU tensors).
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
def logits_from_probs(probs: Any) -> Any:
    """log probs, the logits whose softmax they are: -inf for 0."""
    xp, _ = like_of(probs)
    with np.errstate(divide="ignore"):
        return xp.log(probs)


@any_library
def births_from_logits(logits: Any, gain: Any = 1.0) -> Any:
    """y = gain softplus(logits), elementwise: the output of a Blackout Diffusion network as births."""
    xp, _ = like_of(logits)
    return gain * (xp.logaddexp(logits, xp.zeros_like(logits)))


@any_library
def logits_from_births(births: Any, gain: Any = 1.0) -> Any:
    """The logits with gain softplus(logits) = births; -inf for 0. births: at least 0, ValueError else."""
    xp, _ = like_of(births)
    values = xp.asarray(births)
    if visible(values) and not bool((values >= 0).all()):
        raise ValueError(f"logits_from_births: births: must be at least 0, got {float(values.min())!r}")
    y = values / gain
    with np.errstate(divide="ignore"):
        return y + xp.log(-xp.expm1(-y))


@any_library
def births_from_probs(probs: Any, x_t: Any) -> Any:
    """y = E[x_0 | x_t] - x_t, (...), of pure death: probs (..., S) over x_0 = 0..S - 1, x_t (...)."""
    xp, device = like_of(probs)
    counts = move(np.arange(float(probs.shape[-1])), xp, device)
    return (probs * (counts - x_t[..., None])).sum(-1)


@any_library
def rate_from_births(births: Any, alive: Any) -> Any:
    """The birth rate y p / (1 - p) of pure death; alive: fb.Prob(p, q) that broadcasts with births, q above 0."""
    return births * (alive.p / alive.q)


@any_library
def births_from_rate(rate: Any, alive: Any) -> Any:
    """y = rate (1 - p) / p of pure death, p above 0."""
    return rate * (alive.q / alive.p)


@any_library
def score_from_births(births: Any, x_t: Any, alive: Any) -> Any:
    """The ratio p_t(x_t + 1) / p_t(x_t) = y p / ((1 - p) (x_t + 1)) of pure death: its one defined score."""
    return rate_from_births(births, alive) / (x_t + 1.0)


@any_library
def births_from_score(score: Any, x_t: Any, alive: Any) -> Any:
    """The inverse of score_from_births."""
    return births_from_rate(score * (x_t + 1.0), alive)


@any_library
def jumps_into(process: Process, x_t: Any, t: Any) -> Any:
    """beta(t) Q[i, x_t] for every i, (..., S) float64, 0 at i = x_t: what turns a score into reverse rates."""
    return _jumps("jumps_into", process, states_of("jumps_into", "x_t", x_t, process.states), t)


def _jumps(op: str, process: Process, now: Any, t: Any) -> Any:
    return process._jumps(now) * process._beta(op, t, now)


@any_library
def rates_from_score(process: Process, x_t: Any, score: Any, t: Any) -> Any:
    """beta(t) Q[i, x_t] score[i], (..., S); 0 where Q[i, x_t] = 0, whatever the score says there. x_t: (B, ...)."""
    op = "rates_from_score"
    score, now = a_state_each(op, "score", score, states_of(op, "x_t", x_t, process.states), process.states)
    jumps = _jumps(op, process, now, t)
    xp, _ = like_of(score)
    return xp.where(jumps > 0, jumps * score, 0.0)


@any_library
def score_from_rates(process: Process, x_t: Any, rates: Any, t: Any) -> Any:
    """rates / (beta(t) Q[i, x_t]), (..., S): 1 at i = x_t, NaN where Q[i, x_t] = 0. The inverse of rates_from_score."""
    op = "score_from_rates"
    rates, now = a_state_each(op, "rates", rates, states_of(op, "x_t", x_t, process.states), process.states)
    jumps = _jumps(op, process, now, t)
    xp, device = like_of(rates)
    score = xp.where(jumps > 0, rates / xp.where(jumps > 0, jumps, 1.0), math.nan)
    return xp.where(move(np.arange(process.states), xp, device) == now[..., None], 1.0, score)


@any_library
def reachable_from(process: Process, x_t: Any, t: Any) -> Any:
    """bool (..., S): whether x_0 can be at x_t at time t at all."""
    op = "reachable_from"
    now = states_of(op, "x_t", x_t, process.states)
    (times,) = process._durations(op, t)
    one_a_sample(op, times, now.shape)
    return process._lookup(times, *like_of(now)).columns(now) > 0


@any_library
def score_from_probs(process: Process, x_t: Any, probs: Any, t: Any) -> Any:
    """sum over x_0 of probs[x_0] P(t)[x_0, i] / P(t)[x_0, x_t], (..., S): process.score, which waits for no values.

    t: number or (B,). probs must sum to 1, and be 0 where P(t)[x_0, x_t] is (see probs_from_logits): ValueError else,
    but on a device. NaN where Q[i, x_t] = 0.
    """
    op = "score_from_probs"
    return process._ratios(op, "probs", states_of(op, "x_t", x_t, process.states), probs, t, wait=False)


@any_library
def probs_from_score(process: Process, x_t: Any, score: Any, t: float) -> Any:
    """p(x_0 | x_t) from the score at x_t, float64 (..., S): the inverse of score_from_probs, where there is one.

    Solves sum over x_0 of probs[x_0] P(t)[x_0, i] / P(t)[x_0, x_t] = score[i] over the x_0 that reach x_t. There are as
    many equations as states that jump into x_t, and one more; ValueError where they do not determine probs, as for
    every process of nearest neighbours with more states than that, or at times so late that x_t has forgotten x_0.
    The error grows with the condition number of P(t): 1e-16 exp(t) for uniform and absorbing.
    t: one number. Solved on the host, not differentiable; the result is where score is.
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
        if np.linalg.matrix_rank(ratios, rtol=1e-12) < sources.sum():
            raise ValueError(
                f"{op}: score: must determine the law of x_0, got {int(defined.sum())} ratios at x_t = {j}, "
                f"t = {t}, for {int(sources.sum())} states"
            )
        solved = np.linalg.lstsq(ratios.T, flat[rows][:, defined].T, rcond=None)[0]
        result[np.ix_(rows, sources)] = solved.T
    return move(result.reshape(*now.shape, process.states), *like_of(score))
