"""Observation times of blackout diffusion: which p_k, and everything an op needs that depends on them alone."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import is_traced
from ..call.rules import pair_on_host
from ..ground.persistent import Table
from ..ground.values import check_integer, check_name, common_shape, real_array, shown
from ..probability import Prob
from . import between, grids, stratified, tables
from .indices import as_fraction, as_index, as_step, is_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from ..philox import Philox

WEIGHTS = ("likelihood", "finite-time", "instantaneous", "energy", "uniform")
LEAPS = ("bridge-mean", "rate")
TIMES = ("uniform", "early")
_MAX_STEPS = (1 << 31) - 1


class Schedule:
    """Survival probabilities p_0 = 1 > p_1 > ... > p_steps >= 0 of a pure-death process, and their complements.

    Make one by `Schedule.logit`, `.cosine`, `.linear` or `.from_survival`; it is immutable, comparable and picklable.
    steps: int. p, q: float64 NumPy arrays (steps + 1,), read-only, q = 1 - p, each rounded once from 40 digits.
    t: -log p, float64 (steps + 1,). name: "logit", "cosine", "linear" or "survival".

    Wherever k is asked for: an int (the answer is Python floats), or an integer NumPy array or torch tensor of any
    shape (the answer is float64 of that shape, library and device); for `survival` and `bridge` also times, floats. On
    the CPU a k out of range is a ValueError; on a GPU it is clamped and told by fb.check_values.
    Source: Santos et al., "Blackout Diffusion", ICML 2023, arXiv 2305.11089.
    """

    def __init__(self, name: str, pair: tables.Pair, parameters: dict[str, Any]) -> None:
        self.name = name
        self.p, self.q = pair
        self.steps = len(self.p) - 1
        self._parameters = parameters
        self._arrays = tables.Arrays(*pair)
        self._tables = {name: Table(partial(self._arrays, name)) for name in ("p", "q", "high", "low", *WEIGHTS)}

    @classmethod
    def logit(cls, steps: int = 1000, t_end: float = 15.0) -> Schedule:
        """p uniform in logit from +L at k = 1 to -L at k = steps, L = -logit(exp(-t_end)): the paper's times.

        steps: at least 1. t_end: above log 2 (else L <= 0) and at most 700. The reference uses 1000 and 15 (10 for
        binarized MNIST). Raises TypeError, ValueError.
        """
        steps = check_integer("Schedule.logit", "steps", steps, 1, _MAX_STEPS)
        if isinstance(t_end, bool) or not isinstance(t_end, (int, float)):
            raise TypeError(f"Schedule.logit: t_end: must be a float, got {shown(t_end)}")
        if not math.log(2.0) < t_end <= 700.0:
            raise ValueError(f"Schedule.logit: t_end: must be above log 2 and at most 700, got {shown(t_end)}")
        pair = tables.logit_table(steps, float(t_end))
        return cls("logit", pair, {"steps": steps, "t_end": float(t_end)})

    @classmethod
    def cosine(cls, steps: int = 1000) -> Schedule:
        """p_k = cos^2(pi k / (2 steps)): equal steps of Fisher-Rao arc length of the binomial family; p_steps = 0."""
        steps = check_integer("Schedule.cosine", "steps", steps, 1, _MAX_STEPS)
        return cls("cosine", tables.cosine_table(steps), {"steps": steps})

    @classmethod
    def linear(cls, steps: int = 1000) -> Schedule:
        """p_k = 1 - k / steps; p_steps = 0."""
        steps = check_integer("Schedule.linear", "steps", steps, 1, _MAX_STEPS)
        return cls("linear", tables.linear_table(steps), {"steps": steps})

    @classmethod
    def from_survival(cls, p: Any) -> Schedule:
        """A schedule from its own p: float64 array or CPU tensor (steps + 1,), or a Prob of two such arrays.

        p[0] must be 1, p strictly decreasing and in [0, 1]. Give a Prob where p comes close to 1: q = 1 - p of a
        rounded p is only good to 1e-16 absolutely. A step counts as decreasing when p falls or, for p >= 1/2, q rises.
        Raises TypeError, ValueError.
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
        """Name and parameters, ready for JSON; `Schedule.from_dict` gives the same bits back."""
        return {"name": self.name, **self._parameters}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schedule:
        """The schedule `to_dict` described. ValueError for an unknown name or other keys."""
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
        return Schedule.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        if self.name == "survival":
            return f"Schedule.from_survival(<{self.steps + 1} values>)"
        return f"Schedule.{self.name}({', '.join(f'{key}={value!r}' for key, value in self._parameters.items())})"

    @property
    def t(self) -> NDArray[np.float64]:
        """Times t_k = -log p_k, float64 (steps + 1,), read-only; inf where p_k = 0."""
        return self._arrays("high")

    def _take(self, name: str, k: Any) -> Any:
        """Table `name` at checked k, as NumPy array or tensor, following k."""
        return self._tables[name].at("Schedule", k)

    def survival(self, k: Any) -> Prob:
        """Prob(p_k, q_k) for k in 0..steps: the probability that a particle of x_0 is still alive at k.

        Or k is a time, a float in [0, 1], 1.0 at the last step: step k lies at k / steps, p and q are linear between.

            >>> fb.Schedule.linear(4).survival(0.5)
            Prob(p=0.5, q=0.5)
        """
        if between.is_time(k):
            return _prob(between.survival(self._take, self.steps, "Schedule.survival", "k", k), is_plain(k))
        index = as_index("Schedule.survival", "k", k, 0, self.steps)
        return _prob((self._take("p", index), self._take("q", index)), is_plain(k))

    def bridge(self, k_t: Any, k_s: Any) -> Prob:
        """Birth probability of the reverse step k_t -> k_s: Prob((p_s - p_t) / (1 - p_t), (1 - p_s) / (1 - p_t)).

        k_t in 1..steps, k_s in 0..k_t - 1, broadcast. k_s = 0 gives exactly Prob(1, 0). Relative error of p about 1e-14
        on the paper's times, where the plain difference of p loses nine digits. Or both are times, as in `survival`.
        """
        if between.is_time(k_t) or between.is_time(k_s):
            library, ends = between.step_ends(self._take, self.steps, "Schedule.bridge", k_t, k_s)
            return _prob(tables.birth(library, *ends), is_plain(k_t, k_s))
        library, t, s = as_step("Schedule.bridge", k_t, k_s, self.steps)
        return _prob(tables.birth(library, *self._ends(t, s)), is_plain(k_t, k_s))

    def bridge_with_attrition(self, k_t: Any, k_s: Any, sigma: Any) -> tuple[Prob, Prob]:
        """(beta, sigma') of a reverse step that also kills: x_s = x_t + Binomial(N, beta) - Binomial(x_t, sigma').

        beta = (p_s - (1 - sigma') p_t) / (1 - p_t), sigma' = min(sigma, 1, (1 - p_s) / p_t), each a Prob: the marginals
        stay those of the schedule, and sigma' = 0 at k_s = 0. k_t, k_s as in `bridge`; sigma: float, or float64 array
        that broadcasts with them, in [0, 1]. Source: arXiv 2604.03779.
        """
        op = "Schedule.bridge_with_attrition"
        library, t, s = as_step(op, k_t, k_s, self.steps)
        sigma_in = as_fraction(op, "sigma", sigma, library, t)
        if library is np or not is_traced(t):
            common_shape(op, {"k_t": tuple(t.shape), "k_s": tuple(s.shape), "sigma": tuple(sigma_in.shape)})
        beta, capped = tables.birth_with_attrition(library, *self._ends(t, s), sigma_in)
        plain = is_plain(k_t, k_s, sigma)
        return _prob(beta, plain), _prob(capped, plain)

    def leap(self, k_t: Any, k_s: Any, form: str = "bridge-mean") -> Any:
        """Factor f of a tau-leaping step, births ~ Poisson(y f); float64 like k, k_t and k_s as in `bridge`.

        "bridge-mean": (p_s - p_t) / (1 - p_t), the mean of the bridge (what the authors' code calls tau-leaping).
        "rate": (t_t - t_s) p_t / (1 - p_t), the textbook form; 0, its limit, at p_t = 0.
        """
        op = "Schedule.leap"
        check_name(op, "form", form, LEAPS)
        library, t, s = as_step(op, k_t, k_s, self.steps)
        p_s, q_s, p_t, q_t = self._ends(t, s)
        if form == "bridge-mean":
            factor, _ = tables.birth(library, p_s, q_s, p_t, q_t)
        else:
            # t as two float64 numbers: the difference keeps its digits, and no log of this machine takes part.
            elapsed = self._take("high", t) - self._take("high", s) + (self._take("low", t) - self._take("low", s))
            with tables.quiet(library):
                factor = library.where(p_t > 0.0, elapsed * p_t / q_t, 0.0)
        return float(factor) if is_plain(k_t, k_s) else factor

    def _ends(self, t: Any, s: Any) -> tuple[Any, Any, Any, Any]:
        return self._take("p", s), self._take("q", s), self._take("p", t), self._take("q", t)

    def weight(self, name: str, k: Any) -> Any:
        """Loss weight of step k in 1..steps, float64 like k; raw values, not normalised.

        "likelihood": (p_{k-1} - p_k) / (1 - p_k), the step's birth probability, so that the weighted loss is the
        likelihood bound; 1 at k = 1, where it is capped at the value of k = 2.
        "finite-time": p_{k-1} - p_k. "instantaneous": (t_k - t_{k-1}) p_k; 0 at p_k = 0. These two are the paper's;
        they vanish near p = 1 and leave the network untrained there.
        "energy": 1 / sqrt(1 - p_k), for fb.energy_loss, whose norms go to 0 like sqrt(1 - p_k) as p_k -> 1.
        "uniform": 1, for fb.posterior_loss: the mean over k of what the births cost.
        """
        check_name("Schedule.weight", "name", name, WEIGHTS)
        value = self._take(name, as_index("Schedule.weight", "k", k, 1, self.steps))
        return float(value) if is_plain(k) else value

    def draw(
        self,
        batch: int,
        rng: Philox | None = None,
        generator: torch.Generator | None = None,
        *,
        global_batch: int | None = None,
        like: Any = None,
        times: str = "uniform",
        max_count: int | None = None,
    ) -> Any:
        """Random step indices k in 1..steps, int64 (batch,), spread evenly over the global batch.

        k_g = 1 + floor(steps frac(U + g / G)), g = first_sample + row, G = global_batch (default: batch), U one 64-bit
        uniform keyed by (seed, call) alone. Each k is then uniform. A rank that passes its first_sample and the common
        global_batch gets its slice of one global draw. Returns a torch tensor when torch is installed, else NumPy;
        `like`, an array or tensor, names library and device. Raises TypeError, ValueError.
        times: "uniform", or "early": every other k, where g + rng.call is odd, is then placed as `grid` places steps
            of its kind "early", most where few particles are alive; it needs max_count.
        """
        check_name(op := "Schedule.draw", "times", times, TIMES)
        early = None
        if times == "early":
            early = tables.early_times(self.p, check_integer(op, "max_count", max_count, 1, grids.MOST_COUNT))
        return stratified.indices(self.steps, batch, rng, generator, global_batch, like, early)

    def draw_continuous(
        self,
        batch: int,
        rng: Philox | None = None,
        generator: torch.Generator | None = None,
        *,
        global_batch: int | None = None,
        like: Any = None,
    ) -> Any:
        """Random times u in (0, 1), float64 (batch,), spread evenly over the batch: frac(U + g / G).

        U, g and G as in `draw`; never 0, never 1: times of `survival`. The stream is not that of `draw`.
        """
        return stratified.fractions(batch, rng, generator, global_batch, like)

    def grid(
        self, steps: int | None = None, kind: str | Sequence[float] = "cosine", max_count: int | None = None
    ) -> NDArray[np.int64]:
        """Indices of a reverse run of `steps` steps: int64 NumPy (steps + 1,), which decrease strictly.

        They go from self.steps to 0. kind: where they lie.
            "cosine": at the index whose p is nearest to cos^2(pi u / 2), u = i / steps.
            "index": evenly spaced, halves rounded up.
            "early": at the index whose p is nearest to cos^2(pi u^g / 2), g = 1 / log2(max_count + 1): most steps lie
                where few particles are alive and the image is still open, a measured choice that makes few steps do
                (see docs/sampling.md). It needs the max_count of the model.
            A list of time indices, which decrease from self.steps to 0; or of survival probabilities, which increase
                from 0 to 1, and stand for the indices whose p is nearest. `steps` may then be left out.
        Where neighbours would coincide they move apart.
        Raises TypeError or ValueError where steps is not in 1..self.steps, max_count not at least 1, or a list is none
        of these.

            >>> fb.Schedule.cosine(1000).grid(kind=[0, 0.0015, 0.05, 1])
            array([1000,  975,  856,    0])
        """
        return grids.times_of("Schedule.grid", "kind", self.p, steps, kind, max_count)


def _prob(pair: tuple[Any, Any], plain: bool) -> Prob:
    return Prob(float(pair[0]), float(pair[1])) if plain else Prob(*pair)
