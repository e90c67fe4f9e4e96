"""Processes that at rate 1 draw the state anew from one law: any law, uniform and absorbing. No matrix is needed.

The laws, what stands for matrices, the draws (reference/redraw.py says what is drawn, and defines their bits), and the
processes.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array, is_traced, to_device
from ..backends import select, wrong_values
from ..backends.float_mode import default_floats
from ..backends.host import run
from ..backends.tensors import stream_words
from ..call.arguments import through_torch
from ..call.keys import key_of, late_key
from ..call.states import MAX_STATES as MOST_WORDS
from ..call.states import check_holds
from ..ground.values import check_integer, check_memory
from ..ops.categorical_rows import categorical_rows
from ..ops.transition import counts_of
from ..philox import Philox
from ..reference import redraw as reference
from ..reference.categorical import thresholds
from .base import Process
from .inputs import MAX_STATES, a_state_each, host, law_of, like_of, move, one_a_sample, times_of
from .matrices.evaluation import Evaluation
from .matrices.lookup import Lookup
from .matrices.rounding import UNIT

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng
    from ..typing import Array as AnyArray
    from ..typing import ArrayT, Backend, NumpyLike, Real

    Floats = NDArray[np.float64]


class RedrawLaw(ABC):
    """r, a law of `states` states.

    mask: the state of a law of one, else -1. thresholds: of a law that is neither that nor uniform, (S,), int64: C(j)
    of reference/categorical.py.
    """

    mask = -1
    thresholds: NDArray[np.int64] | None = None

    def __init__(self, states: int) -> None:
        self.states = states

    @abstractmethod
    def row(self) -> Floats:
        """r, (S,)."""

    @abstractmethod
    def at(self, j: Any) -> Any:
        """r[j], float64 of the shape of j."""

    @abstractmethod
    def up_to(self, j: Any) -> Any:
        """r[0] + ... + r[j], of the shape of j."""

    @abstractmethod
    def mean(self, values: Any) -> Any:
        """sum over j of r[j] values[..., j]."""

    def inverse(self, j: Any) -> Any:
        """1 / r[j], at most the largest float64; infinite where r[j] is 0."""
        xp, _ = like_of(j)
        r = self.at(j)
        with np.errstate(over="ignore"):
            return xp.where(r > 0, (1.0 / xp.where(r > 0, r, 1.0)).clip(max=sys.float_info.max), math.inf)

    def reaches(self, j: int) -> bool:
        """Whether r[j] is above 0."""
        return bool(self.at(np.asarray(j)) > 0)

    def places(self, xp: Any, device: Any) -> Any:
        """0..S - 1."""
        return xp.arange(self.states) if xp is np else xp.arange(self.states, device=device)


class MaskLaw(RedrawLaw):
    """Of one state."""

    def __init__(self, states: int, mask: int) -> None:
        super().__init__(states)
        self.mask = mask

    def row(self) -> Floats:
        law = np.zeros(self.states)
        law[self.mask] = 1.0
        return law

    def at(self, j: Any) -> Any:
        xp, _ = like_of(j)
        return xp.where(j == self.mask, xp.ones_like(j, dtype=xp.float64), 0.0)

    def up_to(self, j: Any) -> Any:
        xp, _ = like_of(j)
        return xp.where(j >= self.mask, xp.ones_like(j, dtype=xp.float64), 0.0)

    def mean(self, values: Any) -> Any:
        return values[..., self.mask]


class UniformLaw(RedrawLaw):
    """Of all states alike."""

    def row(self) -> Floats:
        return np.full(self.states, 1.0 / self.states)

    def at(self, j: Any) -> Any:
        xp, _ = like_of(j)
        return xp.full_like(j, 1.0 / self.states, dtype=xp.float64)

    def up_to(self, j: Any) -> Any:
        return (j + 1) / self.states

    def mean(self, values: Any) -> Any:
        return values.sum(-1) / self.states


class TableLaw(RedrawLaw):
    """Any law, as an array."""

    def __init__(self, table: Floats) -> None:
        super().__init__(len(table))
        self.table = table
        (self.thresholds,) = thresholds(table[None])

    def row(self) -> Floats:
        return self.table.copy()

    def at(self, j: Any) -> Any:
        return move(self.table, *like_of(j))[j]

    def up_to(self, j: Any) -> Any:
        return move(self.table.cumsum(), *like_of(j))[j]

    def mean(self, values: Any) -> Any:
        return (values * move(self.table, *like_of(values))).sum(-1)


class RedrawLookup(Lookup):
    """Entries, rows and columns from the closed form, without a matrix a sample."""

    def __init__(self, stay: Any, leave: Any, law: RedrawLaw, xp: Any, device: Any) -> None:
        self.stay, self.leave, self.law, self.xp, self.device = stay, leave, law, xp, device

    def _both(self, ndim: int) -> tuple[Any, Any]:
        """exp(-t) and 1 - exp(-t) against arrays with so many dimensions, the last perhaps the dimension of states."""
        shape = tuple(self.stay.shape) + (1,) * (ndim - self.stay.ndim)
        return self.stay.reshape(shape), self.leave.reshape(shape)

    def _row(self) -> Any:
        return move(self.law.row(), self.xp, self.device)

    def _places(self) -> Any:
        return self.law.places(self.xp, self.device)

    def entries(self, i: Any, j: Any) -> Any:
        stay, leave = self._both(i.ndim)
        return stay * (i == j) + leave * self.law.at(j)

    def rows(self, i: Any) -> Any:
        stay, leave = self._both(i.ndim + 1)
        return stay * (i[..., None] == self._places()) + leave * self._row()

    def columns(self, j: Any) -> Any:
        stay, leave = self._both(j.ndim + 1)
        return stay * (j[..., None] == self._places()) + leave * self.law.at(j)[..., None]

    def cumulative(self, i: Any, j: Any) -> Any:
        stay, leave = self._both(i.ndim)
        return stay * (i <= j) + leave * self.law.up_to(j)

    def weighted(self, weights: Any) -> Any:
        stay, leave = self._both(weights.ndim)
        return stay * weights + leave * weights.sum(-1)[..., None] * self._row()

    def averaged(self, values: Any) -> Any:
        stay, leave = self._both(values.ndim)
        return stay * values + leave * self.law.mean(values)[..., None]


@default_floats
def redraw(
    op: str,
    states: Mapping[str, Any],
    durations: Sequence[NDArray[np.float64]],
    law: RedrawLaw,
    keys: tuple[Rng, torch.Generator | None],
    backend: str,
) -> Any:
    """The state a time durations[0] after x_0, and where x_t is given, the second, a time durations[1] before it.

    states: by their names, of which the first says what the result is like. keys: rng and generator.
    """
    arrays = dict(zip(states, counts_of(op, dict(states)), strict=True))
    (name, like), *_ = arrays.items()
    check_holds(op, name, like.dtype, law.states)
    for times in durations:
        one_a_sample(op, times, like.shape)
    samples, elements = like.size(op, name)
    x_0, x_t = arrays["x_0"], arrays.get("x_t")
    spread = [times.reshape(times.shape + (1,) * (len(like.shape) - times.ndim)) for times in durations]
    if through_torch(like.value, backend):
        if select.asked(backend) != "auto":
            select.select(op, backend, like.device)  # whether it could run there
        return _by_tensors(op, like, (x_0, x_t), spread, law, key_of(op, *keys, like.value, samples))
    chosen = select.select_host(op, backend)
    before, *after = (np.broadcast_to(times, like.shape) for times in spread)
    key = late_key(*keys, op, samples)
    fields: dict[str, Any] = {"x_0": x_0, "x_t": x_t, "before": before, "after": after[0] if after else None}
    fields |= {"thresholds": law.thresholds, "inverse": None, "states": law.states, "mask": law.mask, "key": key}
    if x_t is not None and law.thresholds is not None:
        fields["inverse"] = np.asarray(law.inverse(x_t.numpy().clip(0, law.states - 1)))
    out = like.empty_like()
    try:
        run("redraw", reference.redraw, chosen, fields, {"out": out}, (samples, elements))
    except ValueError as wrong:
        raise ValueError(str(wrong).replace("redraw:", f"{op}:", 1)) from None
    return out.give()


def _by_tensors(
    op: str,
    like: Array,
    ends: tuple[Array, Array | None],
    times: Sequence[NDArray[np.float64]],
    law: RedrawLaw,
    key: torch.Tensor,
) -> torch.Tensor:
    """The same bits by operations on a device. Wrong states are clamped, and flagged as fb.check_values tells.

    exp(-t) and 1 - exp(-t) of each different time are made on the host.
    """
    import torch

    device, shape = like.value.device, like.size(op, "")
    flag = None if is_traced(like.value) else wrong_values.flag(op, device)

    def note(wrong: torch.Tensor, bit: int) -> None:
        if flag is not None:
            flag.bitwise_or_(wrong.any() * bit)

    def rows(array: Array) -> torch.Tensor:
        states = array.value.long().reshape(shape)
        inside = states.clamp(0, law.states - 1)
        note(states != inside, 1)
        return inside

    def there(values: NDArray[Any]) -> torch.Tensor:
        """Of times, one for each sample, or for each element where those differ."""
        one = all(size == 1 for size in values.shape[1:])
        flat = values.reshape(-1, 1) if one else np.broadcast_to(values, like.shape).reshape(shape)
        return to_device(torch.from_numpy(np.array(flat)), device)

    x_0, x_t = ends
    start = rows(x_0)
    words = [stream_words(shape, key, stream) for stream in reference.STREAMS[x_t is not None]]
    v, table = reference.wide(*words[:2]), law.thresholds
    thresholds = None if table is None else to_device(torch.from_numpy(table), device)
    drawn = reference.fresh_states(torch, words[2], words[3], thresholds, law.states, law.mask)
    if x_t is None:
        result = torch.where(v < there(reference.forward_threshold(times[0])), start, drawn)
    else:
        end = rows(x_t)
        before, after = (tuple(map(there, reference.chances(each))) for each in times)
        inverse = None if table is None else law.inverse(end)
        keep, other = reference.thresholds_at(torch, (start, end), before, after, inverse, law.states, law.mask)
        note(keep < 0, 8)
        result = torch.where(v < keep, start, torch.where((v < other) | (keep < 0), end, drawn))
    result = result.reshape(like.shape)
    # A tensor that torch.vmap does not map over cannot take results that it does.
    return result.to(like.value.dtype) if is_traced(like.value) else like.empty_like().value.copy_(result)


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

    Floats of states may also be one for each element: of the states' shape, or (B, 1, ..., 1) with sizes of that shape
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

    def __init__(self, law: AnyArray) -> None:
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

    def _times(self, op: str, argument: str, t: Any) -> Floats:
        return times_of(op, argument, t, each=True)

    def generator(self) -> Floats:
        """The generator Q, as in `Process`.

        Returns
        -------
        numpy.ndarray
            Q, float64 (S, S).
        """
        self._check_dense("generator")
        return np.tile(self._law.row(), (self.states, 1)) - np.eye(self.states)

    def stationary(self) -> Floats:
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

    def _matrices(self, t: Floats) -> Floats:
        self._check_dense("transition_matrix")
        result = np.empty((len(t), self.states, self.states))
        result[...] = (-np.expm1(-t))[:, None, None] * self._law.row()
        result[:, np.arange(self.states), np.arange(self.states)] += np.exp(-t)[:, None]
        return result

    def _evaluation(self, t: Floats) -> Evaluation:
        return Evaluation("closed form", 8 * UNIT)  # exp and expm1 to 4 u, r, the product and the sum to u each

    def _lookup(self, t: Floats, xp: Any, device: Any) -> Lookup:
        return RedrawLookup(move(np.exp(-t), xp, device), move(-np.expm1(-t), xp, device), self._law, xp, device)

    def _jumps(self, now: Any) -> Any:
        return self._law.at(now)[..., None] * (self._law.places(*like_of(now)) != now[..., None])

    def _jump_or_stay(self, now: Any) -> Any:
        return (self._law.at(now)[..., None] > 0) | (self._law.places(*like_of(now)) == now[..., None])

    def _leads(self, x_0: int, x_t: int) -> bool:
        return x_0 == x_t or self._law.reaches(x_t)

    def _divergences(self, duration: float, law: Floats) -> Floats:
        """As in Process, from the sum of the terms of r alone, without the term at x_0."""
        stay, leave = math.exp(-duration), -math.expm1(-duration)
        drawn = leave * self._law.row()
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(drawn > 0, drawn * (np.log(drawn) - np.log(law)), 0.0)
            own = drawn + stay
            own = np.where(own > 0, own * (np.log(own) - np.log(law)), 0.0)
        finite = np.isfinite(terms)
        terms = np.where(finite, terms, 0.0)
        others = np.count_nonzero(~finite) - ~finite > 0  # whether a term of another state is infinite
        return np.where(others, math.inf, terms.sum() - terms + own)

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
        ((kind, values),) = prediction.items()
        values, _ = a_state_each(op, kind, values, x_t, self.states)
        x_0 = categorical_rows(rng=key, **{"weights" if kind == "probs" else "logits": values})
        return redraw(op, {"x_t": x_t, "x_0": x_0}, durations, self._law, (key, None), "auto")


class Uniform(Redraw):
    """At rate 1 the state is drawn anew, uniformly from all S.

    ::

        Q[i, j] = 1 / S (i != j),    P(t) = exp(-t) I + (1 - exp(-t)) / S

    The stationary law is uniform.

    Parameters
    ----------
    states : int
        The number of states S, 2..2^31.

    Notes
    -----
    What `Redraw` says of matrices and of times for each element holds here, too.

    References
    ----------
    Hoogeboom et al., "Argmax Flows and Multinomial Diffusion", NeurIPS 2021; Austin et al., arXiv 2107.03006.

    Examples
    --------
    >>> fb.Uniform(4).transition_matrix(np.log(2.0))[0]
    array([0.625, 0.125, 0.125, 0.125])
    """

    def __init__(self, states: int) -> None:
        self._begin(UniformLaw(check_integer("Uniform", "states", states, 2, reference.MAX_STATES)))

    def _arguments(self) -> str:
        return f"{self.states}"


class Absorbing(Redraw):
    """At rate 1 the state becomes the mask, and stays so.

    ::

        Q[i, mask] = 1 (i != mask),    x_t = x_0 with probability exp(-t), else the mask

    The stationary law is all on the mask.

    Parameters
    ----------
    states : int
        The number of states S, 2..2^31, the mask among them.
    mask : int, optional
        Which state is the mask. By default it is the last, S - 1.

    Notes
    -----
    What `Redraw` says of matrices and of times for each element holds here, too.

    References
    ----------
    Austin et al., arXiv 2107.03006; Lou et al., arXiv 2310.16834; Sahoo et al., arXiv 2406.07524.

    Examples
    --------
    >>> fb.Absorbing(4).sample_forward(np.array([[0, 1, 2, 0, 1, 2]]), 1.0, rng=fb.Philox(1))
    array([[3, 3, 2, 3, 1, 3]])
    """

    def __init__(self, states: int, mask: int | None = None) -> None:
        size = check_integer("Absorbing", "states", states, 2, reference.MAX_STATES)
        self.mask = size - 1 if mask is None else check_integer("Absorbing", "mask", mask, 0, size - 1)
        self._begin(MaskLaw(size, self.mask))

    def _arguments(self) -> str:
        return f"{self.states}, mask={self.mask}"
