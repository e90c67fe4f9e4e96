"""What every process can do, from its transition matrices and its generator."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ops.categorical import categorical, categorical_bridge
from ..philox import Philox
from .clock import Clock, clock_of
from .draws import draw
from .evaluation import Evaluation
from .inputs import like_of, move, times_of
from .laws import Laws
from .lookup import Lookup
from .structure import closed_classes, stationary

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


class Process(Laws):
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

    def _small(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        matrices = self._small_entries(np.atleast_1d(times))
        return matrices if times.ndim else matrices[0]

    def _lookup(self, times: NDArray[np.float64], xp: Any, device: Any) -> Lookup:
        return Lookup(move(self._small(times), xp, device), xp, device)

    def sample_forward(
        self,
        x_0: Any,
        t: Any,
        *,
        rng: Philox | torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        backend: str = "auto",
    ) -> Any:
        """x_t given x_0: like x_0, drawn by fb.categorical (its law is within 0.5625 S 2^-48 total variation of P(t)).

        rng, generator, backend, and what happens to wrong states on a device: see fb.categorical.
        """
        op = self._op("sample_forward")
        return draw(op, categorical, (x_0,), ("probs",), self._shaped, self._durations(op, t), rng, generator, backend)

    def sample_bridge(
        self,
        x_t: Any,
        x_0: Any,
        s: Any,
        t: Any,
        *,
        rng: Philox | torch.Tensor | None = None,
        generator: torch.Generator | None = None,
        backend: str = "auto",
    ) -> Any:
        """x_s given x_t and x_0, 0 <= s <= t: like x_t, drawn by fb.categorical_bridge; nothing larger than P is made.

        rng, generator, backend, and what happens to wrong states on a device: see fb.categorical_bridge.
        """
        op = self._op("sample_bridge")
        pair = self._durations(op, t, s)[:2]
        names = ("before", "after")
        return draw(op, categorical_bridge, (x_t, x_0), names, self._small, pair, rng, generator, backend)

    def stationary(self) -> NDArray[np.float64]:
        """The law that P(t) keeps and tends to, float64 (S,): pi Q = 0.

        ValueError where it is not unique, the process having several closed classes of states.
        """
        rates = self._rates()
        classes = closed_classes(rates)
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
