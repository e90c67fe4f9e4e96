"""What a reverse process is trained on: the relative entropy of its jump rates, whose integral bounds -log p(x_0).

Given x_0 the true reverse rate from x_t to i is a_i = beta(t) Q[i, x_t] P(t)[x_0, i] / P(t)[x_0, x_t]. For a model's
rates b_i, with D(a || b) = b - a + a log(a / b),

    -log p(x_0) <= integral over t from 0 to T of E[ sum over i of D(a_i || b_i) ] + KL(P(T)[x_0, .] || prior).

So the mean of w(t) times the loss over times t drawn with density 1 / w(t) on 0..T is the integral: w = T for uniform
times. With b = beta Q score the sum over i is the score entropy of SEDD, and for a process of nearest neighbours it has
two terms, births and deaths.
Source: Campbell et al., NeurIPS 2022; Lou et al., arXiv 2310.16834.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..conversion import jumps_into
from ..inputs import any_library, law_of, like_of, move, number_of, shaped, states_of, together
from .divergence import rate_divergence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..base import Process


@any_library
def rate_loss(process: Process, x_t: Any, x_0: Any, t: Any, rates: Any) -> Any:
    """The sum over the jumps i and over a sample of D(a_i || b_i), (B,), for a model's reverse rates b.

    x_t, x_0: states (B, ...). t: number or (B,), above 0. rates: b, (B, ..., S), at least 0, where beta Q[i, x_t] > 0;
    what stands elsewhere is not read. NumPy, torch or DLPack, differentiable in rates; float64.
    Raises TypeError, ValueError.
    """
    true, jumps, rates = _truth("rate_loss", process, x_t, x_0, t, "rates", rates)
    xp, possible = like_of(true)[0], jumps > 0
    model = xp.where(possible, rates, xp.ones_like(true))
    cost = rate_divergence(xp.where(possible, true, xp.ones_like(true)), model)
    return _per_sample(cost)


@any_library
def score_entropy(process: Process, x_t: Any, x_0: Any, t: Any, log_score: Any) -> Any:
    """rate_loss of rates beta Q[i, x_t] exp(log_score[i]): the score entropy, weighted to be the likelihood bound.

        sum over i of beta Q[i, x_t] (s_i - r_i log s_i + r_i (log r_i - 1)),  r_i = P(t)[x_0, i] / P(t)[x_0, x_t]

    log_score: log s, (B, ..., S), what a network gives; read where Q[i, x_t] > 0.
    """
    true, jumps, log_score = _truth("score_entropy", process, x_t, x_0, t, "log_score", log_score)
    xp, possible = like_of(true)[0], jumps > 0
    log_rates = xp.where(possible, log_score, xp.zeros_like(true)) + xp.log(xp.where(possible, jumps, 1.0))
    return _per_sample(rate_divergence(xp.where(possible, true, xp.ones_like(true)), log_model_rate=log_rates))


@any_library
def birth_death_loss(process: Process, x_t: Any, x_0: Any, t: Any, log_births: Any, log_deaths: Any) -> Any:
    """rate_loss of a process of nearest neighbours, (B,), from two numbers a variable instead of S.

    log_births, log_deaths: logarithms of the model's reverse rates x_t -> x_t + 1 and x_t -> x_t - 1, (B, ...); not
    read where the process has no such jump. ValueError for a process that jumps further than to neighbours.
    """
    op = "birth_death_loss"
    rates = process._rates()
    if np.triu(rates, 2).any() or np.tril(rates, -2).any():
        raise ValueError(f"{op}: process: must jump to nearest neighbours alone, got {type(process).__name__}")
    now, then = process._pair(op, x_t=x_t, x_0=x_0)
    log_births, now = shaped(op, "log_births", log_births, now, now.shape)
    log_deaths, now = shaped(op, "log_deaths", log_deaths, now, now.shape)
    xp, device = like_of(now)
    factor = process._beta(op, t, now, behind=0)
    here = process.log_prob(now, then, t)
    process._possible(op, here > -np.inf, now, then)
    total = 0.0
    for step, log_model in ((1, log_births), (-1, log_deaths)):
        side = np.zeros(process.states)
        inner = slice(0, -1) if step == 1 else slice(1, None)
        side[inner] = np.diagonal(rates, -step)  # Q[x_t + step, x_t]
        jumps = move(side, xp, device)[now] * factor
        possible = jumps > 0
        there = process.log_prob(xp.where(possible, now + step, now), then, t)
        true = xp.where(possible, jumps * xp.exp(there - here), xp.ones_like(here))
        log_b = xp.where(possible, log_model, xp.zeros_like(here))
        total = total + _per_sample(rate_divergence(true, log_model_rate=log_b))
    return total


@any_library
def prior_divergence(process: Process, x_0: Any, end: float, prior: Any) -> Any:
    """KL(P(end)[x_0, .] || prior) summed over a sample, (B,) float64: what the bound adds for starting at the prior.

    prior: law (S,) of the state the reverse process starts from. Infinite where the prior leaves out a state that x_0
    reaches: pure death at a finite time against black alone.
    """
    op = "prior_divergence"
    law = law_of(op, "prior", prior, process.states)
    now = states_of(op, "x_0", x_0, process.states)
    return _per_sample(move(_divergences(op, process, end, law), *like_of(now))[now])


def exact_rate_bound(
    process: Process,
    rates: Callable[[NDArray[np.int64], NDArray[np.float64]], Any],
    end: float,
    prior: Any,
) -> NDArray[np.float64]:
    """The bound of -log p(x_0) for every x_0 of one variable, float64 (S,), in nats: no draw.

    rates(x_t, t): the model's reverse rates, (n, S, S), at states x_t (n, S), each row 0..S - 1, and times t (n,). The
    expectation over x_t is a sum, and the integral a Gauss-Legendre rule in log t, 16 nodes in each of 48 panels,
    from t = 1e-13 end. With the exact rates and the prior P(end) gives p_0, it is -log p_0(x_0) wherever p_0 is not 0.
    For toys: takes S^3 multiplications a node.
    """
    op = "exact_rate_bound"
    law = law_of(op, "prior", prior, process.states)
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(np.log(end * 1e-13), np.log(end), 49)
    half = np.diff(edges)[:, None] / 2
    times = np.exp(edges[:-1, None] + half * (1 + nodes)).ravel()
    steps = times * (half * weights).ravel()  # dt = t d log t
    total = _divergences(op, process, end, law)
    size = process.states
    for part in np.array_split(np.arange(len(times)), -(-len(times) * size**3 // (1 << 21))):
        x_t = np.broadcast_to(np.arange(size), (len(part), size))
        chance = process._small(*process._durations(op, times[part]))  # which is divided by
        model = np.asarray(rates(x_t, times[part]), dtype=np.float64)[:, None]  # node, x_0, x_t, i
        jumps = jumps_into(process, x_t, times[part])[:, None]
        here = chance[..., None]
        true = jumps * chance[:, :, None] / np.where(here > 0, here, 1.0)
        read = (here > 0) & (jumps > 0)
        cost = rate_divergence(np.where(read, true, 1.0), np.where(read, model, 1.0)).sum(-1)
        total = total + np.einsum("n,nij,nij->i", steps[part], chance, cost)
    return total


def _divergences(op: str, process: Process, end: float, law: NDArray[np.float64]) -> NDArray[np.float64]:
    (duration,) = process._durations(op, np.float64(number_of(op, "end", end)))
    return process._divergences(float(duration), law)


def _truth(op: str, process: Process, x_t: Any, x_0: Any, t: Any, name: str, model: Any) -> tuple[Any, Any, Any]:
    """(true rates, beta Q[., x_t], what the model gives), (B, ..., S) in one library."""
    true, jumps = process.reverse_rate(x_t, x_0, t), jumps_into(process, x_t, t)
    model, jumps = shaped(op, name, model, jumps, jumps.shape)
    return together(op, x_0=true, x_t=jumps, **{name: model})


def _per_sample(cost: Any) -> Any:
    return cost.reshape(len(cost), math.prod(cost.shape[1:])).sum(-1) if cost.ndim else cost
