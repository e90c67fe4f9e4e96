"""Observation times of blackout diffusion, and everything about them that does not depend on data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..ground.values import check_integer, check_name
from . import grids, stratified, tables
from .step_numbers import StepNumbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from ..philox import Philox
    from ..typing import Grid, Times

TIMES = ("uniform", "early")


class Schedule(StepNumbers):
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

    @overload
    def draw(
        self,
        batch: int,
        rng: Philox | None = ...,
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
        rng: Philox | None = ...,
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
        rng: Philox | None = None,
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
        rng : Philox, optional
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
        return stratified.indices(self.steps, batch, rng, generator, global_batch, like, early)

    @overload
    def draw_continuous(
        self,
        batch: int,
        rng: Philox | None = ...,
        generator: torch.Generator | None = ...,
        *,
        global_batch: int | None = ...,
        like: torch.Tensor | None = ...,
    ) -> torch.Tensor: ...
    @overload
    def draw_continuous(
        self,
        batch: int,
        rng: Philox | None = ...,
        generator: torch.Generator | None = ...,
        *,
        global_batch: int | None = ...,
        like: NDArray[Any],
    ) -> NDArray[np.float64]: ...
    def draw_continuous(
        self,
        batch: int,
        rng: Philox | None = None,
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
        rng : Philox, optional
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
        makes few steps do (see docs/sampling.md). Where neighbours would coincide they move apart.

        Examples
        --------
        >>> fb.Schedule.cosine(1000).grid(kind=[0, 0.0015, 0.05, 1])
        array([1000,  975,  856,    0])
        """
        return grids.times_of("Schedule.grid", "kind", self.p, steps, kind, max_count)
