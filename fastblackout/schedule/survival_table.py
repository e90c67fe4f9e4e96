"""Survival probabilities at the steps of a schedule and between them, and what follows from them for each step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args, overload

import numpy as np

from ..arrays import is_traced
from ..ground.persistent import Table
from ..ground.values import check_name, common_shape
from ..probability import Prob
from ..typing import Leap, Weight
from . import tables
from .indices import as_fraction, as_index, as_step, is_plain, is_time, step_ends, survival_at

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..typing import Scalar

    Place = Scalar | NDArray[Any]
    Floats = NDArray[np.float64]
    T = TypeVar("T")
    Pair = tuple[Prob[T], Prob[T]]

WEIGHTS = get_args(Weight)
LEAPS = get_args(Leap)


class SurvivalTable:
    """p_0 = 1 > p_1 > ... > p_steps >= 0 and their complements, and the probabilities, factors and weights of steps.

    `Schedule` derives from it, and says which steps its methods take.
    """

    def __init__(self, pair: tables.Pair) -> None:
        self.p, self.q = pair
        self.steps = len(self.p) - 1
        self._arrays = tables.Arrays(*pair)
        self._tables = {name: Table(partial(self._arrays, name)) for name in ("p", "q", "high", "low", *WEIGHTS)}

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
        if is_time(k):
            return _prob(survival_at(self._take, self.steps, "Schedule.survival", "k", k), is_plain(k))
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
        if is_time(k_t) or is_time(k_s):
            library, ends = step_ends(self._take, self.steps, "Schedule.bridge", k_t, k_s)
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


def _prob(pair: tuple[Any, Any], plain: bool) -> Prob:
    return Prob(float(pair[0]), float(pair[1])) if plain else Prob(*pair)
