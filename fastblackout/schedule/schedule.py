"""Observation times of blackout diffusion, and everything about them that does not depend on data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self, get_args, overload

import numpy as np

from ..call.numbers import pair_on_host
from ..ground.values import check_integer, check_name, real_array, shown
from ..probability import Prob, ProbLike
from ..typing import Times
from . import tables
from .survival_table import SurvivalTable
from .times import MOST_COUNT, draw_fractions, draw_indices, times_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from ..philox import Philox
    from ..typing import Grid

_MAX_STEPS = (1 << 31) - 1
TIMES = get_args(Times)


class Schedule(SurvivalTable):
    """Survival probabilities p_0 = 1 > p_1 > ... > p_steps >= 0 of a pure-death process, and their complements.

    Make one by `Schedule.logit`, `Schedule.cosine`, `Schedule.linear` or `Schedule.from_survival`. It is immutable,
    comparable and picklable.

    Parameters
    ----------
    name : str
        The name of the maker.
    pair : tuple of numpy.ndarray
        p and q, as the maker computes them.
    parameters : dict
        The arguments of the maker.

    Attributes
    ----------
    name : str
        "logit", "cosine", "linear" or "survival".
    steps : int
        The number of steps.
    p : numpy.ndarray
        The survival probabilities, float64 (steps + 1,), read-only.
    q : numpy.ndarray
        The complements 1 - p, float64 (steps + 1,), read-only. Both are rounded once, from 40 digits.
    t : numpy.ndarray
        The times -log p, float64 (steps + 1,), read-only.

    Notes
    -----
    Methods take a step k as an int or as an integer NumPy array or torch tensor of any shape. For an int
    the answer is Python floats. For an array it is float64 of that shape, library and device. `survival` and `bridge`
    also take times, floats in [0, 1].

    On the CPU a k out of range is a ValueError. On a GPU it is clamped, and `fb.check_values` tells.

    References
    ----------
    Santos et al., "Blackout Diffusion", ICML 2023, arXiv 2305.11089.

    Examples
    --------
    >>> schedule = fb.Schedule.linear(4)
    >>> schedule.p
    array([1.  , 0.75, 0.5 , 0.25, 0.  ])
    >>> schedule.bridge(4, 2)
    Prob(p=0.5, q=0.5)
    """

    def __init__(self, name: str, pair: tables.Pair, parameters: dict[str, Any]) -> None:
        super().__init__(pair)
        self.name, self._parameters = name, parameters

    @classmethod
    def logit(cls, steps: int = 1000, t_end: float = 15.0) -> Self:
        """The paper's times: p uniform in logit.

        ::

            from +L at k = 1 to -L at k = steps,    L = -logit(exp(-t_end))

        Parameters
        ----------
        steps : int, default 1000
            The number of steps, at least 1.
        t_end : float, default 15.0
            The last time, above log 2 (else L <= 0) and at most 700. The paper uses 15, and 10 for binarized MNIST.

        Returns
        -------
        Schedule
            The schedule.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range.

        Examples
        --------
        >>> fb.Schedule.logit(3).survival(2).p
        0.5
        """
        steps = check_integer("Schedule.logit", "steps", steps, 1, _MAX_STEPS)
        if isinstance(t_end, bool) or not isinstance(t_end, (int, float)):
            raise TypeError(f"Schedule.logit: t_end: must be a float, got {shown(t_end)}")
        if not math.log(2.0) < t_end <= 700.0:
            raise ValueError(f"Schedule.logit: t_end: must be above log 2 and at most 700, got {shown(t_end)}")
        pair = tables.logit_table(steps, float(t_end))
        return cls("logit", pair, {"steps": steps, "t_end": float(t_end)})

    @classmethod
    def cosine(cls, steps: int = 1000) -> Self:
        """Equal steps of Fisher-Rao arc length of the binomial family.

        ::

            p_k = cos^2(pi k / (2 steps)),    p_steps = 0

        Parameters
        ----------
        steps : int, default 1000
            The number of steps, at least 1.

        Returns
        -------
        Schedule
            The schedule.

        Raises
        ------
        TypeError
            If `steps` is not an integer.
        ValueError
            If `steps` is out of range.

        Examples
        --------
        >>> fb.Schedule.cosine(2).p
        array([1. , 0.5, 0. ])
        """
        steps = check_integer("Schedule.cosine", "steps", steps, 1, _MAX_STEPS)
        return cls("cosine", tables.cosine_table(steps), {"steps": steps})

    @classmethod
    def linear(cls, steps: int = 1000) -> Self:
        """Equal steps of p.

        ::

            p_k = 1 - k / steps,    p_steps = 0

        Parameters
        ----------
        steps : int, default 1000
            The number of steps, at least 1.

        Returns
        -------
        Schedule
            The schedule.

        Raises
        ------
        TypeError
            If `steps` is not an integer.
        ValueError
            If `steps` is out of range.

        Examples
        --------
        >>> fb.Schedule.linear(2).p
        array([1. , 0.5, 0. ])
        """
        steps = check_integer("Schedule.linear", "steps", steps, 1, _MAX_STEPS)
        return cls("linear", tables.linear_table(steps), {"steps": steps})

    @classmethod
    def from_survival(cls, p: ProbLike) -> Self:
        """A schedule from survival probabilities of one's own.

        Parameters
        ----------
        p : array or Prob
            float64 NumPy array or CPU tensor (steps + 1,), or a Prob of two such arrays. It begins with 1, decreases
            strictly and lies in [0, 1].

        Returns
        -------
        Schedule
            The schedule.

        Raises
        ------
        TypeError
            If `p` is not float64.
        ValueError
            If `p` does not begin with 1, does not decrease, is out of range, or has another shape.

        Notes
        -----
        Give a Prob where p comes close to 1: q = 1 - p of a rounded p is only good to 1e-16 absolutely. A
        step counts as decreasing where p falls or, for p >= 1/2, where q rises.

        Examples
        --------
        >>> fb.Schedule.from_survival(np.array([1.0, 0.5, 0.0])).steps
        2
        """
        op = "Schedule.from_survival"
        for side in p if isinstance(p, Prob) else (p,):
            if str(dtype := getattr(side, "dtype", "float64")) not in ("float64", "torch.float64"):
                raise TypeError(f"{op}: p: float64 is needed, others have lost 1 - p, got {dtype}")
        shape = real_array(op, "p", p.p if isinstance(p, Prob) else p).shape
        if len(shape) != 1 or shape[0] < 2:
            raise ValueError(f"{op}: p: shape must be (steps + 1,) with steps at least 1, got {tuple(shape)}")
        p, q = (np.array(side) for side in pair_on_host(op, "p", p, shape[0]))
        if p[0] != 1.0 or q[0] != 0.0:
            raise ValueError(f"{op}: p: p[0] must be 1 (and q[0] 0), got {float(p[0])!r} (and {float(q[0])!r})")
        wrong = tables.death(np, p[:-1], q[:-1], p[1:], q[1:]) <= 0.0
        if wrong.any():
            k = int(np.argmax(wrong))
            raise ValueError(
                f"{op}: p: must decrease strictly, got p[{k}] = {float(p[k])!r}, p[{k + 1}] = {float(p[k + 1])!r}"
            )
        p.flags.writeable = q.flags.writeable = False
        return cls("survival", (p, q), {"p": p.tolist(), "q": q.tolist()})

    def to_dict(self) -> dict[str, Any]:
        """Name and parameters, ready for JSON.

        Returns
        -------
        dict
            What `Schedule.from_dict` takes: it gives the same bits back.
        """
        return {"name": self.name, **self._parameters}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The schedule that `to_dict` described.

        Parameters
        ----------
        values : dict
            What `to_dict` returned.

        Returns
        -------
        Schedule
            The schedule, with the same bits.

        Raises
        ------
        TypeError
            If `values` is not a dict.
        ValueError
            If the name is unknown, or the keys are others.
        """
        op = "Schedule.from_dict"
        makers = {"logit": ("steps", "t_end"), "cosine": ("steps",), "linear": ("steps",), "survival": ("p", "q")}
        if not isinstance(values, dict):
            raise TypeError(f"{op}: values: must be a dict, as to_dict makes it, got {shown(values)}")
        arguments = dict(values)
        name = arguments.pop("name", None)
        check_name(op, "name", name, tuple(makers))
        if set(arguments) != set(makers[name]):
            raise ValueError(f"{op}: {name}: keys must be {makers[name]}, got {shown(tuple(arguments))}")
        if name == "survival":
            return cls.from_survival(Prob(*(real_array(op, side, arguments[side]) for side in ("p", "q"))))
        return getattr(cls, name)(**arguments)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.name, self.steps, float(self.p[1])))

    def __reduce__(self) -> tuple[Any, ...]:
        # The tables on devices are left out: they are made again where they are needed.
        return type(self).from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        if self.name == "survival":
            return f"Schedule.from_survival(<{self.steps + 1} values>)"
        return f"Schedule.{self.name}({', '.join(f'{key}={value!r}' for key, value in self._parameters.items())})"

    @overload
    def draw(
        self,
        batch: int,
        rng: Philox | int | None = ...,
        generator: torch.Generator | None = ...,
        *,
        global_batch: int | None = ...,
        like: torch.Tensor | None = ...,
        times: Times = ...,
        max_count: int | None = ...,
    ) -> torch.Tensor: ...
    @overload
    def draw(
        self,
        batch: int,
        rng: Philox | int | None = ...,
        generator: torch.Generator | None = ...,
        *,
        global_batch: int | None = ...,
        like: NDArray[Any],
        times: Times = ...,
        max_count: int | None = ...,
    ) -> NDArray[np.int64]: ...
    def draw(
        self,
        batch: int,
        rng: Philox | int | None = None,
        generator: torch.Generator | None = None,
        *,
        global_batch: int | None = None,
        like: torch.Tensor | NDArray[Any] | None = None,
        times: Times = "uniform",
        max_count: int | None = None,
    ) -> torch.Tensor | NDArray[np.int64]:
        """Random steps k in 1..steps, spread evenly over the global batch.

        ::

            k_g = 1 + floor(steps frac(U + g / G)),    g = first_sample + row,    G = global_batch

        U is one 64-bit uniform number, keyed by (seed, call) alone. Each k is then uniform.

        Parameters
        ----------
        batch : int
            The number of rows, at least 1.
        rng : Philox or int, optional
            The key. A rank that passes its `first_sample` and the common `global_batch` gets its slice of one global
            draw.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.
        global_batch : int, optional
            The rows of all ranks together. By default it is `batch`.
        like : array, optional
            An array or tensor that names library and device of the result.
        times : {"uniform", "early"}, default "uniform"
            With "early", every other k (where g + rng.call is odd) is placed as `grid` places steps of its kind
            "early": most lie where few particles are alive.
        max_count : int, optional
            The largest count of the model. "early" needs it.

        Returns
        -------
        array
            int64 (batch,): a torch tensor where torch is installed, else a NumPy array, or what `like` is.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range.

        Examples
        --------
        >>> fb.Schedule.linear(100).draw(4, rng=fb.Philox(1))
        tensor([20, 45, 70, 95])
        """
        check_name(op := "Schedule.draw", "times", times, TIMES)
        early = None
        if times == "early":
            early = tables.early_times(self.p, check_integer(op, "max_count", max_count, 1, MOST_COUNT))
        return draw_indices(op, self.steps, batch, rng, generator, global_batch, like, early)

    @overload
    def draw_continuous(
        self,
        batch: int,
        rng: Philox | int | None = ...,
        generator: torch.Generator | None = ...,
        *,
        global_batch: int | None = ...,
        like: torch.Tensor | None = ...,
    ) -> torch.Tensor: ...
    @overload
    def draw_continuous(
        self,
        batch: int,
        rng: Philox | int | None = ...,
        generator: torch.Generator | None = ...,
        *,
        global_batch: int | None = ...,
        like: NDArray[Any],
    ) -> NDArray[np.float64]: ...
    def draw_continuous(
        self,
        batch: int,
        rng: Philox | int | None = None,
        generator: torch.Generator | None = None,
        *,
        global_batch: int | None = None,
        like: torch.Tensor | NDArray[Any] | None = None,
    ) -> torch.Tensor | NDArray[np.float64]:
        """Random times u in (0, 1), spread evenly over the global batch.

        ::

            u_g = frac(U + g / G)

        U, g and G are as in `draw`. The stream of random numbers is another one.

        Parameters
        ----------
        batch : int
            The number of rows, at least 1.
        rng : Philox or int, optional
            The key, as in `draw`.
        generator : torch.Generator, optional
            Where the seed comes from if there is no key.
        global_batch : int, optional
            The rows of all ranks together. By default it is `batch`.
        like : array, optional
            An array or tensor that names library and device of the result.

        Returns
        -------
        array
            float64 (batch,), never 0 and never 1: times that `survival` takes.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If an argument is out of range.
        """
        return draw_fractions(batch, rng, generator, global_batch, like)

    def grid(
        self, steps: int | None = None, kind: Grid | Sequence[float] = "cosine", max_count: int | None = None
    ) -> NDArray[np.int64]:
        """The time indices of a reverse run.

        Parameters
        ----------
        steps : int, optional
            The number of steps of the run, in 1..self.steps. Beside a list it may be left out.
        kind : {"cosine", "index", "early"} or sequence of float, default "cosine"
            Where the steps lie, by one of the rules below, or a list. A list holds time indices, which decrease from
            self.steps to 0, or survival probabilities, which increase from 0 to 1. A probability stands for the index
            whose p is nearest.
        max_count : int, optional
            The largest count of the model, at least 1. "early" needs it.

        Returns
        -------
        numpy.ndarray
            int64 (steps + 1,), which decreases strictly from self.steps to 0.

        Raises
        ------
        TypeError
            If an argument has a wrong type.
        ValueError
            If `steps` or `max_count` is out of range, or a list is neither of the two.

        Notes
        -----
        With u = i / steps for i = 0..steps, the kinds are:

        - "cosine": the index whose p is nearest to cos^2(pi u / 2).
        - "index": evenly spaced indices, halves rounded up.
        - "early": the index whose p is nearest to cos^2(pi u^g / 2), g = 1 / log2(max_count + 1).

        "early" puts most steps where few particles are alive and the image is still open. This choice was measured; it
        makes few steps do (see https://github.com/fastblackout/fastblackout/blob/main/docs/sampling.md). Where
        neighbours would coincide they move apart.

        Examples
        --------
        >>> fb.Schedule.cosine(1000).grid(kind=[0, 0.0015, 0.05, 1])
        array([1000,  975,  856,    0])
        """
        return times_of("Schedule.grid", "kind", self.p, steps, kind, max_count)
