"""The pure-death process of blackout diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS, adopt
from ..call.numbers import largest
from ..call.states import check_holds
from ..ground.values import check_integer
from ..ops.bridge import bridge_step
from ..ops.thin import thin
from ..ops.transition import counts_of, host_rows, thin_log_prob
from ..philox import Philox
from .base import Process
from .inputs import MAX_STATES, any_library, like_of, move, one_a_sample, states_of
from .matrices.evaluation import Evaluation
from .matrices.lookup import Lookup, as_they_are, in_parts
from .particles import alive_at, binomial_error, birth_at

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..typing import ArrayT, Backend, NumpyLike, Real

    Times = NDArray[np.float64]


class PureDeath(Process):
    """Blackout diffusion: each of n particles dies at rate 1.

    ::

        Q[n, n - 1] = n,    x_t ~ Binomial(x_0, exp(-t))

    The stationary law is all 0.

    Parameters
    ----------
    max_count : int, default 255
        The largest count, 1..4095. There are S = max_count + 1 states.

    References
    ----------
    Santos et al., "Blackout Diffusion", ICML 2023, arXiv 2305.11089, section 4.

    Examples
    --------
    >>> fb.PureDeath(2).transition_matrix(0.0)
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """

    def __init__(self, max_count: int = 255) -> None:
        super().__init__(check_integer("PureDeath", "max_count", max_count, 1, MAX_STATES - 1) + 1)
        self.max_count = self.states - 1

    def _arguments(self) -> str:
        return f"{self.max_count}"

    def generator(self) -> Times:
        """The generator Q, as in `Process`.

        Returns
        -------
        numpy.ndarray
            Q, float64 (S, S).
        """
        n = np.arange(float(self.states))
        return np.diag(n[1:], -1) - np.diag(n)

    def _matrices(self, t: Times) -> Times:
        return host_rows(alive_at(t), self.max_count)

    def _evaluation(self, t: Times) -> Evaluation:
        return Evaluation("closed form", binomial_error(self.max_count, 8))  # exp and expm1 to 4 u

    @any_library
    def log_prob(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real) -> ArrayT:
        """The log-probability of x_t given x_0, element by element, by `fb.thin_log_prob`.

        ::

            log Binomial(x_0, exp(-t)) at x_t

        Parameters
        ----------
        x_t : int or array of int
            Counts (B, ...) at time t.
        x_0 : int or array of int
            Counts at time 0, of the shape of `x_t`.
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            float64, of the shape of the counts.
        """
        op = self._op("log_prob")
        now, then = self._pair(op, x_t=x_t, x_0=x_0)
        (times,) = self._durations(op, t)
        one_a_sample(op, times, now.shape)
        return thin_log_prob(now, then, alive_at(times))

    @any_library
    def bridge(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, s: Real, t: Real) -> ArrayT:
        """The law of x_s given x_t and x_0, for 0 <= s <= t.

        ::

            x_s - x_t ~ Binomial(x_0 - x_t, q),    q = (exp(-s) - exp(-t)) / (1 - exp(-t))

        Parameters
        ----------
        x_t : int or array of int
            Counts (B, ...) at time t.
        x_0 : int or array of int
            Counts at time 0, of the shape of `x_t`.
        s : float or array
            The earlier time, a number or (B,).
        t : float or array
            The later time, a number or (B,).

        Returns
        -------
        array
            The probability of every x_s, float64 (..., S).

        Raises
        ------
        ValueError
            If x_t is above x_0.
        """
        op = self._op("bridge")
        now, then = self._pair(op, x_t=x_t, x_0=x_0)
        self._check_fewer(op, now, then)

        def body(now: Any, then: Any, start: Times, gap: Times, end: Times) -> Any:
            xp, device = like_of(now)
            rows = host_rows(birth_at(start, gap, end), self.max_count)
            births = Lookup(move(rows, xp, device), xp, device).rows(then - now)
            above = move(np.arange(self.states), xp, device) - now[..., None]
            place = xp.where(above >= 0, above, 0)
            shifted = np.take_along_axis(births, place, -1) if xp is np else births.gather(-1, place)
            return xp.where(above >= 0, shifted, 0.0)

        durations = np.broadcast_arrays(*self._durations(op, t, s))
        return in_parts(op, as_they_are, self._held, body, (now, then), durations)

    @any_library
    def reverse_rate(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real) -> ArrayT:
        """The rate of births given x_0, at i = x_t + 1.

        ::

            beta(t) (x_0 - x_t) p / (1 - p),    p = exp(-t)

        Parameters
        ----------
        x_t : int or array of int
            Counts (B, ...) at time t.
        x_0 : int or array of int
            Counts at time 0, of the shape of `x_t`.
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            The rates to every i, float64 (..., S); 0 but at x_t + 1.

        Raises
        ------
        ValueError
            If x_t is above x_0, or differs from it at t = 0.
        """
        op = self._op("reverse_rate")
        now, then = self._pair(op, x_t=x_t, x_0=x_0)
        self._check_fewer(op, now, then)
        (times,) = self._durations(op, t)

        def body(now: Any, then: Any, times: Any) -> Any:
            xp, device = like_of(now)
            each = times.reshape(times.shape + (1,) * (now.ndim - 1)) if times.ndim else times
            # At t = 0 nobody has died: x_t is x_0, or impossible.
            self._possible(op, xp.where(move(each > 0, xp, device) | (now == then), 1, 0), now, then)
            rate = (then - now) * move(np.exp(-each) / np.where(each > 0, -np.expm1(-each), np.inf), xp, device)
            return xp.where(move(np.arange(self.states), xp, device) == now[..., None] + 1, rate[..., None], 0.0)

        result = in_parts(op, as_they_are, self._held, body, (now, then), (times,))
        return self._faster(op, result, t, now)

    @any_library
    def sample_forward(
        self,
        x_0: ArrayT | NumpyLike,
        t: Real,
        *,
        rng: Philox | torch.Tensor | int | None = None,
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
    ) -> ArrayT:
        """Draw x_t given x_0, by `fb.thin`.

        Parameters
        ----------
        x_0 : array of int
            Counts (B, ...).
        t : float or array
            A time, or one for each sample, (B,).
        rng : Philox, torch.Tensor or int, optional
            The key, as in `fb.thin`.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.
        backend : {"auto", "reference", "cpu", "cuda", "triton"}, default "auto"
            The backend, as in `fb.thin`.

        Returns
        -------
        array of int
            x_t, like `x_0`.
        """
        op = self._op("sample_forward")
        (times,) = self._durations(op, t)
        counts = adopt(x_0, op, "x_0", COUNTS)
        one_a_sample(op, times, counts.shape)
        max_count = min(self.max_count, largest(counts.dtype))
        return thin(
            counts.value, alive_at(times), rng=rng, generator=generator, max_count=max_count, outputs=("x_t",),
            backend=backend,
        ).x_t  # fmt: skip

    @any_library
    def sample_bridge(
        self,
        x_t: ArrayT | NumpyLike,
        x_0: ArrayT | NumpyLike,
        s: Real,
        t: Real,
        *,
        rng: Philox | torch.Tensor | int | None = None,
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
    ) -> ArrayT:
        """Draw x_s given x_t and x_0, for 0 <= s <= t, by `fb.bridge_step`.

        Parameters
        ----------
        x_t : array of int
            Counts (B, ...) at time t. Their dtype must hold what x_0's may, up to max_count.
        x_0 : array of int
            Counts at time 0, of the shape of `x_t`.
        s : float or array
            The earlier time, a number or (B,).
        t : float or array
            The later time, a number or (B,).
        rng : Philox, torch.Tensor or int, optional
            The key, as in `fb.bridge_step`.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.
        backend : {"auto", "reference", "cpu", "cuda", "triton"}, default "auto"
            The backend, as in `fb.bridge_step`.

        Returns
        -------
        array of int
            x_s, like `x_t`.

        Raises
        ------
        ValueError
            If x_t is above x_0. On a device `fb.check_values` tells.
        """
        op = self._op("sample_bridge")
        now, then = counts_of(op, {"x_t": x_t, "x_0": x_0})
        check_holds(op, "x_t", now.dtype, min(self.max_count, largest(then.dtype)) + 1)
        durations = self._durations(op, t, s)
        for times in durations:
            one_a_sample(op, times, now.shape)
        if now.device == "cpu":
            self._check_fewer(op, *(states_of(op, n, a.value, self.states) for n, a in (("x_t", now), ("x_0", then))))
        counts, most = (each.value.float() if each.is_tensor else each.value.astype(np.float32) for each in (now, then))
        max_count = min(self.max_count, largest(now.dtype))
        return bridge_step(
            now.value, step=birth_at(*durations), births=most - counts, rng=rng, generator=generator,
            max_count=max_count, outputs=("x_s",), backend=backend,
        ).x_s  # fmt: skip

    def _check_fewer(self, op: str, now: Any, then: Any) -> None:
        wrong = now > then
        if bool(wrong.any()):
            x_t, x_0 = (int((x + 0 * now)[wrong].reshape(-1)[0]) for x in (now, then))
            raise ValueError(f"{op}: x_t: must be reachable from x_0, got x_t = {x_t} and x_0 = {x_0}")
