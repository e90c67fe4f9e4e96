"""A table of survival probabilities: how it is made, compared, stored and read back."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..call.rules import pair_on_host
from ..ground.persistent import Table
from ..ground.values import check_integer, check_name, real_array, shown
from ..probability import Prob, ProbLike
from . import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = ("likelihood", "finite-time", "instantaneous", "energy", "uniform")
_MAX_STEPS = (1 << 31) - 1


class SurvivalTable:
    """Survival probabilities p_0 = 1 > p_1 > ... > p_steps >= 0 and their complements, of which a Schedule answers."""

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
        return isinstance(other, SurvivalTable) and self.to_dict() == other.to_dict()

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
