"""Processes that at rate 1 draw the state anew from one law: any law, uniform and absorbing. No matrix is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..call.states import MAX_STATES as MOST_WORDS
from ..ground.values import check_memory
from ..ops.categorical_rows import categorical_rows
from ..philox import Philox
from .base import Process
from .inputs import MAX_STATES, a_state_each, host, law_of, like_of, move, times_of
from .matrices.evaluation import Evaluation
from .matrices.lookup import Lookup
from .matrices.rounding import UNIT
from .redraw_draws import redraw
from .redraw_laws import RedrawLaw, TableLaw
from .redraw_lookup import RedrawLookup

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..typing import Array, ArrayT, Backend, NumpyLike, Real

    Times = NDArray[np.float64]


class Redraw(Process):
    """At rate 1 the state is drawn anew from one law r.

    ::

        Q[i, j] = r[j] (i != j),    P(t) = exp(-t) I + (1 - exp(-t)) 1 r

    The stationary law is r. `Uniform` and `Absorbing` are the two best known, of up to 2^31 states.

    Parameters
    ----------
    law : array
        r, the probabilities (S,) of S states, S in 2..65536. They are floating point, at least 0, and sum to 1 within
        1e-9 (float32: 1e-4).

    Notes
    -----
    Only `generator`, `transition_matrix` and what needs them make a matrix. For these S is at most 4096.

    Times of states may also be one for each element: of the states' shape, or (B, 1, ..., 1) with sizes of that shape
    in place of some 1.

    References
    ----------
    Austin et al., arXiv 2107.03006, appendix A.2; Vignac et al., arXiv 2209.14734 (r of the data's marginals).

    Examples
    --------
    >>> process = fb.Redraw(np.array([0.5, 0.25, 0.25]))
    >>> process.sample_forward(np.zeros((1, 8), np.uint8), 1.0, rng=fb.Philox(1))
    array([[0, 0, 0, 0, 0, 1, 1, 0]], dtype=uint8)
    """

    def __init__(self, law: Array) -> None:
        table = np.asarray(host(law, "Redraw", "law"))
        if table.ndim != 1 or not 2 <= len(table) <= MOST_WORDS:
            raise ValueError(f"Redraw: law: shape must be (S,) with S in 2..{MOST_WORDS}, got {table.shape}")
        self._begin(TableLaw(law_of("Redraw", "law", law, len(table))))

    def _begin(self, law: RedrawLaw) -> None:
        super().__init__(law.states)
        self._law = law

    def _arguments(self) -> str:
        return f"{self.states} states"

    @property
    def _held(self) -> int:
        return 1

    def _times(self, op: str, argument: str, t: Any) -> Times:
        return times_of(op, argument, t, each=True)

    def generator(self) -> Times:
        """The generator Q, as in `Process`.

        Returns
        -------
        numpy.ndarray
            Q, float64 (S, S).
        """
        self._check_dense("generator")
        return np.tile(self._law.row(), (self.states, 1)) - np.eye(self.states)

    def stationary(self) -> Times:
        """The law r that P(t) keeps and tends to.

        Returns
        -------
        numpy.ndarray
            r, float64 (S,).
        """
        check_memory(f"{self._op('stationary')}: states: a law", 8 * self.states)
        return self._law.row()

    def transition_matrix(self, t: ArrayT | NumpyLike) -> ArrayT:
        """The matrix P(t), as in `Process`, for up to 4096 states and one time a sample.

        Parameters
        ----------
        t : float or array
            A time, or times (B,).

        Returns
        -------
        array
            float64 (S, S) for one time, (B, S, S) for times (B,), in the library and on the device of `t`.
        """
        self._check_dense("transition_matrix")
        times_of(self._op("transition_matrix"), "t", t)
        return super().transition_matrix(t)

    def evaluation(self, t: Real) -> Evaluation:
        """How P(t) is computed, and how exactly, as in `Process`.

        Parameters
        ----------
        t : float or array
            A time, or times (B,).

        Returns
        -------
        Evaluation
            The method and its error.
        """
        times_of(self._op("evaluation"), "t", t)
        return super().evaluation(t)

    def _check_dense(self, method: str) -> None:
        if self.states > MAX_STATES:
            raise ValueError(
                f"{self._op(method)}: states: must be at most {MAX_STATES} for a matrix of them, got {self.states}"
            )

    def _matrices(self, t: Times) -> Times:
        self._check_dense("transition_matrix")
        result = np.empty((len(t), self.states, self.states))
        result[...] = (-np.expm1(-t))[:, None, None] * self._law.row()
        result[:, np.arange(self.states), np.arange(self.states)] += np.exp(-t)[:, None]
        return result

    def _evaluation(self, t: Times) -> Evaluation:
        return Evaluation("closed form", 8 * UNIT)  # exp and expm1 to 4 u, r, the product and the sum to u each

    def _lookup(self, t: Times, xp: Any, device: Any) -> Lookup:
        return RedrawLookup(move(np.exp(-t), xp, device), move(-np.expm1(-t), xp, device), self._law, xp, device)

    def _jumps(self, now: Any) -> Any:
        return self._law.at(now)[..., None] * (self._law.places(*like_of(now)) != now[..., None])

    def _jump_or_stay(self, now: Any) -> Any:
        return (self._law.at(now)[..., None] > 0) | (self._law.places(*like_of(now)) == now[..., None])

    def _leads(self, x_0: int, x_t: int) -> bool:
        return x_0 == x_t or self._law.reaches(x_t)

    def _divergences(self, duration: float, law: Times) -> Times:
        """As in Process, from the sum of the terms of r alone, without the term at x_0."""
        stay, leave = math.exp(-duration), -math.expm1(-duration)
        drawn = leave * self._law.row()
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(drawn > 0, drawn * (np.log(drawn) - np.log(law)), 0.0)
            own = drawn + stay
            own = np.where(own > 0, own * (np.log(own) - np.log(law)), 0.0)
        finite = np.isfinite(terms)
        known = np.where(finite, terms, 0.0)
        others = np.count_nonzero(~finite) - ~finite > 0  # whether a term of another state is infinite
        return np.where(others, math.inf, known.sum() - known + own)

    def sample_forward(
        self,
        x_0: ArrayT | NumpyLike,
        t: Real,
        *,
        rng: Philox | torch.Tensor | int | None = None,
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
    ) -> ArrayT:
        """Draw x_t given x_0: x_0 itself with probability exp(-t), else a state from the law r.

        r is the law given to `Redraw`. It is 1 / S each for `Uniform`, and all on the mask for `Absorbing`.

        Parameters
        ----------
        x_0 : array of int
            States (B, ...).
        t : float or array
            A time, one for each sample, (B,), or an array of as many dimensions as `x_0`, each of its size or 1. For
            sequences of tokens (B, L), times (B, 1) are one for each sequence and times (B, L) one for each token.
        rng : Philox, torch.Tensor or int, optional
            The key. Equal keys give equal states on every backend, for any split of the batch.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.
        backend : {"auto", "reference", "cpu", "cuda", "triton"}, default "auto"
            The backend. On a device the states are drawn by operations of torch, whatever backend is named.

        Returns
        -------
        array of int
            x_t, like `x_0`.

        Notes
        -----
        The law is within 2e-14 total variation for S up to 2^18, and within 5.9e-11 for S = 2^31
        (fastblackout/reference/redraw.py derives it). Where r is neither uniform nor a mask it is as exact as
        `fb.categorical`. What happens to wrong states on a device is said there, too.
        """
        op = self._op("sample_forward")
        durations = self._durations(op, t)
        return redraw(op, {"x_0": x_0}, durations, self._law, (rng, generator), backend)

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
        """Draw x_s given x_t and x_0, for 0 <= s <= t: x_0 or x_t itself, or a state from the law r.

        Parameters
        ----------
        x_t : array of int
            States (B, ...) at time t.
        x_0 : array of int
            States at time 0, of the shape of `x_t`.
        s : float or array
            The earlier time, a number, one for each sample or one for each element, as in `sample_forward`.
        t : float or array
            The later time, as `s`.
        rng : Philox, torch.Tensor or int, optional
            The key, as in `sample_forward`.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.
        backend : {"auto", "reference", "cpu", "cuda", "triton"}, default "auto"
            The backend, as in `sample_forward`.

        Returns
        -------
        array of int
            x_s, like `x_t`, as exact as in `sample_forward`.

        Raises
        ------
        ValueError
            If x_0 cannot become x_t. On a device `fb.check_values` tells, and x_t stays.
        """
        op = self._op("sample_bridge")
        durations = self._durations(op, t, s)[:2]
        return redraw(op, {"x_t": x_t, "x_0": x_0}, durations, self._law, (rng, generator), backend)

    def _draw_stationary(self, like: Any, key: Philox) -> Any:
        return redraw("sample_reverse", {"x_0": like}, (np.asarray(math.inf),), self._law, (key, None), "auto")

    def _draw_step(self, x_t: Any, prediction: Mapping[str, Any], durations: Sequence[Any], key: Philox) -> Any:
        """The model's x_0, drawn by fb.categorical_rows, and then x_s."""
        op = "sample_reverse"
        ((kind, given),) = prediction.items()
        given, _ = a_state_each(op, kind, given, x_t, self.states)
        x_0 = categorical_rows(rng=key, **{"weights" if kind == "probs" else "logits": given})
        return redraw(op, {"x_t": x_t, "x_0": x_0}, durations, self._law, (key, None), "auto")
