"""The reverse process: exact paths for a known law of the data, a driver for a model, and a step of tau-leaping.

The reverse of the process jumps from x_t to i at rate beta(t) Q[i, x_t] p_t(i) / p_t(x_t), p_t the law of x_t.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from ..arrays import COUNTS, Array, adopt
from ..call.keys import late_key, resolve_rng
from ..call.states import check_holds
from ..ground.values import check_integer, check_memory
from ..ops import poisson
from ..philox import Philox
from ..reference.philox import Stream, philox4x32
from .inputs import (
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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    from ..typing import Array as AnyArray
    from ..typing import ArrayT, Device, Kind, NumpyLike
    from .base import Process

_WINDOW = 0.5  # largest rate times the length of a window; with 15 terms the Taylor series is exact to 1e-17
_TERMS = 15
_NEWTON = 60  # far more than is ever needed: a step that leaves the bracket halves it


@any_library
def simulate_reverse(
    process: Process,
    x_t: ArrayT | NumpyLike,
    data_law: AnyArray,
    t: float,
    s: float = 0.0,
    *,
    rng: Philox | int | None = None,
    generator: torch.Generator | None = None,
) -> ArrayT:
    """Draw x_s of the exact reverse process from x_t, where every element of x_0 has one known law.

    Every jump of every path is simulated, at its exact time, each element on its own. If x_t has the law p_t, then x_s
    has the law p_s, and both are jointly as in the forward process. This holds up to the 53 bits of a uniform number
    and rounding, about 1e-15 a jump.

    Parameters
    ----------
    process : Process
        The process.
    x_t : int or array of int
        States (B, ...) at time t.
    data_law : array
        The law of x_0, (S,).
    t : float
        The time of x_t.
    s : float, default 0.0
        The earlier time that is reached, 0 <= s < t.
    rng : Philox or int, optional
        The key. The n-th jump of element e of sample b takes Philox block (e, b, call, REVERSE_PATH, n). So no batch
        split and no order of the elements changes a path.
    generator : torch.Generator, optional
        Where the seed comes from if there is no key.

    Returns
    -------
    array of int
        x_s in the library and dtype of `x_t`; int64 for a Python integer.

    Raises
    ------
    ValueError
        If an x_t has no probability at t, the process has an open boundary, or the windows exceed this machine's
        memory.

    Notes
    -----
    Paths are computed on the host with NumPy alone. They are equal on one build of NumPy.

    The time grows with m, the largest rate out of a state times B(t) - B(s). For an Ehrenfest process of N balls of
    rates 1 m is N t, for pure death max_count t. There are 2 m windows. Each takes 15 S^2 multiplications and 30 a
    path, whatever happens in it, and some hundreds for each jump. The windows keep 16 m S bytes.
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


@overload
def sample_reverse(
    process: Process,
    model: Callable[[Any, float], Any],
    shape: tuple[int, ...],
    times: Sequence[float],
    *,
    kind: Kind = ...,
    start: ArrayT | NDArray[Any],
    device: Device | None = ...,
    rng: Philox | int | None = ...,
    generator: torch.Generator | None = ...,
) -> ArrayT: ...
@overload
def sample_reverse(
    process: Process,
    model: Callable[[Any, float], Any],
    shape: tuple[int, ...],
    times: Sequence[float],
    *,
    kind: Kind = ...,
    start: None = ...,
    device: Device,
    rng: Philox | int | None = ...,
    generator: torch.Generator | None = ...,
) -> torch.Tensor: ...
@overload
def sample_reverse(
    process: Process,
    model: Callable[[Any, float], Any],
    shape: tuple[int, ...],
    times: Sequence[float],
    *,
    kind: Kind = ...,
    start: None = ...,
    device: None = ...,
    rng: Philox | int | None = ...,
    generator: torch.Generator | None = ...,
) -> NDArray[np.int64]: ...
def sample_reverse(
    process: Process,
    model: Callable[[Any, float], Any],
    shape: tuple[int, ...],
    times: Sequence[float],
    *,
    kind: Kind = "logits",
    start: ArrayT | NDArray[Any] | None = None,
    device: Device | None = None,
    rng: Philox | int | None = None,
    generator: torch.Generator | None = None,
) -> ArrayT | torch.Tensor | NDArray[np.int64]:
    """States at times[-1] of the reverse process of a model of p(x_0 | x_t), over a grid of times.

    ::

        p(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) p(x_0 | x_t)

    Each step from t to s draws x_0 from the model, and x_s from the bridge given x_t and x_0. For one variable with the
    exact posterior this is exact, whatever the step. For several it is as exact as the x_0 of one step are independent
    given x_t.

    Parameters
    ----------
    process : Process
        The process.
    model : callable
        `model(x_t, t)` returns logits or probabilities of x_0, (B, ..., S), for states x_t (B, ...) in the library of
        `start`, and a number t.
    shape : tuple of int
        The shape (B, ...) of the states.
    times : sequence of float
        Times that fall. The first is where the process starts, the last is usually 0.
    kind : {"logits", "probs"}, default "logits"
        What the model returns.
    start : array of int, optional
        States (B, ...) at times[0]. By default they are independent draws from process.stationary().
    device : torch.device or str, optional
        Without `start`, the device of tensors. By default the states are NumPy arrays.
    rng : Philox or int, optional
        The key. The start draws with call 0, and the n-th step (n = 1 first) with rng.at(call=n).
    generator : torch.Generator, optional
        Where the seed comes from if there is no key.

    Returns
    -------
    array of int
        The states, like `start`.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    A step is one draw of `fb.categorical_bridge`. `Uniform` and `Absorbing` draw x_0 by `fb.categorical_rows` and then
    x_s as in `sample_bridge`, without a matrix.

    References
    ----------
    Austin et al., NeurIPS 2021, equation 4.
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
    return cast("ArrayT", x.give())


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
    jumped = (now[..., 0] + (jumps * (to - now)).sum(-1)).clip(0, size - 1)
    return jumped.to(x.value.dtype) if x.is_tensor else jumped.astype(x.dtype)


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


class Paths:
    """All paths at once, through windows of time from the last to the first, by inversion of the chance of staying.

    The reverse process leaves a state j at rate d/dt log p_t(j) - Q[j, j]. So the chance of staying in j from t down to
    s is known,

        p_s(j) / p_t(j) exp(Q[j, j] (t - s)),

    and inverting it gives the time of the next jump, with no bound on a rate, no rejection and no step: it works where
    rates grow like 1 / t as t -> 0.
    """

    def __init__(
        self, process: Process, law: NDArray[Any], start: float, end: float, x_t: NDArray[Any], key: Philox, op: str
    ) -> None:
        rates = process._rates()
        self.exit = rates.sum(1)
        self.fastest = float(self.exit.max()) or 1.0
        windows = max(1, math.ceil(min(self.fastest * (end - start) / _WINDOW, 1e300)))
        check_memory(f"{op}: t: the laws of {windows} windows", windows * 8 * process.states)
        self.length = (end - start) / windows
        # One step of the chain sampled at the fastest rate: no negative entry, so the series below cannot cancel.
        self.step = rates / self.fastest + np.diag(1 - self.exit / self.fastest)
        self.laws = [law]  # the laws at the lower ends of the windows
        for _ in range(windows):
            self.laws.append(self._law_at(self._series(self.laws[-1]), self.length))
        # Where a state can be entered from, padded with rate 0 to one width.
        width = max(1, int((rates > 0).sum(0).max()))
        self.sources = np.argsort(rates == 0, axis=0, kind="stable")[:width].T.copy()
        self.source_rates = rates[self.sources, np.arange(len(rates))[:, None]]
        self.shape = x_t.shape
        self.x = x_t.reshape(-1).copy()
        if (self.laws[-1][self.x] <= 0).any():
            wrong = int(self.x[self.laws[-1][self.x] <= 0][0])
            raise ValueError(f"{op}: x_t: must have a probability above 0 at t, got {wrong}")
        samples = x_t.shape[0] if x_t.ndim else 1
        self.element, self.sample = (
            part.ravel() for part in np.meshgrid(np.arange(self.x.size // max(samples, 1)), np.arange(samples))
        )
        self.key = key
        self.jumps = np.zeros(self.x.size, dtype=np.int64)
        self.stay, self.choice = self._uniforms(np.arange(self.x.size))

    def _uniforms(self, rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Two uniforms in (0, 1) of each path's next jump."""
        c1 = (self.key.first_sample + self.sample[rows]).astype(np.uint32)
        c3 = (Stream.REVERSE_PATH.word() + self.jumps[rows]).astype(np.uint32)
        words = philox4x32(self.element[rows].astype(np.uint32), c1, self.key.call, c3, *self.key.key)
        first, second = (
            ((high.astype(np.uint64) << np.uint64(32) | low) >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54
            for high, low in (words[:2], words[2:])
        )
        return first, second

    def _series(self, law: NDArray[np.float64]) -> NDArray[np.float64]:
        """c with p_{low + d}(j) = exp(-fastest d) sum over m of c[m, j] (fastest d)^m, for p_low = law."""
        terms = [law]
        for m in range(1, _TERMS):
            terms.append(terms[-1] @ self.step / m)
        return np.stack(terms)

    def _law_at(self, series: NDArray[np.float64], d: float) -> NDArray[np.float64]:
        return np.exp(-self.fastest * d) * (series * (self.fastest * d) ** np.arange(_TERMS)[:, None]).sum(0)

    def run(self) -> NDArray[np.int64]:
        for low_law in self.laws[-2::-1]:
            series = self._series(low_law)
            rows = np.arange(self.x.size)
            d = np.full(self.x.size, self.length)
            while len(rows):
                j = self.x[rows]
                now, _ = self._unjumped(series, j, d)
                low = series[0, j]
                goal = self.stay[rows] * now
                stays = goal < low
                # Given that it stays, the uniform over the chance of staying is uniform again.
                self.stay[rows[stays]] *= now[stays] / low[stays]
                rows, j, d, goal = rows[~stays], j[~stays], d[~stays], goal[~stays]
                if len(rows):
                    guess = d * (goal - low[~stays]) / (now - low)[~stays]  # within a window nearly a straight line
                    d = self._time_of_jump(series, j, d, goal, guess)
                    self._jump(series, rows, j, d)
        return self.x.reshape(self.shape)

    def _unjumped(self, series: NDArray[Any], j: NDArray[Any], d: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """p_{low + d}(j) exp(exit_j d), which never falls in d, and its derivative."""
        y = self.fastest * d
        value, slope = np.zeros(len(j)), np.zeros(len(j))
        for row in series[::-1]:
            slope = slope * y + value
            value = value * y + row[j]
        excess = self.fastest - self.exit[j]
        factor = np.exp(-excess * d)
        return factor * value, factor * (self.fastest * slope - excess * value)

    def _time_of_jump(
        self, series: NDArray[Any], j: NDArray[Any], d: NDArray[Any], goal: NDArray[Any], guess: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Where `_unjumped` equals goal: Newton's method within a bracket."""
        low, high, open_rows = np.zeros(len(j)), d.copy(), np.arange(len(j))
        for _ in range(_NEWTON):
            at = guess[open_rows]
            value, slope = self._unjumped(series, j[open_rows], at)
            above = value > goal[open_rows]
            high[open_rows[above]] = at[above]
            low[open_rows[~above]] = at[~above]
            with np.errstate(divide="ignore", invalid="ignore"):
                new = at - (value - goal[open_rows]) / slope
            inside = (new > low[open_rows]) & (new < high[open_rows])
            new = np.where(inside, new, (low[open_rows] + high[open_rows]) / 2)
            guess[open_rows] = new
            open_rows = open_rows[np.abs(new - at) > 1e-15 * self.length]
            if not len(open_rows):
                break
        return guess

    def _jump(self, series: NDArray[Any], rows: NDArray[Any], j: NDArray[Any], d: NDArray[Any]) -> None:
        sources = self.sources[j]
        weights = np.zeros(sources.shape)
        y = (self.fastest * d)[:, None]
        for row in series[::-1]:
            weights = weights * y + row[sources]
        cumulative = np.cumsum(weights * self.source_rates[j], axis=1)
        # At most the last source that has a rate, whatever rounding does.
        threshold = np.minimum(self.choice[rows, None] * cumulative[:, -1:], np.nextafter(cumulative[:, -1:], 0.0))
        self.x[rows] = sources[np.arange(len(j)), (cumulative <= threshold).sum(1)]
        self.jumps[rows] += 1
        self.stay[rows], self.choice[rows] = self._uniforms(rows)
