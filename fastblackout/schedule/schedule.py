"""Observation times of blackout diffusion, and everything about them that does not depend on data."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_args, overload

import numpy as np

from ..arrays import is_traced
from ..call.rules import pair_on_host
from ..ground.persistent import Table
from ..ground.values import check_integer, check_name, common_shape, real_array, shown
from ..probability import Prob, ProbLike
from ..typing import Leap, Times, Weight
from . import between, grids, stratified, tables
from .indices import as_fraction, as_index, as_step, is_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from ..philox import Philox
    from ..typing import Grid, Scalar

    Place = Scalar | NDArray[Any]
    Floats = NDArray[np.float64]
    T = TypeVar("T")
    Pair = tuple[Prob[T], Prob[T]]

WEIGHTS = get_args(Weight)
_MAX_STEPS = (1 << 31) - 1
LEAPS = get_args(Leap)
TIMES = get_args(Times)


class Schedule:
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
        self.name = name
        self.p, self.q = pair
        self.steps = len(self.p) - 1
        self._parameters = parameters
        self._arrays = tables.Arrays(*pair)
        self._tables = {name: Table(partial(self._arrays, name)) for name in ("p", "q", "high", "low", *WEIGHTS)}

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

    @property
    def t(self) -> NDArray[np.float64]:
        """The times t_k = -log p_k, float64 (steps + 1,), read-only; inf where p_k = 0."""
        return self._arrays("high")

    def _take(self, name: str, k: Any) -> Any:
        """Table `name` at checked k, as NumPy array or tensor, like k."""
        return self._tables[name].at("Schedule", k)

    @overload
    def survival(self, k: Scalar) -> Prob[float]: ...
    @overload
    def survival(self, k: NDArray[Any]) -> Prob[Floats]: ...
    @overload
    def survival(self, k: Tensor) -> Prob[Tensor]: ...
    def survival(self, k: Place | Tensor) -> Prob:
        """The probability p_k that a particle of x_0 is still alive at k.

        Parameters
        ----------
        k : int or float or array
            A step in 0..steps, or a time in [0, 1]. Step k lies at the time k / steps, and 1.0 is the last step.
            Between steps p and q are linear.

        Returns
        -------
        Prob
            p and q = 1 - p: floats for a number, else float64 arrays like `k`.

        Raises
        ------
        TypeError
            If `k` is neither integer nor floating point.
        ValueError
            If `k` is out of range (on the CPU).

        Examples
        --------
        >>> fb.Schedule.linear(4).survival(0.5)
        Prob(p=0.5, q=0.5)
        """
        if between.is_time(k):
            return _prob(between.survival(self._take, self.steps, "Schedule.survival", "k", k), is_plain(k))
        index = as_index("Schedule.survival", "k", k, 0, self.steps)
        return _prob((self._take("p", index), self._take("q", index)), is_plain(k))

    @overload
    def bridge(self, k_t: Scalar, k_s: Scalar) -> Prob[float]: ...  # type: ignore[overload-overlap]
    @overload
    def bridge(self, k_t: Tensor, k_s: Place | Tensor) -> Prob[Tensor]: ...
    @overload
    def bridge(self, k_t: Place, k_s: Tensor) -> Prob[Tensor]: ...
    @overload
    def bridge(self, k_t: Place, k_s: Place) -> Prob[Floats]: ...
    def bridge(self, k_t: Place | Tensor, k_s: Place | Tensor) -> Prob:
        """The birth probability of the reverse step from k_t to k_s.

        ::

            p = (p_s - p_t) / (1 - p_t),    q = (1 - p_s) / (1 - p_t)

        Parameters
        ----------
        k_t : int or float or array
            The step that is left, in 1..steps, or a time as in `survival`.
        k_s : int or float or array
            The step that is reached, in 0..k_t - 1. It broadcasts with `k_t`, and is a time where `k_t` is one.

        Returns
        -------
        Prob
            p and q, floats for numbers, else float64 arrays. `k_s` = 0 gives exactly Prob(1, 0).

        Raises
        ------
        TypeError
            If a step is of another type, or one is a time and the other is not.
        ValueError
            If a step is out of range or `k_s` is not below `k_t` (on the CPU), or shapes do not broadcast.

        Notes
        -----
        The relative error of p is about 1e-14 on the paper's times, where the plain difference of p loses nine digits.

        Examples
        --------
        >>> fb.Schedule.linear(4).bridge(4, 2)
        Prob(p=0.5, q=0.5)
        """
        if between.is_time(k_t) or between.is_time(k_s):
            library, ends = between.step_ends(self._take, self.steps, "Schedule.bridge", k_t, k_s)
            return _prob(tables.birth(library, *ends), is_plain(k_t, k_s))
        library, t, s = as_step("Schedule.bridge", k_t, k_s, self.steps)
        return _prob(tables.birth(library, *self._ends(t, s)), is_plain(k_t, k_s))

    @overload
    def bridge_with_attrition(self, k_t: Scalar, k_s: Scalar, sigma: Scalar) -> Pair[float]: ...  # type: ignore[overload-overlap]
    @overload
    def bridge_with_attrition(self, k_t: Tensor, k_s: Place | Tensor, sigma: Place | Tensor) -> Pair[Tensor]: ...
    @overload
    def bridge_with_attrition(self, k_t: Place, k_s: Tensor, sigma: Place | Tensor) -> Pair[Tensor]: ...
    @overload
    def bridge_with_attrition(self, k_t: Place, k_s: Place, sigma: Tensor) -> Pair[Tensor]: ...
    @overload
    def bridge_with_attrition(self, k_t: Place, k_s: Place, sigma: Place) -> Pair[Floats]: ...
    def bridge_with_attrition(
        self, k_t: Place | Tensor, k_s: Place | Tensor, sigma: Place | Tensor
    ) -> tuple[Prob, Prob]:
        """The probabilities of a reverse step that also kills.

        ::

            x_s = x_t + Binomial(N, beta) - Binomial(x_t, sigma')
            sigma' = min(sigma, 1, (1 - p_s) / p_t),    beta = (p_s - (1 - sigma') p_t) / (1 - p_t)

        The marginals of the schedule stay, and sigma' = 0 at k_s = 0.

        Parameters
        ----------
        k_t : int or array
            The step that is left, in 1..steps.
        k_s : int or array
            The step that is reached, in 0..k_t - 1. It broadcasts with `k_t`.
        sigma : float or array
            The share of particles to kill, in [0, 1]: a float, or a float64 array that broadcasts with the steps.

        Returns
        -------
        tuple of Prob
            beta and sigma'.

        Raises
        ------
        TypeError
            If a step is not an integer, or `sigma` is not float64.
        ValueError
            If a value is out of range (on the CPU), or shapes do not broadcast.

        References
        ----------
        arXiv 2604.03779.

        Examples
        --------
        >>> fb.Schedule.linear(2).bridge_with_attrition(2, 1, 0.1)
        (Prob(p=0.5, q=0.5), Prob(p=0.1, q=0.9))
        """
        op = "Schedule.bridge_with_attrition"
        library, t, s = as_step(op, k_t, k_s, self.steps)
        sigma_in = as_fraction(op, "sigma", sigma, library, t)
        if library is np or not is_traced(t):
            common_shape(op, {"k_t": tuple(t.shape), "k_s": tuple(s.shape), "sigma": tuple(sigma_in.shape)})
        beta, capped = tables.birth_with_attrition(library, *self._ends(t, s), sigma_in)
        plain = is_plain(k_t, k_s, sigma)
        return _prob(beta, plain), _prob(capped, plain)

    @overload
    def leap(self, k_t: Scalar, k_s: Scalar, form: Leap = ...) -> float: ...  # type: ignore[overload-overlap]
    @overload
    def leap(self, k_t: Tensor, k_s: Place | Tensor, form: Leap = ...) -> Tensor: ...
    @overload
    def leap(self, k_t: Place, k_s: Tensor, form: Leap = ...) -> Tensor: ...
    @overload
    def leap(self, k_t: Place, k_s: Place, form: Leap = ...) -> Floats: ...
    def leap(self, k_t: Place | Tensor, k_s: Place | Tensor, form: Leap = "bridge-mean") -> float | Floats | Tensor:
        """The factor f of a tau-leaping step, whose births are Poisson(y f).

        ::

            "bridge-mean":  (p_s - p_t) / (1 - p_t)
            "rate":         (t_t - t_s) p_t / (1 - p_t)

        Parameters
        ----------
        k_t : int or array
            The step that is left, in 1..steps.
        k_s : int or array
            The step that is reached, in 0..k_t - 1. It broadcasts with `k_t`.
        form : {"bridge-mean", "rate"}, default "bridge-mean"
            "bridge-mean" is the mean of the bridge, which the authors' code calls tau-leaping. "rate" is the textbook
            form. At p_t = 0 it is 0, its limit.

        Returns
        -------
        float or array
            The factor, a float for ints, else float64 like the steps.

        Raises
        ------
        TypeError
            If a step is not an integer.
        ValueError
            If a value is out of range (on the CPU), shapes do not broadcast, or the form is unknown.

        Examples
        --------
        >>> fb.Schedule.linear(4).leap(4, 2)
        0.5
        """
        op = "Schedule.leap"
        check_name(op, "form", form, LEAPS)
        library, t, s = as_step(op, k_t, k_s, self.steps)
        p_s, q_s, p_t, q_t = self._ends(t, s)
        if form == "bridge-mean":
            factor, _ = tables.birth(library, p_s, q_s, p_t, q_t)
        else:
            # t is a sum of two float64 numbers: the difference keeps its digits, and no log of this machine takes part.
            elapsed = self._take("high", t) - self._take("high", s) + (self._take("low", t) - self._take("low", s))
            with tables.quiet(library):
                factor = library.where(p_t > 0.0, elapsed * p_t / q_t, 0.0)
        answer: float | Floats | Tensor = float(factor) if is_plain(k_t, k_s) else factor
        return answer

    def _ends(self, t: Any, s: Any) -> tuple[Any, Any, Any, Any]:
        return self._take("p", s), self._take("q", s), self._take("p", t), self._take("q", t)

    @overload
    def weight(self, name: Weight, k: Scalar) -> float: ...
    @overload
    def weight(self, name: Weight, k: NDArray[Any]) -> Floats: ...
    @overload
    def weight(self, name: Weight, k: Tensor) -> Tensor: ...
    def weight(self, name: Weight, k: Place | Tensor) -> float | Floats | Tensor:
        """The loss weight of a step, raw and not normalised.

        ::

            "likelihood":     (p_{k-1} - p_k) / (1 - p_k), and at k = 1 the value of k = 2
            "finite-time":    p_{k-1} - p_k
            "instantaneous":  (t_k - t_{k-1}) p_k, and 0 at p_k = 0
            "energy":         1 / sqrt(1 - p_k)
            "uniform":        1

        Parameters
        ----------
        name : {"likelihood", "finite-time", "instantaneous", "energy", "uniform"}
            Which weight.
        k : int or array
            The step, in 1..steps.

        Returns
        -------
        float or array
            The weight, a float for an int, else float64 like `k`.

        Raises
        ------
        TypeError
            If `k` is not an integer.
        ValueError
            If `k` is out of range (on the CPU), or the name is unknown.

        Notes
        -----
        - "likelihood" is the step's birth probability, so that the weighted loss is the likelihood bound. It would be 1
          at k = 1, and is capped there.
        - "finite-time" and "instantaneous" are the paper's. They vanish near p = 1: there the network stays untrained.
        - "energy" is for `fb.energy_loss`, whose norms go to 0 like sqrt(1 - p_k) as p_k -> 1.
        - "uniform" is for `fb.posterior_loss`: the mean over k of what the births cost.

        Examples
        --------
        >>> fb.Schedule.linear(4).weight("finite-time", 2)
        0.25
        """
        check_name("Schedule.weight", "name", name, WEIGHTS)
        value = self._take(name, as_index("Schedule.weight", "k", k, 1, self.steps))
        answer: float | Floats | Tensor = float(value) if is_plain(k) else value
        return answer

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
            early = tables.early_times(self.p, check_integer(op, "max_count", max_count, 1, grids.MOST_COUNT))
        return stratified.indices(op, self.steps, batch, rng, generator, global_batch, like, early)

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
        return stratified.fractions(batch, rng, generator, global_batch, like)

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
        return grids.times_of("Schedule.grid", "kind", self.p, steps, kind, max_count)


def _prob(pair: tuple[Any, Any], plain: bool) -> Prob:
    return Prob(float(pair[0]), float(pair[1])) if plain else Prob(*pair)
