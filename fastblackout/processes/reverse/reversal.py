"""The reverse process: exact paths for a known law of the data, and a driver for a model.

The reverse of the process jumps from x_t to i at rate beta(t) Q[i, x_t] p_t(i) / p_t(x_t), p_t the law of x_t.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from ...arrays import COUNTS, Array, adopt
from ...call.keys import late_key, resolve_rng
from ...philox import Philox
from ..inputs import (
    any_library,
    host,
    law_of,
    like_of,
    move,
    number_of,
    states_of,
    visible,
)
from .reverse_paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    from ...typing import Array as AnyArray
    from ...typing import ArrayT, Device, Kind, NumpyLike
    from ..base import Process


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
