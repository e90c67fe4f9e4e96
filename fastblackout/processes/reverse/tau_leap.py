"""A tau-leaping step of a reverse process: rates that are held for a while, and Poisson numbers of jumps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import COUNTS, Array, adopt
from ...call.states import check_holds
from ...ground.values import check_integer
from ...ops import poisson
from ...philox import Philox
from ..inputs import (
    MAX_STATES,
    any_library,
    like_of,
    rate_of,
    states_of,
    together,
    visible,
)

if TYPE_CHECKING:
    import torch

    from ...typing import ArrayT, NumpyLike


@any_library
def tau_leap_reverse(
    x_t: ArrayT | NumpyLike,
    rates: ArrayT | NumpyLike,
    duration: float,
    *,
    targets: ArrayT | NumpyLike | None = None,
    states: int | None = None,
    ordered: bool = True,
    rng: Philox | int | None = None,
    generator: torch.Generator | None = None,
) -> ArrayT:
    """One tau-leaping step: reverse rates are held for `duration`, with Poisson(rates duration) jumps of each kind.

    ::

        ordered:  x_s = x_t + sum over k of (target_k - x_t) Poisson(rates_k duration), clamped to 0..S - 1
        else:     x_s = target_k where one jump alone was drawn, of kind k; x_t where none or several were

    Parameters
    ----------
    x_t : array of int
        States (B, ...) in 0..S - 1. Their dtype holds S - 1.
    rates : array
        (B, ..., K) in float64 or float32, finite, at least 0, and 0 from x_t to itself.
    duration : float
        The length of the step, at least 0.
    targets : array of int, optional
        The states that are jumped to, which broadcast to `rates`, in 0..S - 1 where the rate is above 0. By default
        they are 0..K - 1 with K = S. For neighbours, give rates (..., 2) and stack x_t + 1 and x_t - 1.
    states : int, optional
        S. It is needed with `targets`.
    ordered : bool, default True
        True is for counts and levels, False for states of which none is between others (Campbell et al., 4.3).
    rng : Philox or int, optional
        The key. fb.poisson(rates * duration) makes the draws.
    generator : torch.Generator, optional
        Where the seed comes from if there is no key.

    Returns
    -------
    array of int
        x_s, like `x_t`.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range. Values on a device are not checked.

    Notes
    -----
    It runs where x_t and rates are. At its peak it keeps four arrays like `rates`, of 8 bytes an entry.

    References
    ----------
    Gillespie, J. Chem. Phys. 115 (2001); Campbell et al., NeurIPS 2022.
    """
    op = "tau_leap_reverse"
    x, given = adopt(x_t, op, "x_t", COUNTS), adopt(rates, op, "rates", ("float64", "float32"))
    if x.is_tensor != given.is_tensor:
        raise TypeError(f"{op}: rates: must be of the library of x_t, got {type(given.value).__name__}")
    held = rate_of(op, "duration", duration, zero=True)
    if given.shape[:-1] != x.shape or not given.shape:
        raise ValueError(f"{op}: rates: shape must be {x.shape} and the jumps, got {given.shape}")
    if (targets is None) != (states is None):
        raise ValueError(f"{op}: targets, states: must come together, got {targets!r} and {states!r}")
    size = check_integer(op, "states", given.shape[-1] if states is None else states, 1, MAX_STATES)
    check_holds(op, "x_t", x.dtype, size)
    xp, _ = like_of(x.value)
    to: Any = np.arange(size) if targets is None else adopt(targets, op, "targets", COUNTS).value
    fits = all(wide in (1, of) for wide, of in zip(to.shape[::-1], given.shape[::-1], strict=False))
    if not fits or to.ndim > len(given.shape):
        raise ValueError(f"{op}: targets: must broadcast to the rates' {given.shape}, got shape {tuple(to.shape)}")
    now, rate, to = together(op, x_t=x.value, rates=given.value, targets=to)
    rate = rate.detach() if given.is_tensor else rate
    now = (now.long() if x.is_tensor else now.astype(np.int64))[..., None]
    if visible(now):
        states_of(op, "x_t", x.value, size)
        _check_jumps(op, now, rate, to, size)
    jumps = poisson(rate * held, rng=rng, generator=generator)
    if not ordered:
        jumps = xp.where((jumps.sum(-1) == 1)[..., None], jumps, 0)
    return _like((now[..., 0] + (jumps * (to - now)).sum(-1)).clip(0, size - 1), x)


def _check_jumps(op: str, now: Any, rates: Any, to: Any, size: int) -> None:
    """Rates from states `now` (..., 1), (..., K), and where they lead."""
    wrong = ~((rates >= 0) & (rates < math.inf))
    if bool(wrong.any()):
        raise ValueError(f"{op}: rates: must be finite and at least 0, got {float(rates[wrong].reshape(-1)[0])!r}")
    outside = (rates > 0) & ((to < 0) | (to >= size))
    if bool(outside.any()):
        target = int((to + 0 * now)[outside].reshape(-1)[0])
        raise ValueError(f"{op}: targets: must be in 0..{size - 1} where rates are above 0, got {target}")
    idle = (rates > 0) & (to == now)
    if bool(idle.any()):
        raise ValueError(f"{op}: rates: must be 0 from x_t to itself, got {float(rates[idle].reshape(-1)[0])!r}")


def _like(states: Any, x: Array) -> Any:
    return states.to(x.value.dtype) if x.is_tensor else states.astype(x.dtype)
