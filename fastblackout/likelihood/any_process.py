"""Bits per dimension under any process: upper bounds of -log p(x_0), by Monte Carlo.

In continuous time, for a model of the reverse rates b, a the true ones given x_0:

    -log p(x_0) <= integral over t from 0 to T of E[ sum over i of D(a_i || b_i) ] + KL(P(T)[x_0, .] || prior).

In discrete time, for a model of p(x_0 | x_t) and the sampler that steps over T = t_0 > t_1 > ... > t_n = 0:

    -log p(x_0) <= sum over steps from t to s of E[ KL(q(x_s | x_t, x_0) || p(x_s | x_t)) ] + KL(P(T)[x_0, .] || prior).

Both are equalities for one variable, the exact model and the prior P(T) gives p_0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..call.keys import resolve_rng
from ..philox import Philox
from ..processes.base import Process
from ..processes.conversion import probs_from_logits
from ..processes.inputs import rate_of
from ..processes.rate_loss import prior_divergence, rate_loss
from ..processes.reversal import time_grid
from .estimate import Bound, check_images, estimate

if TYPE_CHECKING:
    from torch import Tensor

    from ..typing import Array, Kind


@torch.inference_mode()
def process_bits_per_dim(
    process: Process,
    rates: Callable[[Tensor, Tensor], Tensor],
    x_0: Tensor,
    *,
    end: float,
    prior: Array | None = None,
    rng: Philox | int | None = None,
    generator: torch.Generator | None = None,
    draws: int = 16,
    repeats: int = 8,
    batch: int = 256,
) -> Bound:
    """An upper bound of -log2 p(x_0) per dimension for a model of the reverse rates of any process.

    ::

        integral over t from 0 to end of E[ sum over i of D(a_i || b_i) ] + KL(P(end)[x_0, .] || prior), in bits

    a are the true rates given x_0, and b the model's; `processes.rate_loss` defines D.

    Parameters
    ----------
    process : Process
        The process.
    rates : callable
        `rates(x_t, t)` returns b, (B, ..., S), for states x_t (B, ...) like `x_0` and times t float64 (B,).
        `processes.conversion` makes them of x_0-probabilities.
    x_0 : torch.Tensor
        Integer states (B, ...).
    end : float
        The time at which the reverse process starts.
    prior : array, optional
        The law (S,) of the state at which it starts. By default it is process.stationary().
    rng : Philox or int, optional
        The key. Repeat r uses call r.
    generator : torch.Generator, optional
        Where the seed comes from if there is no key.
    draws : int, default 16
        Draws of t for each sample and repeat.
    repeats : int, default 8
        Independent repeats, at least 2, as in `bits_per_dim`.
    batch : int, default 256
        The most samples in one call of `rates`. It changes no draw.

    Returns
    -------
    Bound
        The bound, with its errors.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range, or the prior is 0 where x_0 can be at `end`: the bound is then infinite.

    Notes
    -----
    Times are end u^2, with u of low discrepancy over all samples, for rates that grow as t -> 0.

    Pure death is black for certain at infinite time alone. For it use `bits_per_dim`, or give a prior such as the mean
    law at `end`.

    References
    ----------
    Campbell et al., NeurIPS 2022.
    """
    op = "process_bits_per_dim"
    _check_kinds(op, process, "rates", rates)
    end = rate_of(op, "end", end)
    check_images(op, x_0, process.states - 1, draws, repeats, batch)
    key = resolve_rng(rng, generator, op)
    known = _cost_of_the_start(op, process, x_0, end, prior)

    def cost(u: Tensor, which: Tensor, this: Philox) -> Tensor:
        t, clean = end * u.square(), x_0[which]
        x_t = process.sample_forward(clean, t, rng=this)
        return 2 * end * u * rate_loss(process, x_t, clean, t, rates(x_t, t)) + known[which]

    return estimate([cost], x_0, draws, batch, [key.at(call=r) for r in range(repeats)])[0]


@torch.inference_mode()
def sampler_bits_per_dim(
    process: Process,
    model: Callable[[Tensor, Tensor], Tensor],
    x_0: Tensor,
    *,
    times: Sequence[float],
    kind: Kind = "logits",
    prior: Array | None = None,
    rng: Philox | int | None = None,
    generator: torch.Generator | None = None,
    draws: int = 16,
    repeats: int = 8,
    batch: int = 256,
) -> Bound:
    """An upper bound of -log2 p(x_0) per dimension for the samples of `processes.sample_reverse` with a model.

    ::

        sum over steps from t to s of E[ KL(q(x_s | x_t, x_0) || p(x_s | x_t)) ] + KL(P(times[0])[x_0, .] || prior), in
        bits

    p(x_s | x_t) is `Process.reverse_law` of the model, the variables independent given x_t.

    Parameters
    ----------
    process : Process
        The process.
    model : callable
        `model(x_t, t)` returns logits or probabilities of x_0, (B, ..., S), for states x_t (B, ...) and times t float64
        (B,), one a sample. They are 0 (logits: -inf) for an x_0 that cannot be at x_t; see
        `processes.conversion.reachable_from`. The model is used as it is: call eval() on a network.
    x_0 : torch.Tensor
        Integer states (B, ...).
    times : sequence of float
        The times of the sampler, which fall; the last is 0.
    kind : {"logits", "probs"}, default "logits"
        What the model returns.
    prior : array, optional
        The law (S,) of the state at which it starts. By default it is process.stationary().
    rng : Philox or int, optional
        The key. Repeat r uses call r.
    generator : torch.Generator, optional
        Where the seed comes from if there is no key.
    draws : int, default 16
        Draws of the step for each sample and repeat. With a multiple of the number of steps, each repeat visits every
        step of every sample.
    repeats : int, default 8
        Independent repeats, at least 2, as in `bits_per_dim`.
    batch : int, default 256
        The most samples in one call of the model. It changes no draw.

    Returns
    -------
    Bound
        The bound, with its errors.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range, or the prior is 0 where x_0 can be at times[0].

    References
    ----------
    Austin et al., NeurIPS 2021, arXiv 2107.03006, equation 1.
    """
    op = "sampler_bits_per_dim"
    _check_kinds(op, process, "model", model)
    check_images(op, x_0, process.states - 1, draws, repeats, batch)
    grid = time_grid(op, times, kind)
    if grid[-1] != 0:
        raise ValueError(f"{op}: times: the last must be 0, got {grid[-1]!r}")
    key = resolve_rng(rng, generator, op)
    known = _cost_of_the_start(op, process, x_0, grid[0], prior)
    points = torch.tensor(grid, dtype=torch.float64, device=x_0.device)
    steps = len(grid) - 1

    def cost(u: Tensor, which: Tensor, this: Philox) -> Tensor:
        n, clean = (u * steps).long(), x_0[which]
        t, s = points[n], points[n + 1]
        x_t = process.sample_forward(clean, t, rng=this)
        predicted = model(x_t, t)
        if kind == "logits":
            predicted = probs_from_logits(predicted.double())
        found = process.reverse_law(x_t, predicted, s, t)
        true = process.bridge(x_t, clean, s, t)
        divergence = torch.xlogy(true, true) - torch.xlogy(true, found)
        return steps * divergence.flatten(1).sum(1) + known[which]

    return estimate([cost], x_0, draws, batch, [key.at(call=r) for r in range(repeats)])[0]


def _check_kinds(op: str, process: Any, name: str, model: Any) -> None:
    if not isinstance(process, Process):
        raise TypeError(f"{op}: process: must be one of fastblackout.processes, got {type(process).__name__}")
    if not callable(model):
        raise TypeError(f"{op}: {name}: must be called with states and times, got {type(model).__name__}")


def _cost_of_the_start(op: str, process: Process, x_0: Tensor, end: float, prior: Any) -> Tensor:
    """KL(P(end)[x_0, .] || prior), (B,), which must be finite."""
    known = prior_divergence(process, x_0, end, process.stationary() if prior is None else prior)
    if not bool(torch.isfinite(known).all()):
        raise ValueError(f"{op}: prior: must be above 0 wherever x_0 can be at time {end}, got 0 for such a state")
    return known
