"""What every process can do, from its transition matrices and its generator."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from .clock import Clock, clock_of
from .evaluation import Evaluation
from .inputs import host, like_of, move, simplex_of, states_of, times_of
from .lookup import Lookup, in_parts
from .structure import closed_classes, reachable, stationary

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Process(ABC):
    """A continuous-time Markov chain on the states 0..S-1 with generator Q: Q[i, j] is the rate from i to j.

        P(t) = exp(t Q),  P(t)[i, j] = Pr(x_t = j | x_0 = i)

    t: a time, at least 0 and finite, in units of 1 / rate: a number, or one a sample, (B,), float64 (narrower floats
    are taken exactly as they are). x_0, x_s, x_t: uint8, int16, int32 or int64 arrays (B, ...) of states, or Python
    integers; arrays of one call have the same shape, dimension 0 is the sample. NumPy, torch and DLPack go in and come
    out as what they were. Everything is float64. Methods other than sample_forward and sample_bridge look at the
    values of states and wait for a device to give them. No result is differentiable in t.
    Raises TypeError or ValueError naming method, argument, rule and value.
    Source: Campbell et al., A Continuous Time Framework for Discrete Denoising Models, NeurIPS 2022.
    """

    states: int

    def __init__(self, states: int) -> None:
        self.states = states
        self._clock: Clock | None = None

    @abstractmethod
    def generator(self) -> NDArray[np.float64]:
        """Q, float64 (S, S): rates i -> j off the diagonal, rows summing to 0. Not scaled by a time change."""

    @abstractmethod
    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(t), (B, S, S), for times (B,) of the process without its time change."""

    def _small_entries(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(t) with small entries as accurate, relative to their size, as large ones: for what divides by them."""
        return self._matrices(t)

    @abstractmethod
    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation: ...

    # Time.

    def time_change(self, beta: Any, speed: Any = None) -> Any:
        """The same process under Q(t) = beta(t) Q: P(s, t) = exp((B(t) - B(s)) Q), B(t) the integral of beta from 0.

        beta: a number, at least 0, for a constant beta, B(t) = beta t; or the integral B itself, a function of one
        float that returns a float, B(0) = 0 and never falling. speed: with an integral, its derivative beta(t), needed
        by reverse_rate alone. A change of a changed process applies on top: P(t) becomes P(B(t)).
        generator() stays Q; bridge and reverse_rate follow the change.
        """
        changed = copy.copy(self)
        changed._clock = clock_of(self._op("time_change"), beta, speed).inside(self._clock)
        return changed

    def beta(self, t: Any) -> NDArray[np.float64]:
        """The factor of Q at time t, float64 of t's shape: 1 without a time change."""
        op = self._op("beta")
        times = times_of(op, "t", t)
        return np.ones(times.shape) if self._clock is None else self._clock.speed(op, times)

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _durations(self, op: str, t: Any, s: Any = None) -> tuple[NDArray[np.float64], ...]:
        """B(t), or (B(s), B(t) - B(s), B(t)), each () or (B,)."""
        end = later = times_of(op, "t", t)
        if self._clock is not None:
            end = self._clock.read(op, later)
        if s is None:
            return (end,)
        start = earlier = times_of(op, "s", s)
        if earlier.ndim and later.ndim and earlier.shape != later.shape:
            raise ValueError(f"{op}: s: shape must be () or that of t, {later.shape}, got {earlier.shape}")
        if (earlier > later).any():
            raise ValueError(f"{op}: s: must be at most t, got {float(np.max(earlier - later))!r} more")
        if self._clock is not None:
            start = self._clock.read(op, earlier)
            if (start > end).any():
                raise ValueError(
                    f"{op}: t: the integral of beta must not fall, got {float(np.max(start - end))!r} less"
                )
        return start, end - start, end

    # Laws.

    def transition_matrix(self, t: Any) -> Any:
        """P(t): float64 (S, S) for a scalar t, (B, S, S) for t (B,), in the library and on the device of t.

        Rows sum to 1 within 1e-14, entries are at least 0, P(0) is the identity. evaluation(t) gives the error.
        Computed on the host in one pass for all t: give a vector, not a loop.
        """
        xp, device = like_of(t)
        (times,) = self._durations(self._op("transition_matrix"), t)
        return move(self._shaped(times), xp, device)

    def evaluation(self, t: Any) -> Evaluation:
        """The method by which P(t) is computed, and a bound on the absolute error of its entries."""
        (times,) = self._durations(self._op("evaluation"), t)
        return self._evaluation(np.atleast_1d(times))

    def _shaped(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        matrices = self._matrices(np.atleast_1d(times))
        return matrices if times.ndim else matrices[0]

    def _lookup(self, times: NDArray[np.float64], xp: Any, device: Any) -> Lookup:
        matrices = self._small_entries(np.atleast_1d(times))
        return Lookup(move(matrices if times.ndim else matrices[0], xp, device), xp, device)

    def log_prob(self, x_t: Any, x_0: Any, t: Any) -> Any:
        """log P(t)[x_0, x_t], float64, element by element; -inf where P(t) is 0."""
        op = self._op("log_prob")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, at: Lookup) -> Any:
            return at.log(at.entries(then, now))

        return in_parts(op, self._lookup, self.states, body, pair, self._durations(op, t))

    def cdf(self, x_t: Any, x_0: Any, t: Any) -> Any:
        """Pr(at most x_t at time t | x_0), float64, element by element."""
        op = self._op("cdf")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, at: Lookup) -> Any:
            return at.cumulative(then, now)

        return in_parts(op, self._lookup, self.states, body, pair, self._durations(op, t))

    def bridge(self, x_t: Any, x_0: Any, s: Any, t: Any) -> Any:
        """Pr(x_s = i | x_t, x_0), float64 (..., S), for 0 <= s <= t.

            P(s)[x_0, i] P(t - s)[i, x_t] / P(t)[x_0, x_t]

        ValueError for an x_t that x_0 cannot reach, or reaches with a probability that float64 cannot tell from 0.
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

        return in_parts(op, self._lookup, self.states, body, pair, self._durations(op, t, s))

    def reverse_rate(self, x_t: Any, x_0: Any, t: Any) -> Any:
        """The rate of the reversed process from x_t to i, given x_0: float64 (..., S), 0 at i = x_t.

        beta(t) Q[i, x_t] P(t)[x_0, i] / P(t)[x_0, x_t]
        """
        op = self._op("reverse_rate")
        pair = self._pair(op, x_t=x_t, x_0=x_0)
        rates = self._rates()

        def body(now: Any, then: Any, at: Lookup) -> Any:
            here = at.entries(then, now)
            self._possible(op, here, now, then)
            return at.table(rates.T)[now] * at.rows(then) / here[..., None]

        result = in_parts(op, self._lookup, self.states, body, pair, self._durations(op, t))
        if self._clock is None:
            return result
        factor, (xp, device) = self._clock.speed(op, times_of(op, "t", t)), like_of(result)
        if factor.ndim:
            factor = factor.reshape(factor.shape + (1,) * (result.ndim - 1))
        return result * move(factor, xp, device)

    def score(self, x_t: Any, posterior: Any, t: Any, states: Any = None) -> Any:
        """The ratio p_t(i) / p_t(x_t) (concrete score), float64 (..., S), as the mean over the posterior of x_0.

            sum over x_0 of posterior[x_0] P(t)[x_0, i] / P(t)[x_0, x_t]

        posterior: p(x_0 | x_t), (..., S), floating point, rows summing to 1. This form holds where Q[i, x_t] > 0, all
        that the reverse process needs, and is 1 at i = x_t; elsewhere the result is NaN. states: i, an integer or an
        integer array of x_t's shape: the ratio there alone, of that shape; ValueError where Q[i, x_t] = 0.
        Source: Meng et al., Concrete Score Matching, NeurIPS 2022; Lou et al., arXiv 2310.16834.
        """
        op = self._op("score")
        (now,) = self._pair(op, x_t=x_t)
        weights = simplex_of(op, "posterior", posterior, self.states)
        if tuple(weights.shape[:-1]) != tuple(now.shape):
            raise ValueError(f"{op}: posterior: shape must be {(*now.shape, self.states)}, got {tuple(weights.shape)}")
        wanted = None if states is None else states_of(op, "states", states, self.states)
        allowed = (self._rates() > 0) | np.eye(self.states, dtype=bool)
        xp, device = like_of(now)
        if wanted is not None:
            right = move(allowed, xp, device)[wanted, now]
            if not bool(right.all()):
                raise ValueError(f"{op}: states: must be i with Q[i, x_t] > 0, got one with Q[i, x_t] = 0")

        def body(now: Any, weights: Any, at: Lookup) -> Any:
            here = at.columns(now)
            needed = weights > 0
            if bool((needed & (here == 0)).any()):
                raise ValueError(f"{op}: posterior: must be 0 where P(t)[x_0, x_t] is 0, got weight on such an x_0")
            ratio = at.xp.where(needed, weights / at.xp.where(here > 0, here, 1.0), 0.0)
            return at.weighted(ratio)

        result = in_parts(op, self._lookup, self.states, body, (now, weights), self._durations(op, t))
        if wanted is not None:
            index = wanted + 0 * now
            taken = (
                xp.take_along_axis(result, index[..., None], -1) if xp is np else result.gather(-1, index[..., None])
            )
            return taken[..., 0]
        return xp.where(move(np.ascontiguousarray(allowed.T), xp, device)[now], result, math.nan)

    def posterior(self, x_t: Any, prior: Any, t: Any) -> Any:
        """p(x_0 | x_t) by Bayes for a known law of x_0, prior (S,): float64 (..., S).

        prior[x_0] P(t)[x_0, x_t] / sum over x_0 of the same
        """
        op = self._op("posterior")
        (now,) = self._pair(op, x_t=x_t)
        law = host(simplex_of(op, "prior", prior, self.states), op, "prior")
        if law.ndim != 1:
            raise ValueError(f"{op}: prior: shape must be ({self.states},), got {law.shape}")

        def body(now: Any, at: Lookup) -> Any:
            joint = at.columns(now) * at.table(law)
            total = joint.sum(-1)
            if bool((total == 0).any()):
                raise ValueError(
                    f"{op}: x_t: must have a probability above 0, got {int(now[total == 0].reshape(-1)[0])}"
                )
            return joint / total[..., None]

        return in_parts(op, self._lookup, self.states, body, (now,), self._durations(op, t))

    def stationary(self) -> NDArray[np.float64]:
        """The law that P(t) keeps and tends to, float64 (S,): pi Q = 0.

        ValueError where it is not unique, the process having several closed classes of states.
        """
        rates = self._rates()
        classes = closed_classes(reachable(rates))
        if len(classes) > 1:
            first = ", ".join(str(members[:5].tolist()) for members in classes[:3])
            raise ValueError(
                f"{self._op('stationary')}: Q: must have one closed class of states, got {len(classes)}: {first}"
                f"{', ...' if len(classes) > 3 else ''}"
            )
        return stationary(rates, classes[0])

    def _rates(self) -> NDArray[np.float64]:
        """Q with a diagonal of 0."""
        rates = self.generator().copy()
        np.fill_diagonal(rates, 0.0)
        return rates

    def _pair(self, op: str, **given: Any) -> tuple[Any, ...]:
        """State arguments as int64 of one library and one shape; Python integers as they are."""
        values = {name: states_of(op, name, value, self.states) for name, value in given.items()}
        shape = next((v.shape for v in values.values() if v.ndim), ())
        for name, value in values.items():
            if value.ndim and value.shape != shape:
                raise ValueError(f"{op}: {name}: shape must be {tuple(shape)}, got {tuple(value.shape)}")
        tensor = next((v for v in values.values() if like_of(v)[0] is not np), None)
        if tensor is None:
            return tuple(np.broadcast_to(v, shape) for v in values.values())
        xp, device = like_of(tensor)
        moved = (v if like_of(v)[0] is xp else move(np.asarray(v), xp, device) for v in values.values())
        return tuple(xp.broadcast_to(v, shape) for v in moved)

    def _possible(self, op: str, weight: Any, now: Any, then: Any) -> None:
        wrong = weight <= 0
        if not bool(wrong.any()):
            return
        x_t, x_0 = int(now[wrong].reshape(-1)[0]), int(then[wrong].reshape(-1)[0])
        if not reachable(self._rates())[x_0, x_t]:
            raise ValueError(f"{op}: x_t: must be reachable from x_0, got x_t = {x_t} and x_0 = {x_0}")
        raise ValueError(
            f"{op}: x_t: must have a probability above 0 in float64 at these times, got x_t = {x_t} and x_0 = {x_0}"
        )
