"""What every process can do, from its transition matrices and its generator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.float_mode import default_floats
from ..ops.categorical import categorical, categorical_bridge
from ..philox import Philox
from .clock import Clock, Inside, clock_of
from .draws import draw
from .inputs import any_library, like_of, move
from .laws import Laws
from .matrices.evaluation import Evaluation, Evaluator
from .matrices.kept import FEWEST, Kept
from .matrices.lookup import Lookup
from .matrices.structure import closed_classes, stationary

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


class Process(Laws):
    """A continuous-time Markov chain on the states 0..S-1 with generator Q: Q[i, j] is the rate from i to j.

        P(t) = exp(t Q),  P(t)[i, j] = Pr(x_t = j | x_0 = i)

    t: a time, at least 0 and finite, in units of 1 / rate: a number, or one a sample, (B,), float64 (narrower floats
    are taken exactly as they are). x_0, x_s, x_t: uint8, int16, int32 or int64 arrays (B, ...) of states, or, but for
    sample_forward and sample_bridge, Python integers; arrays of one call have the same shape, dimension 0 is the
    sample. NumPy, torch and DLPack (CPU) go in and come out as what they were; a NumPy array or a number beside a
    tensor follows it, but in the two samplers. Everything is float64. No result is differentiable in t.
    On a device: P(t) is made on the host, whatever the device of states and t, for each different t of some samples,
    and copied there, 8 S^2 bytes each, which waits for t; methods other than the two samplers also look at the values
    of states and probabilities and wait for them.
    P(t) of 1024 states and more is kept for the times that come again, the last 256 MiB of it; a bar on a terminal
    shows how far it is once it takes some seconds.
    A process pickles, unless its time change was given functions that do not.
    Raises TypeError or ValueError naming method, argument, rule and value.
    Source: Campbell et al., A Continuous Time Framework for Discrete Denoising Models, NeurIPS 2022.
    """

    states: int

    def __init__(self, states: int) -> None:
        self.states = states
        self._clock: Clock | None = None
        self._kept = Kept()

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

    def _divergences(self, duration: float, law: NDArray[np.float64]) -> NDArray[np.float64]:
        """KL(P(duration)[x_0, .] || law) for every x_0, (S,)."""
        rows = self._small(np.asarray(duration))
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(rows > 0, rows * (np.log(rows) - np.log(law)), 0.0)
        return terms.sum(1)

    def time_change(self, beta: Any, speed: Any = None) -> Any:
        """The same process under Q(t) = beta(t) Q: P(s, t) = exp((B(t) - B(s)) Q), B(t) the integral of beta from 0.

        beta: a number, at least 0, for a constant beta, B(t) = beta t; or the integral B itself, a function of one
        float that returns a float, B(0) = 0 and never falling. speed: with an integral, its derivative beta(t), needed
        by reverse_rate alone. A change of a changed process applies on top: P(t) becomes P(B(t)).
        generator() stays Q; bridge and reverse_rate follow the change.
        """
        clock = clock_of(self._op("time_change"), beta, speed)
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__dict__, _clock=clock if self._clock is None else Inside(self._clock, clock))
        return changed

    @any_library
    def beta(self, t: Any) -> Any:
        """The factor of Q at time t, float64 of t's shape, library and device: 1 without a time change."""
        return move(self._speed(self._op("beta"), t), *like_of(t))

    @abstractmethod
    def _arguments(self) -> str:
        """What __repr__ shows between the brackets."""

    def __repr__(self) -> str:
        changed = "" if self._clock is None else f".time_change({self._clock})"
        return f"{type(self).__name__}({self._arguments()}){changed}"

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_kept": None}
        kept = state.get("_evaluator")
        # It holds functions and large matrices, so only what it was made of is kept, and it is made anew from that.
        if kept is not None:
            state["_evaluator"] = (kept.given, kept.method, kept.uniformization.tolerance)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _kept=Kept())
        kept = state.get("_evaluator")
        if kept is not None:
            rates, method, tolerance = kept
            self.__dict__["_evaluator"] = Evaluator(rates, method, tolerance, type(self).__name__)

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _durations(self, op: str, t: Any, s: Any = None) -> tuple[NDArray[np.float64], ...]:
        """B(t), or (B(s), B(t) - B(s), B(t)), each () or (B,)."""
        end = later = self._times(op, "t", t)
        if self._clock is not None:
            end = self._clock.read(op, later)
        if s is None:
            return (end,)
        start = earlier = self._times(op, "s", s)
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

    @any_library
    def transition_matrix(self, t: Any) -> Any:
        """P(t): float64 (S, S) for a scalar t, (B, S, S) for t (B,), in the library and on the device of t.

        Rows sum to 1 within 1e-14, entries are at least 0, P(0) is the identity. evaluation(t) gives the error.
        Computed on the host in one pass for all t: give a vector, not a loop.
        """
        xp, device = like_of(t)
        (times,) = self._durations(self._op("transition_matrix"), t)
        matrices = self._shaped(times)
        return move(matrices.copy() if self.states >= FEWEST else matrices, xp, device)

    @any_library
    def evaluation(self, t: Any) -> Evaluation:
        """The method by which P(t) is computed, and a bound on the absolute error of its entries."""
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
        durations = self._durations(op, t)
        return draw(
            op, categorical, {"x_0": x_0}, ("probs",), self._shaped, self._held, durations, (rng, generator), backend
        )

    @any_library
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
        states = {"x_t": x_t, "x_0": x_0}
        return draw(op, categorical_bridge, states, names, self._small, self._held, pair, (rng, generator), backend)

    def _draw_stationary(self, like: Any, key: Philox) -> Any:
        """Independent draws of the stationary law, of the shape, dtype and library of `like`, which holds zeros."""
        return categorical(like, move(self.stationary()[None], *like_of(like)), rng=key)

    @default_floats
    def _draw_step(self, x_t: Any, prediction: Mapping[str, Any], durations: Sequence[Any], key: Philox) -> Any:
        """x_s given x_t and logits or probs of x_0, at durations[0], with durations[1] left to x_t."""
        pair = self._small(np.array([float(each) for each in durations]))
        before, after = (move(matrix, *like_of(x_t)) for matrix in pair)
        return categorical_bridge(x_t, **prediction, before=before, after=after, rng=key)

    @default_floats
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
