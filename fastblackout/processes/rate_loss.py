"""What a reverse process is trained on: the relative entropy of its jump rates, whose integral bounds -log p(x_0).

Given x_0, the true reverse rate from x_t to i is a_i = beta(t) Q[i, x_t] P(t)[x_0, i] / P(t)[x_0, x_t]. For a model's
rates b_i, with D(a || b) = b - a + a log(a / b),

    -log p(x_0) <= integral over t from 0 to T of E[ sum over i of D(a_i || b_i) ] + KL(P(T)[x_0, .] || prior).

So draw times t with density 1 / w(t) on 0..T: the mean of w(t) times the loss is the integral. For uniform times w = T.
With b = beta Q score, the sum over i is the score entropy of SEDD. For a process of nearest neighbours it has two
terms, births and deaths.

Sources: Campbell et al., NeurIPS 2022; Lou et al., arXiv 2310.16834.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .conversion import jumps_into
from .inputs import any_library, law_of, like_of, move, number_of, rate_of, shaped, states_of, together

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import Array, ArrayT, NumpyLike, Real
    from .base import Process


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


@any_library
def rate_loss(
    process: Process, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real, rates: ArrayT | NumpyLike
) -> ArrayT:
    """The cost of a model's reverse rates b, for each sample.

    ::

        sum over a sample and over the jumps i of D(a_i || b_i),    D(a || b) = b - a + a log(a / b)

    a are the true rates given x_0, as `Process.reverse_rate` gives them.

    Parameters
    ----------
    process : Process
        The process.
    x_t : array of int
        States (B, ...) at time t.
    x_0 : array of int
        States at time 0, of the shape of `x_t`.
    t : float or array
        A time above 0, or one for each sample, (B,).
    rates : array
        b, (B, ..., S), at least 0. Only rates where beta Q[i, x_t] > 0 are read.

    Returns
    -------
    array
        float64 (B,), differentiable in `rates`.

    Notes
    -----
    Its integral over time bounds -log p(x_0); see `fb.process_bits_per_dim`.

    References
    ----------
    Campbell et al., NeurIPS 2022.
    """
    true, jumps, rates = _truth("rate_loss", process, x_t, x_0, t, "rates", rates)
    xp, possible = like_of(true)[0], jumps > 0
    model = xp.where(possible, rates, xp.ones_like(true))
    cost = rate_divergence(xp.where(possible, true, xp.ones_like(true)), model)
    return _per_sample(cost)


@any_library
def score_entropy(
    process: Process, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real, log_score: ArrayT | NumpyLike
) -> ArrayT:
    """The score entropy of a model's score s, for each sample, weighted to be the likelihood bound.

    ::

        sum over i of beta Q[i, x_t] (s_i - r_i log s_i + r_i (log r_i - 1)),    r_i = P(t)[x_0, i] / P(t)[x_0, x_t]

    This is the `rate_loss` of the rates beta Q[i, x_t] s_i.

    Parameters
    ----------
    process : Process
        The process.
    x_t : array of int
        States (B, ...) at time t.
    x_0 : array of int
        States at time 0, of the shape of `x_t`.
    t : float or array
        A time above 0, or one for each sample, (B,).
    log_score : array
        log s, (B, ..., S), which a network gives. It is read where Q[i, x_t] > 0.

    Returns
    -------
    array
        float64 (B,), differentiable in `log_score`.

    References
    ----------
    Lou et al., arXiv 2310.16834.
    """
    true, jumps, log_score = _truth("score_entropy", process, x_t, x_0, t, "log_score", log_score)
    xp, possible = like_of(true)[0], jumps > 0
    log_rates = xp.where(possible, log_score, xp.zeros_like(true)) + xp.log(xp.where(possible, jumps, 1.0))
    return _per_sample(rate_divergence(xp.where(possible, true, xp.ones_like(true)), log_model_rate=log_rates))


@any_library
def birth_death_loss(
    process: Process,
    x_t: ArrayT | NumpyLike,
    x_0: ArrayT | NumpyLike,
    t: Real,
    log_births: ArrayT | NumpyLike,
    log_deaths: ArrayT | NumpyLike,
) -> ArrayT:
    """The `rate_loss` of a process of nearest neighbours, from two numbers a variable instead of S.

    Parameters
    ----------
    process : Process
        The process.
    x_t : array of int
        States (B, ...) at time t.
    x_0 : array of int
        States at time 0, of the shape of `x_t`.
    t : float or array
        A time above 0, or one for each sample, (B,).
    log_births : array
        Logarithms of the model's reverse rates x_t -> x_t + 1, (B, ...). They are not read where the process has no
        such jump.
    log_deaths : array
        Logarithms of the model's reverse rates x_t -> x_t - 1, (B, ...), read alike.

    Returns
    -------
    array
        float64 (B,), differentiable in both.

    Raises
    ------
    ValueError
        If the process jumps further than to neighbours.
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
    total: Any = 0.0
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
    return cast("ArrayT", total)


@any_library
def prior_divergence(process: Process, x_0: ArrayT | NumpyLike, end: float, prior: Array) -> ArrayT:
    """What the likelihood bound adds for a start at the prior, for each sample.

    ::

        sum over a sample of KL(P(end)[x_0, .] || prior)

    Parameters
    ----------
    process : Process
        The process.
    x_0 : array of int
        States (B, ...) at time 0.
    end : float
        The time at which the reverse process starts.
    prior : array
        The law (S,) of the state at which it starts.

    Returns
    -------
    array
        float64 (B,). It is infinite where the prior leaves out a state that x_0 reaches. Pure death at a finite time
        against black alone is such a case.
    """
    op = "prior_divergence"
    law = law_of(op, "prior", prior, process.states)
    now = states_of(op, "x_0", x_0, process.states)
    return _per_sample(move(_divergences(op, process, end, law), *like_of(now))[now])


def exact_rate_bound(
    process: Process,
    rates: Callable[[NDArray[np.int64], NDArray[np.float64]], Any],
    end: float,
    prior: Array,
) -> NDArray[np.float64]:
    """The bound of -log p(x_0) for every x_0 of one variable, in nats, without a draw.

    With the exact rates, and a prior that P(end) makes of p_0, it is -log p_0(x_0) wherever p_0 is not 0.

    Parameters
    ----------
    process : Process
        The process.
    rates : callable
        The model's reverse rates: `rates(x_t, t)` returns (n, S, S) for states x_t (n, S), each row 0..S - 1, and times
        t (n,).
    end : float
        The time at which the reverse process starts.
    prior : array
        The law (S,) of the state at which it starts.

    Returns
    -------
    numpy.ndarray
        float64 (S,).

    Notes
    -----
    The expectation over x_t is a sum. The integral is a Gauss-Legendre rule in log t from t = 1e-13 end, with 16 nodes
    in each of 48 panels. It takes S^3 multiplications a node, so it is for toys.
    """
    op = "exact_rate_bound"
    end = rate_of(op, "end", end)
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
