"""The reverse process: exact paths for a known law of the data, a tau-leaping step, and a driver for a model.

The reverse of the process jumps from x_t to i at rate beta(t) Q[i, x_t] p_t(i) / p_t(x_t), p_t the law of x_t.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..indexing import is_tensor
from ..philox import Philox, resolve_rng
from .inputs import host, simplex_of, states_of, times_of
from .reverse_paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from .base import Process


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

    x_t: states (B, ...). data_law: the law of x_0, (S,). 0 <= s < t. Returns x_s in x_t's library and dtype.
    rng: the n-th jump of element e of sample b takes Philox block (e, b, call, REVERSE_PATH, n): no batch split and no
        order of the elements changes a path. Paths are computed with NumPy alone: equal on one build of NumPy.
    Raises TypeError, ValueError, also for an x_t that has no probability at t, and for a process with an open boundary.
    """
    op = "simulate_reverse"
    law = host(simplex_of(op, "data_law", data_law, process.states), op, "data_law")
    if law.ndim != 1:
        raise ValueError(f"{op}: data_law: shape must be ({process.states},), got {law.shape}")
    for name, time in (("t", t), ("s", s)):
        if times_of(op, name, time).ndim:
            raise ValueError(f"{op}: {name}: must be a number, got an array of shape {np.shape(time)}")
    if np.abs(process.generator().sum(1)).max() > 1e-9 * np.abs(process.generator()).max():
        raise ValueError(
            f"{op}: process: must stay in its states, rows of Q summing to 0, got {type(process).__name__}"
        )
    if not s < t:
        raise ValueError(f"{op}: s: must be before t, got s = {s} and t = {t}")
    key = resolve_rng(rng, generator, op)
    states = host(states_of(op, "x_t", x_t, process.states), op, "x_t")
    start, _, end = (float(time) for time in process._durations(op, np.float64(t), np.float64(s)))
    result = Paths(process, law @ process.transition_matrix(s), start, end, states, key, op).run()
    if is_tensor(x_t):
        import torch

        return torch.from_numpy(result).to(x_t.device, x_t.dtype)
    return result.astype(getattr(x_t, "dtype", np.int64))


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

    ordered: x_s = x_t + sum over k of (target_k - x_t) Poisson(rates_k duration), clamped to 0..S - 1: counts and
    levels. Else, for states without order, a variable that drew one jump takes it, and one that drew none or several
    stays (Campbell et al., section 4.3).

    x_t: integers (B, ...). rates: (B, ..., K) float64 or float32, at least 0; rates from x_t to itself must be 0.
    targets: the states jumped to, integers that broadcast to rates; default 0..K - 1, K = S. For neighbours:
        rates of shape (..., 2) with targets stacked from x_t + 1 and x_t - 1. states: S, needed with targets.
    Returns x_s like x_t. Draws are those of fb.poisson. Raises TypeError, ValueError.
    Source: Gillespie, J. Chem. Phys. 115 (2001); Campbell et al., NeurIPS 2022.
    """
    op = "tau_leap_reverse"
    from ..ops import poisson

    if not duration >= 0:
        raise ValueError(f"{op}: duration: must be at least 0, got {duration!r}")
    if tuple(rates.shape[:-1]) != tuple(x_t.shape):
        raise ValueError(f"{op}: rates: shape must be {tuple(x_t.shape)} and the jumps, got {tuple(rates.shape)}")
    if (targets is None) != (states is None):
        raise ValueError(f"{op}: targets, states: must come together, got {targets!r} and {states!r}")
    size = rates.shape[-1] if states is None else int(states)
    jumps = poisson(rates * duration, rng=rng, generator=generator)
    if is_tensor(x_t):
        import torch

        to = torch.arange(size, device=x_t.device) if targets is None else targets
        now = x_t.long()[..., None]
        if not ordered:
            jumps = torch.where(jumps.sum(-1, keepdim=True) == 1, jumps, 0)
        return (now[..., 0] + (jumps * (to - now)).sum(-1)).clamp(0, size - 1).to(x_t.dtype)
    to = np.arange(size) if targets is None else np.asarray(targets)
    now = x_t.astype(np.int64)[..., None]
    if not ordered:
        jumps = np.where(jumps.sum(-1, keepdims=True) == 1, jumps, 0)
    return (now[..., 0] + (jumps * (to - now)).sum(-1)).clip(0, size - 1).astype(x_t.dtype)


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

    Each step from t to s draws x_0 from the model and x_s from the bridge given x_t and x_0 (fb.categorical_bridge):

        p(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) p(x_0 | x_t),

    exact for one variable with the exact posterior, whatever the step; for several, as far as the x_0 of one step are
    independent given x_t.

    model(x_t, t): logits or probabilities (kind "logits" or "probs") of x_0, (B, ..., S), for states x_t (B, ...) and
        a number t. times: falling, the first the time the process starts at, the last usually 0.
    start: states (B, ...) at times[0]; default: independent draws from process.stationary().
    device: with no start, None for NumPy arrays, or the torch device of tensors.
    rng: the start draws with call 0, the n-th step (n = 1 first) with rng.at(call=n).
    Raises TypeError, ValueError. Source: Austin et al., NeurIPS 2021, equation 4.
    """
    op = "sample_reverse"
    from ..ops import categorical, categorical_bridge

    grid = [float(time) for time in times]
    if len(grid) < 2 or any(not s < t for t, s in pairwise(grid)) or grid[-1] < 0:
        raise ValueError(f"{op}: times: must be two or more, falling, at least 0, got {times!r}")
    if kind not in ("logits", "probs"):
        raise ValueError(f"{op}: kind: must be logits or probs, got {kind!r}")
    key = resolve_rng(rng, generator, op)
    x = start
    if x is None:
        zeros: Any = np.zeros(shape, dtype=np.int64)
        law: Any = np.broadcast_to(process.stationary(), (process.states, process.states)).copy()
        if device is not None:
            import torch

            zeros, law = torch.from_numpy(zeros).to(device), torch.from_numpy(law).to(device)
        x = categorical(zeros, law, rng=key.at(call=0))
    elif tuple(x.shape) != tuple(shape):
        raise ValueError(f"{op}: start: shape must be {tuple(shape)}, got {tuple(x.shape)}")
    for n, (t, s) in enumerate(pairwise(grid), start=1):
        first, second, _ = process._durations(op, np.float64(t), np.float64(s))
        before, after = process._small(np.array([float(first), float(second)]))
        if is_tensor(x):
            import torch

            before, after = (torch.from_numpy(np.ascontiguousarray(m)).to(x.device) for m in (before, after))
        x = categorical_bridge(x, **{kind: model(x, t)}, before=before, after=after, rng=key.at(call=n))
    return x
