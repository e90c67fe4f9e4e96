"""The reverse process: exact paths for a known law of the data, a tau-leaping step, and a driver for a model.

The reverse of the process jumps from x_t to i at rate beta(t) Q[i, x_t] p_t(i) / p_t(x_t), p_t the law of x_t.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import COUNTS, Array, adopt
from ...call.keys import late_key, resolve_rng
from ...call.states import check_holds
from ...ground.values import check_integer
from ...ops import poisson
from ...philox import Philox
from ..inputs import (
    MAX_STATES,
    any_library,
    host,
    law_of,
    like_of,
    move,
    number_of,
    rate_of,
    states_of,
    together,
    visible,
)
from .reverse_paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from ..base import Process


@any_library
def simulate_reverse(
    process: Process,
    x_t: Any,
    data_law: Any,
    t: float,
    s: float = 0.0,
    *,
    rng: Philox | None = None,
    generator: torch.Generator | None = None,
) -> Any:
    """x_s of the exact reverse process from x_t, each element on its own, where every element of x_0 has one known law.

    Every jump of every path is simulated, at its exact time. If x_t has the law p_t, x_s has the law p_s, and x_t and
    x_s are jointly as in the forward process: up to the 53 bits of a uniform and rounding, about 1e-15 a jump.

    x_t: states (B, ...). data_law: the law of x_0, (S,). 0 <= s < t. Returns x_s in x_t's library and dtype, int64
    for a Python integer.
    The time grows with m, the largest rate out of a state times B(t) - B(s) (N t for an Ehrenfest process of N balls of
    rates 1, max_count t for pure death): 2 m windows, each of 15 S^2 multiplications and 30 a path, whatever happens in
    it, and some hundreds for each jump. The windows keep 16 m S bytes; ValueError where this machine has fewer. On the
    host.
    rng: the n-th jump of element e of sample b takes Philox block (e, b, call, REVERSE_PATH, n): no batch split and no
        order of the elements changes a path. Paths are computed with NumPy alone: equal on one build of NumPy.
    Raises TypeError, ValueError, also for an x_t that has no probability at t, and for a process with an open boundary.
    """
    op = "simulate_reverse"
    law = law_of(op, "data_law", data_law, process.states)
    t, s = number_of(op, "t", t), number_of(op, "s", s)
    if np.abs(process.generator().sum(1)).max() > 1e-9 * np.abs(process.generator()).max():
        raise ValueError(
            f"{op}: process: must stay in its states, rows of Q summing to 0, got {type(process).__name__}"
        )
    if not s < t:
        raise ValueError(f"{op}: s: must be before t, got s = {s} and t = {t}")
    states = host(states_of(op, "x_t", x_t, process.states), op, "x_t")
    start, _, end = (float(time) for time in process._durations(op, np.float64(t), np.float64(s)))
    key = late_key(rng, generator, op)
    result = Paths(process, law @ process.transition_matrix(s), start, end, states, key, op).run()
    kind = np.dtype(np.int64 if isinstance(x_t, int) else Array(x_t, op, "x_t").dtype)
    return move(result.astype(kind), *like_of(x_t))


@any_library
def tau_leap_reverse(
    x_t: Any,
    rates: Any,
    duration: float,
    *,
    targets: Any = None,
    states: int | None = None,
    ordered: bool = True,
    rng: Philox | None = None,
    generator: torch.Generator | None = None,
) -> Any:
    """One tau-leaping step: reverse rates held for `duration`, Poisson(rates duration) jumps of each kind.

        ordered:  x_s = x_t + sum over k of (target_k - x_t) Poisson(rates_k duration), clamped to 0..S - 1
        else:     x_s = target_k where one jump alone was drawn, of kind k; x_t where none or several were

    ordered is for counts and levels; not ordered for states of which none is between others (Campbell et al., 4.3).

    x_t: integers (B, ...) in 0..S - 1, whose dtype holds S - 1. rates: (B, ..., K) float64 or float32, finite, at least
        0, and 0 from x_t to itself. duration: a number, at least 0. targets: the states jumped to, integers that
        broadcast to rates, in 0..S - 1 where the rate is above 0; default 0..K - 1, K = S. For neighbours: rates of
        shape (..., 2) with targets stacked from x_t + 1 and x_t - 1. states: S, needed with targets.
    Returns x_s like x_t. Runs where x_t and rates are, and keeps four arrays like rates, of 8 bytes an entry, at its
    peak: on the CPU values are checked, on a device not. Draws are those of fb.poisson(rates * duration).
    Raises TypeError, ValueError. Source: Gillespie, J. Chem. Phys. 115 (2001); Campbell et al., NeurIPS 2022.
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


def sample_reverse(
    process: Process,
    model: Callable[[Any, float], Any],
    shape: tuple[int, ...],
    times: Sequence[float],
    *,
    kind: str = "logits",
    start: Any = None,
    device: Any = None,
    rng: Philox | None = None,
    generator: torch.Generator | None = None,
) -> Any:
    """States at times[-1] of the reverse process of a model of p(x_0 | x_t), over a grid of times.

    Each step from t to s draws x_0 from the model and x_s from the bridge given x_t and x_0, by fb.categorical_bridge,
    or for Uniform and Absorbing by fb.categorical_rows and then as in sample_bridge, without a matrix:

        p(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) p(x_0 | x_t),

    exact for one variable with the exact posterior, whatever the step; for several, as far as the x_0 of one step are
    independent given x_t.

    model(x_t, t): logits or probabilities (kind "logits" or "probs") of x_0, (B, ..., S), for states x_t (B, ...), in
        the library of start, and a number t. times: falling, the first the time the process starts at, the last
        usually 0.
    start: states (B, ...) at times[0]; default: independent draws from process.stationary().
    device: with no start, None for NumPy arrays, or the torch device of tensors.
    rng: the start draws with call 0, the n-th step (n = 1 first) with rng.at(call=n).
    Raises TypeError, ValueError. Source: Austin et al., NeurIPS 2021, equation 4.
    """
    op = "sample_reverse"
    grid = time_grid(op, times, kind)
    key = late_key(rng, generator, op)
    if start is None:
        at: Any = (np, None)
        if device is not None:
            import torch

            at = (torch, device)
        x = Array(process._draw_stationary(move(np.zeros(shape, dtype=np.int64), *at), key.at(call=0)), op, "start")
    else:
        x = adopt(start, op, "start", COUNTS)
        if x.shape != tuple(shape):
            raise ValueError(f"{op}: start: shape must be {tuple(shape)}, got {x.shape}")
        if visible(x.value):
            states_of(op, "start", x.value, process.states)
    key = resolve_rng(key, None, op)  # the model may draw numbers of torch, too
    for n, (t, s) in enumerate(pairwise(grid), start=1):
        pair = process._durations(op, np.float64(t), np.float64(s))[:2]
        x = x.like(process._draw_step(x.value, {kind: model(x.give(), t)}, pair, key.at(call=n)))
    return x.give()


def time_grid(op: str, times: Sequence[float], kind: str) -> list[float]:
    """Falling times of a sampler, whose model gives `kind`."""
    try:
        grid = [float(time) for time in times]
    except (TypeError, ValueError):
        raise TypeError(f"{op}: times: must be two or more numbers, falling, got {times!r}") from None
    if len(grid) < 2 or any(not s < t for t, s in pairwise(grid)) or grid[-1] < 0:
        raise ValueError(f"{op}: times: must be two or more, falling, at least 0, got {times!r}")
    if kind not in ("logits", "probs"):
        raise ValueError(f"{op}: kind: must be logits or probs, got {kind!r}")
    return grid
