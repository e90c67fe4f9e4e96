"""What every process can do, from its transition matrices and its generator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.float_mode import default_floats
from ..ops.categorical import categorical, categorical_bridge
from ..philox import Philox
from .draws import draw
from .inputs import any_library, like_of, move
from .laws import Laws
from .matrices.evaluation import Evaluation, Evaluator
from .matrices.kept import FEWEST, Kept
from .matrices.lookup import Lookup

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..typing import ArrayT, Backend, NumpyLike, Real


class Process(Laws):
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
        self._clock = None
        self._kept = Kept()

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
        kept = state.get("_evaluator")
        # It holds functions and large matrices. So only what it was made of is kept, and it is made again.
        if kept is not None:
            state["_evaluator"] = (kept.given, kept.method, kept.uniformization.tolerance)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _kept=Kept())
        kept = state.get("_evaluator")
        if kept is not None:
            rates, method, tolerance = kept
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
        pair = self._small(np.array([float(each) for each in durations]))
        before, after = (move(matrix, *like_of(x_t)) for matrix in pair)
        return categorical_bridge(x_t, **prediction, before=before, after=after, rng=key)
