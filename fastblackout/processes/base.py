"""What every process can do, from its generator, its clock and its transition matrices."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from ..backends.float_mode import default_floats
from ..ops.categorical import categorical, categorical_bridge
from ..philox import Philox
from .clock import Clock, Inside, clock_of
from .inputs import (
    a_state_each,
    any_library,
    law_of,
    like_of,
    move,
    one_a_sample,
    simplex_of,
    states_of,
    times_of,
    together,
    visible,
)
from .matrices.cache import FEWEST, MatrixCache
from .matrices.evaluation import Evaluation, Evaluator
from .matrices.lookup import Lookup, draw, in_parts
from .matrices.structure import closed_classes, followers, stationary

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..typing import Array, ArrayT, Backend, NumpyLike, Real


class Process(ABC):
    """A continuous-time Markov chain on the states 0..S-1 with generator Q.

    ::

        P(t) = exp(t Q),    P(t)[i, j] = Pr(x_t = j | x_0 = i)

    Q[i, j] is the rate from i to j. Every process of this module is one of its subclasses.

    Parameters
    ----------
    states : int
        The number of states, S.

    Notes
    -----
    The arguments of all methods follow these rules:

    - A time t is finite and at least 0, in units of 1 / rate. It is a number, or one for each sample, (B,), in float64.
    - Narrower floats are taken exactly as they are.
    - States x_0, x_s and x_t are uint8, int16, int32 or int64 arrays (B, ...). Dimension 0 is the sample.
    - Arrays of states in one call have the same shape.
    - Methods other than `sample_forward` and `sample_bridge` also take Python integers for states.
    - NumPy, torch and DLPack arrays (on the CPU) go in and come out as what they were.
    - A NumPy array or a number beside a tensor follows the tensor, but not in the two samplers.

    Everything is computed in float64, and nothing is differentiable in t. Every method raises TypeError or ValueError,
    which names method, argument, rule and value.

    On a device: P(t) is made on the host, wherever states and t lie, once for each different t of some samples. It is
    then copied to the device, 8 S^2 bytes each, which waits for t. All methods but the two samplers also look at the
    values of states and probabilities, and wait for them.

    P(t) of 1024 states or more is kept for times that come again, the last 256 MiB of it. Once it takes some seconds, a
    bar on a terminal shows how far it is.

    A process pickles, unless its time change was given functions that do not.

    References
    ----------
    Campbell et al., "A Continuous Time Framework for Discrete Denoising Models", NeurIPS 2022.
    """

    def __init__(self, states: int) -> None:
        self.states = states
        self._clock: Clock | None = None
        self._kept = MatrixCache()

    @abstractmethod
    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(t), (B, S, S), for times (B,) of the process without its time change."""

    def _small_entries(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(t) whose small entries are as accurate as large ones, relative to their size: for what divides by them."""
        return self._matrices(t)

    @abstractmethod
    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation: ...

    def _divergences(self, duration: float, law: NDArray[np.float64]) -> NDArray[np.float64]:
        """KL(P(duration)[x_0, .] || law) for every x_0, (S,)."""
        rows = self._small(np.asarray(duration))
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(rows > 0, rows * (np.log(rows) - np.log(law)), 0.0)
        return terms.sum(1)

    @abstractmethod
    def _arguments(self) -> str:
        """What __repr__ shows between the brackets."""

    def __repr__(self) -> str:
        changed = "" if self._clock is None else f".time_change({self._clock})"
        return f"{type(self).__name__}({self._arguments()}){changed}"

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_kept": None}
        evaluator = state.get("_evaluator")
        # It holds functions and large matrices. So only what it was made of is kept, and it is made again.
        if evaluator is not None:
            state["_evaluator"] = (evaluator.given, evaluator.method, evaluator.uniformization.tolerance)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _kept=MatrixCache())
        if state.get("_evaluator") is not None:
            rates, method, tolerance = state["_evaluator"]
            self.__dict__["_evaluator"] = Evaluator(rates, method, tolerance, type(self).__name__)

    @any_library
    def transition_matrix(self, t: ArrayT | NumpyLike) -> ArrayT:
        """The matrix P(t) of transition probabilities.

        It is computed on the host in one pass for all t. So give a vector of times instead of a loop.

        Parameters
        ----------
        t : float or array
            A time, or times (B,).

        Returns
        -------
        array
            float64 (S, S) for one time, (B, S, S) for times (B,), in the library and on the device of `t`. Rows sum to
            1 within 1e-14, entries are at least 0, and P(0) is the identity.

        See Also
        --------
        Process.evaluation : The error of the entries.
        """
        xp, device = like_of(t)
        (times,) = self._durations(self._op("transition_matrix"), t)
        matrices = self._shaped(times)
        return move(matrices.copy() if self.states >= FEWEST else matrices, xp, device)

    @any_library
    def evaluation(self, t: Real) -> Evaluation:
        """How P(t) is computed, and how exactly.

        Parameters
        ----------
        t : float or array
            A time, or times (B,).

        Returns
        -------
        Evaluation
            The method, and a bound on the absolute error of the entries of P(t).

        Examples
        --------
        >>> fb.PureDeath(255).evaluation(1.0).method
        'closed form'
        """
        (times,) = self._durations(self._op("evaluation"), t)
        return self._evaluation(np.atleast_1d(times))

    def _shaped(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        matrices = self._kept.matrices("entries", self.states, np.atleast_1d(times), self._matrices)
        return matrices if times.ndim else matrices[0]

    def _small(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        name = "entries" if type(self)._small_entries is Process._small_entries else "small entries"
        matrices = self._kept.matrices(name, self.states, np.atleast_1d(times), self._small_entries)
        return matrices if times.ndim else matrices[0]

    def _lookup(self, times: NDArray[np.float64], xp: Any, device: Any) -> Lookup:
        different, place = np.unique(times, return_inverse=True)
        if len(different) == times.size:
            return Lookup(move(self._small(times), xp, device), xp, device)
        return Lookup(move(self._small(different), xp, device)[move(place, xp, device)], xp, device)

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
        """Draw x_t given x_0.

        `fb.categorical` draws it. Its law is within 0.5625 S 2^-48 total variation of P(t).

        Parameters
        ----------
        x_0 : array of int
            States (B, ...).
        t : float or array
            A time, or one for each sample, (B,).
        rng : Philox, torch.Tensor or int, optional
            The key, as in `fb.categorical`.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.
        backend : {"auto", "reference", "cpu", "cuda", "triton"}, default "auto"
            The backend, as in `fb.categorical`. What happens to wrong states on a device is said there, too.

        Returns
        -------
        array of int
            x_t, like `x_0`.

        Examples
        --------
        >>> fb.Ehrenfest(16).sample_forward(np.full((1, 8), 16, np.uint8), 0.5, rng=fb.Philox(1))
        array([[12, 13, 10,  9, 10, 11,  9, 11]], dtype=uint8)
        """
        op = self._op("sample_forward")
        durations = self._durations(op, t)
        return draw(
            op, categorical, {"x_0": x_0}, ("probs",), self._shaped, self._held, durations, (rng, generator), backend
        )

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
        """Draw x_s given x_t and x_0, for 0 <= s <= t.

        `fb.categorical_bridge` draws it. Nothing larger than P is made.

        Parameters
        ----------
        x_t : array of int
            States (B, ...) at time t.
        x_0 : array of int
            States at time 0, of the shape of `x_t`.
        s : float or array
            The earlier time, a number or (B,).
        t : float or array
            The later time, a number or (B,).
        rng : Philox, torch.Tensor or int, optional
            The key, as in `fb.categorical_bridge`.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.
        backend : {"auto", "reference", "cpu", "cuda", "triton"}, default "auto"
            The backend, as in `fb.categorical_bridge`. What happens to wrong states on a device is said there, too.

        Returns
        -------
        array of int
            x_s, like `x_t`.
        """
        op = self._op("sample_bridge")
        pair = self._durations(op, t, s)[:2]
        names = ("before", "after")
        states = {"x_t": x_t, "x_0": x_0}
        return draw(op, categorical_bridge, states, names, self._small, self._held, pair, (rng, generator), backend)

    def _draw_stationary(self, like: Any, key: Philox) -> Any:
        """Independent draws of the stationary law, of the shape, dtype and library of `like`, which holds zeros."""
        return categorical(like, move(self.stationary()[None], *like_of(like)), rng=key)

    @default_floats
    def _draw_step(self, x_t: Any, prediction: Mapping[str, Any], durations: Sequence[Any], key: Philox) -> Any:
        """x_s given x_t and logits or probs of x_0, at durations[0], with durations[1] left to x_t."""
        pair = self._small(np.array([float(duration) for duration in durations]))
        before, after = (move(matrix, *like_of(x_t)) for matrix in pair)
        return categorical_bridge(x_t, **prediction, before=before, after=after, rng=key)

    @abstractmethod
    def generator(self) -> NDArray[np.float64]:
        """The generator Q: rates i -> j off the diagonal, rows summing to 0.

        Returns
        -------
        numpy.ndarray
            Q, float64 (S, S). A time change does not scale it.
        """

    @default_floats
    def stationary(self) -> NDArray[np.float64]:
        """The law that P(t) keeps and tends to: pi Q = 0.

        Returns
        -------
        numpy.ndarray
            pi, float64 (S,).

        Raises
        ------
        ValueError
            If the law is not unique, because the process has several closed classes of states.
        """
        rates = self._rates()
        classes = closed_classes(rates)
        if len(classes) > 1:
            first = ", ".join(str(members[:5].tolist()) for members in classes[:3])
            raise ValueError(
                f"{self._op('stationary')}: Q: must have one closed class of states, got {len(classes)}: {first}"
                f"{', ...' if len(classes) > 3 else ''}"
            )
        law = stationary(rates, classes[0])
        if not np.isfinite(law).all():
            span = rates[rates > 0]
            raise ValueError(
                f"{self._op('stationary')}: Q: quotients of rates must be within float64's range, got rates from "
                f"{float(span.min())!r} to {float(span.max())!r}"
            )
        return law

    def _rates(self) -> NDArray[np.float64]:
        """Q with a diagonal of 0."""
        rates = self.generator().copy()
        np.fill_diagonal(rates, 0.0)
        return rates

    def time_change(
        self, beta: float | Callable[[float], float], speed: Callable[[float], float] | None = None
    ) -> Self:
        """The same process under another clock.

        ::

            Q(t) = beta(t) Q,    P(s, t) = exp((B(t) - B(s)) Q),    B(t) = integral of beta from 0 to t

        `generator()` stays Q. All laws and draws follow the change. A change of a changed process applies on top: P(t)
        becomes P(B(t)).

        Parameters
        ----------
        beta : float or callable
            A number, at least 0, for a constant beta, B(t) = beta t. Or the integral B itself: a function of one float
            that returns a float, with B(0) = 0, and never falls.
        speed : callable, optional
            Beside an integral, its derivative beta(t). `beta`, reverse rates and losses by rates need it.

        Returns
        -------
        Process
            The changed process. This one does not change.
        """
        clock = clock_of(self._op("time_change"), beta, speed)
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__dict__, _clock=clock if self._clock is None else Inside(self._clock, clock))
        return changed

    @any_library
    def beta(self, t: ArrayT | NumpyLike) -> ArrayT:
        """The factor of Q at time t.

        Parameters
        ----------
        t : float or array
            A time, or times (B,).

        Returns
        -------
        array
            beta(t), float64, of the shape, library and device of `t`: 1 without a time change.
        """
        return move(self._speed(self._op("beta"), t), *like_of(t))

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _times(self, op: str, argument: str, t: Any) -> NDArray[np.float64]:
        """Times as float64, finite and at least 0, of a shape that the process takes."""
        return times_of(op, argument, t)

    def _durations(self, op: str, t: Any, s: Any = None) -> tuple[NDArray[np.float64], ...]:
        """B(t), or (B(s), B(t) - B(s), B(t)), each () or (B,)."""
        end = later = self._times(op, "t", t)
        if self._clock is not None:
            end = self._clock.read(op, later)
        if s is None:
            return (end,)
        start = earlier = self._times(op, "s", s)
        if earlier.ndim and later.ndim and earlier.shape != later.shape:
            raise ValueError(f"{op}: s: shape must be () or the shape of t, {later.shape}, got {earlier.shape}")
        if (earlier > later).any():
            raise ValueError(f"{op}: s: must be at most t, got {float(np.max(earlier - later))!r} more")
        if self._clock is not None:
            start = self._clock.read(op, earlier)
            if (start > end).any():
                raise ValueError(
                    f"{op}: t: the integral of beta must not fall, got {float(np.max(start - end))!r} less"
                )
        return start, end - start, end

    def _speed(self, op: str, t: Any) -> NDArray[np.float64]:
        """beta(t), of t's shape."""
        times = self._times(op, "t", t)
        return np.ones(times.shape) if self._clock is None else self._clock.speed(op, times)

    def _beta(self, op: str, t: Any, now: Any, behind: int = 1) -> Any:
        """beta(t) as a factor of an array with `behind` dimensions behind the dimensions of states `now`."""
        factor = self._speed(op, t)
        one_a_sample(op, factor, now.shape)
        ones = (1,) * (now.ndim + behind - factor.ndim)
        return move(factor.reshape(factor.shape + ones) if factor.ndim else factor, *like_of(now))

    def _faster(self, op: str, rates: Any, t: Any, now: Any) -> Any:
        """Rates (B, ..., S) of states `now` times beta(t)."""
        return rates if self._clock is None else rates * self._beta(op, t, now)

    @property
    def _held(self) -> int:
        """How many entries a Lookup of one time holds."""
        return self.states**2

    @any_library
    def log_prob(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real) -> ArrayT:
        """The log-probability of x_t given x_0, element by element.

        ::

            log P(t)[x_0, x_t]

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        x_0 : int or array of int
            States at time 0, of the shape of `x_t`.
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            float64, of the shape of the states; -inf where P(t) is 0.
        """
        op = self._op("log_prob")
        pair = self._pair(op, x_t=x_t, x_0=x_0)
        return in_parts(
            op, self._lookup, self._held, lambda now, then, at: at.log(at.entries(then, now)), pair,
            self._durations(op, t),
        )  # fmt: skip

    @any_library
    def cdf(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real) -> ArrayT:
        """The probability of a state of at most x_t at time t given x_0, element by element.

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        x_0 : int or array of int
            States at time 0, of the shape of `x_t`.
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            float64, of the shape of the states.
        """
        op = self._op("cdf")
        pair = self._pair(op, x_t=x_t, x_0=x_0)
        return in_parts(
            op, self._lookup, self._held, lambda now, then, at: at.cumulative(then, now), pair, self._durations(op, t)
        )

    @any_library
    def bridge(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, s: Real, t: Real) -> ArrayT:
        """The law of x_s given x_t and x_0, for 0 <= s <= t.

        ::

            Pr(x_s = i | x_t, x_0) = P(s)[x_0, i] P(t - s)[i, x_t] / P(t)[x_0, x_t]

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        x_0 : int or array of int
            States at time 0, of the shape of `x_t`.
        s : float or array
            The earlier time, a number or (B,).
        t : float or array
            The later time, a number or (B,).

        Returns
        -------
        array
            The probability of every i, float64 (..., S).

        Raises
        ------
        ValueError
            If x_0 cannot reach x_t, or reaches it with a probability that float64 cannot tell from 0.

        Examples
        --------
        >>> fb.Uniform(3).bridge(1, 1, 0.5, 1.0).round(4)
        array([0.0297, 0.9405, 0.0297])
        """
        op = self._op("bridge")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, before: Lookup, after: Lookup, whole: Lookup) -> Any:
            first, second = before.rows(then), after.columns(now)
            # Each side is scaled by its largest entry, so that the product of two small ones stays above 0.
            law = before.scaled(first) * before.scaled(second)
            total = law.sum(-1)
            self._possible(op, total, now, then)
            return law / total[..., None]

        return in_parts(op, self._lookup, self._held, body, pair, self._durations(op, t, s))

    @any_library
    def reverse_rate(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real) -> ArrayT:
        """The rates of the reversed process from x_t to every i, given x_0.

        ::

            beta(t) Q[i, x_t] P(t)[x_0, i] / P(t)[x_0, x_t]

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        x_0 : int or array of int
            States at time 0, of the shape of `x_t`.
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            The rates, float64 (..., S); 0 at i = x_t.

        Raises
        ------
        ValueError
            If x_0 cannot reach x_t, or reaches it with a probability that float64 cannot tell from 0.
        """
        op = self._op("reverse_rate")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, jumps: Any, at: Lookup) -> Any:
            here = at.entries(then, now)
            self._possible(op, here, now, then)
            return jumps * at.rows(then) / here[..., None]

        arrays = *pair, self._jumps(pair[0])
        result = in_parts(op, self._lookup, self._held, body, arrays, self._durations(op, t))
        return self._faster(op, result, t, pair[0])

    def _jumps(self, now: Any) -> Any:
        """Q[i, now], (..., S), with a diagonal of 0."""
        return move(self._rates().T, *like_of(now))[now]

    def _jump_or_stay(self, now: Any) -> Any:
        """Whether Q[i, now] is above 0 or i is now, (..., S)."""
        return move((self._rates().T > 0) | np.eye(self.states, dtype=bool), *like_of(now))[now]

    def _pair(self, op: str, **given: Any) -> tuple[Any, ...]:
        """State arguments as int64 of one library and one shape; Python integers as they are."""
        values = {name: states_of(op, name, value, self.states) for name, value in given.items()}
        shape = next((v.shape for v in values.values() if v.ndim), ())
        for name, value in values.items():
            if value.ndim and value.shape != shape:
                raise ValueError(f"{op}: {name}: shape must be {tuple(shape)}, got {tuple(value.shape)}")
        values = dict(zip(values, together(op, **values), strict=True))
        xp, _ = like_of(next(iter(values.values())))
        return tuple(xp.broadcast_to(v, shape) for v in values.values())

    def _possible(self, op: str, weight: Any, now: Any, then: Any) -> None:
        wrong = weight <= 0
        if not bool(wrong.any()):
            return
        x_t, x_0 = int(now[wrong].reshape(-1)[0]), int(then[wrong].reshape(-1)[0])
        if not self._leads(x_0, x_t):
            raise ValueError(f"{op}: x_t: must be reachable from x_0, got x_t = {x_t} and x_0 = {x_0}")
        raise ValueError(
            f"{op}: x_t: must have a probability above 0 in float64 at these times, got x_t = {x_t} and x_0 = {x_0}"
        )

    def _leads(self, x_0: int, x_t: int) -> bool:
        """Whether x_0 can become x_t at all."""
        return x_t in followers(self._rates() > 0, x_0)

    @any_library
    def score(
        self,
        x_t: ArrayT | NumpyLike,
        posterior: ArrayT | NumpyLike,
        t: Real,
        states: ArrayT | NumpyLike | None = None,
    ) -> ArrayT:
        """The concrete score of x_t, as the mean over a posterior of x_0.

        ::

            p_t(i) / p_t(x_t) = sum over x_0 of posterior[x_0] P(t)[x_0, i] / P(t)[x_0, x_t]

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        posterior : array
            p(x_0 | x_t), floating point (..., S), whose rows sum to 1. The result is differentiable in it.
        t : float or array
            A time, or one for each sample, (B,).
        states : int or array of int, optional
            States i, of the shape of `x_t`. The ratio is then of these states alone.

        Returns
        -------
        array
            The ratio for every i, float64 (..., S), or for `states` alone, of their shape.

        Raises
        ------
        ValueError
            If one of `states` has Q[i, x_t] = 0, or the posterior has weight on an x_0 that cannot reach x_t.

        Notes
        -----
        The equation holds where Q[i, x_t] > 0, which is all that the reverse process needs. The result is 1
        at i = x_t, and NaN elsewhere.

        References
        ----------
        Meng et al., "Concrete Score Matching", NeurIPS 2022; Lou et al., arXiv 2310.16834.
        """
        op = self._op("score")
        now, *wanted = self._pair(op, x_t=x_t, **({} if states is None else {"states": states}))
        ratios = self._ratios(op, "posterior", now, posterior, t, wait=True)
        if not wanted:
            return ratios
        ratios, chosen = together(op, posterior=ratios, states=wanted[0])
        xp, index = like_of(ratios)[0], chosen[..., None]
        there: Any = (np.take_along_axis(ratios, index, -1) if xp is np else ratios.gather(-1, index))[..., 0]
        if bool(xp.isnan(there).any()):
            raise ValueError(f"{op}: states: must be i with Q[i, x_t] > 0, got one with Q[i, x_t] = 0")
        return cast("ArrayT", there)

    def _ratios(self, op: str, name: str, now: Any, probs: Any, t: Any, wait: bool) -> Any:
        """`score` of states `now`; wait: whether to look at values on a device."""
        weights, now = self._weights(op, name, now, probs, wait)

        def body(now: Any, weights: Any, at: Lookup) -> Any:
            return at.weighted(self._share(op, name, weights, at.columns(now), at, wait))

        result = in_parts(op, self._lookup, self._held, body, (now, weights), self._durations(op, t))
        return like_of(now)[0].where(self._jump_or_stay(now), result, math.nan)

    def _weights(self, op: str, name: str, now: Any, probs: Any, wait: bool) -> tuple[Any, Any]:
        """(probabilities of x_0, float64, x_t) in one library."""
        weights, now = a_state_each(op, name, probs, now, self.states)
        return simplex_of(op, name, weights, self.states, wait), now

    def _share(self, op: str, name: str, weights: Any, chance: Any, at: Lookup, wait: bool) -> Any:
        """Weights over the chances of x_t given each x_0; 0 where both are. ValueError for weight without a chance."""
        needed = weights > 0
        if (wait or visible(weights)) and bool((needed & (chance == 0)).any()):
            raise ValueError(f"{op}: {name}: must be 0 where P(t)[x_0, x_t] is 0, got weight on such an x_0")
        return at.xp.where(chance > 0, weights / at.xp.where(chance > 0, chance, 1.0), 0.0)

    @any_library
    def reverse_law(self, x_t: ArrayT | NumpyLike, posterior: ArrayT | NumpyLike, s: Real, t: Real) -> ArrayT:
        """The law of a reverse step from t to s of a model of p(x_0 | x_t).

        ::

            p(x_s = i | x_t) = sum over x_0 of posterior[x_0] P(s)[x_0, i] P(t - s)[i, x_t] / P(t)[x_0, x_t]

        `fb.categorical_bridge` draws from this law. It takes two matrix products, and no array larger than the result
        and the matrices.

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        posterior : array
            p(x_0 | x_t), floating point (..., S), whose rows sum to 1. The result is differentiable in it.
        s : float or array
            The earlier time, a number or (B,), 0 <= s <= t.
        t : float or array
            The later time, a number or (B,).

        Returns
        -------
        array
            The probability of every i, float64 (..., S).

        Raises
        ------
        ValueError
            If the posterior has weight on an x_0 that cannot reach x_t.

        References
        ----------
        Austin et al., NeurIPS 2021, arXiv 2107.03006, equation 4.
        """
        op = self._op("reverse_law")
        (now,) = self._pair(op, x_t=x_t)
        weights, now = self._weights(op, "posterior", now, posterior, wait=True)

        def body(now: Any, weights: Any, before: Lookup, after: Lookup) -> Any:
            second = after.scaled(after.columns(now))
            share = self._share(op, "posterior", weights, before.averaged(second), before, wait=True)
            return second * before.weighted(share)

        start, gap, _ = self._durations(op, t, s)
        return in_parts(op, self._lookup, self._held, body, (now, weights), (start, gap))

    @any_library
    def posterior(self, x_t: ArrayT | NumpyLike, prior: Array, t: Real) -> ArrayT:
        """The law of x_0 given x_t by Bayes, for a known law of x_0.

        ::

            p(x_0 | x_t) = prior[x_0] P(t)[x_0, x_t] / sum over x_0 of the same

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        prior : array
            The law of x_0, (S,).
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            The probability of every x_0, float64 (..., S).

        Raises
        ------
        ValueError
            If an x_t has probability 0.

        Examples
        --------
        >>> fb.PureDeath(3).posterior(1, np.full(4, 0.25), np.log(2.0)).round(4)
        array([0.    , 0.3636, 0.3636, 0.2727])
        """
        op = self._op("posterior")
        (now,) = self._pair(op, x_t=x_t)
        law = law_of(op, "prior", prior, self.states)

        def body(now: Any, at: Lookup) -> Any:
            joint = at.columns(now) * at.table(law)
            total = joint.sum(-1)
            if bool((total == 0).any()):
                raise ValueError(
                    f"{op}: x_t: must have a probability above 0, got {int(now[total == 0].reshape(-1)[0])}"
                )
            return joint / total[..., None]

        return in_parts(op, self._lookup, self._held, body, (now,), self._durations(op, t))
