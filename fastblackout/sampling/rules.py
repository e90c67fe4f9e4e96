"""The samplers: the rule of a reverse step behind each name that `sampler=` and `--sampler` take.

A new sampler is one class here, written as `Rule` says, and one line in `SAMPLERS` of names.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn.functional import softplus

from ..ground.values import check_name, is_number
from ..ops import Leaped, Stepped, bridge_step, posterior_step, tau_leap_step
from ..ops.bridge import ROUNDINGS
from ..probability import Prob
from .names import SAMPLERS

if TYPE_CHECKING:
    from torch import Tensor

    from ..heads.head import Head
    from ..schedule.schedule import Schedule
    from ..typing import Leap, Rounding


@dataclass(frozen=True)
class Rule(ABC):
    """A sampler: how the counts at time k_t become those at k_s < k_t, given the births that the model expects.

    A subclass is a frozen dataclass, too. Its fields are the ones among the options `rounding` and `attrition` of
    `sample` that it takes, with the defaults that they have there. dropout: whether the dropout of the network stays
    on. expected: whether it is given the mean of the births also by a head from whose law it could draw.
    """

    dropout: ClassVar[bool] = False
    expected: ClassVar[bool] = False

    @abstractmethod
    def numbers(self, schedule: Schedule, k_t: int, k_s: int) -> tuple[float, ...]:
        """What the rule asks of the schedule for the step, as many numbers for every step."""

    @abstractmethod
    def step(self, x: Tensor, numbers: tuple[Any, ...], out: tuple[Tensor, Tensor] | None, **arguments: Any) -> Any:
        """An op's result with x_s, the counts at k_s, and model_input, the network's next input; x: counts at k_t.

        numbers: as `numbers` returned them, or in a CUDA graph a float64 tensor (B,) on the device in place of each.
        out: None, or the x_s and model_input to write, of which x_s may be x itself. arguments: rng, max_count, center
        and scale of the next input, and either logits and gain or births, as in `fb.bridge_step`.
        """


@dataclass(frozen=True)
class Bridge(Rule):
    """x <- x + Binomial(N(y), beta) - Binomial(x, sigma): see `fb.bridge_step`. By a law x <- x + births drawn of
    it, thinned by beta: see `fb.posterior_step`."""

    rounding: Rounding = "stochastic"
    attrition: float = 0.0

    def numbers(self, schedule: Schedule, k_t: int, k_s: int) -> tuple[float, ...]:
        if self.attrition == 0:
            return schedule.bridge(k_t, k_s)
        birth, death = schedule.bridge_with_attrition(k_t, k_s, self.attrition)
        return (*birth, *death)

    def step(self, x: Tensor, numbers: tuple[Any, ...], out: tuple[Tensor, Tensor] | None, **arguments: Any) -> Stepped:
        birth, death = Prob(*numbers[:2]), 0.0 if self.attrition == 0 else Prob(*numbers[2:])
        written = None if out is None else Stepped(*out)
        if "family" in arguments:
            return posterior_step(x, step=birth, out=written, **arguments)
        return bridge_step(x, step=birth, attrition=death, rounding=self.rounding, out=written, **arguments)


@dataclass(frozen=True)
class Expected(Bridge):
    """x <- x + E[x_0 - x_t | x_t], rounded to the nearest number, halves up: a step to time 0 for any head."""

    rounding: Rounding = "nearest"
    expected: ClassVar[bool] = True

    def numbers(self, schedule: Schedule, k_t: int, k_s: int) -> tuple[float, ...]:
        return 1.0, 0.0  # all births that are left come


@dataclass(frozen=True)
class TauLeap(Rule):
    """x <- x + Poisson(y f): see `fb.tau_leap_step`; f is the mean birth probability of the bridge."""

    form: ClassVar[Leap] = "bridge-mean"

    def numbers(self, schedule: Schedule, k_t: int, k_s: int) -> tuple[float, ...]:
        return (schedule.leap(k_t, k_s, form=self.form),)

    def step(self, x: Tensor, numbers: tuple[Any, ...], out: tuple[Tensor, Tensor] | None, **arguments: Any) -> Leaped:
        return tau_leap_step(x, step=numbers[0], out=None if out is None else Leaped(*out), **arguments)


class TauLeapRate(TauLeap):
    """The same with the textbook's f, the elapsed time times p_t / (1 - p_t)."""

    form = "rate"


@dataclass(frozen=True)
class Lanl2023(Rule):
    """x <- x + Binomial(N, q) with the N of the authors' program (lanl/Blackout-Diffusion, 2023), and dropout left on:
    `--compat lanl-2023`, to compare with.

    Their notebooks *-generate-by-binomialBridge do, for the indices i = T - 1 .. 0 of the times t_1 < ... < t_T:
        t, s = t_{i+1}, t_i (t_0 = 0)
        dn = softplus(network(x - max_count / 2 exp(-t), i)), the network in training mode, so with its dropout
        N = clip(round(dn), 0, max_count - x), halves to the even number
        x = x + Binomial(N, (exp(-s) - exp(-t)) / (1 - exp(-t)))
    The time i of the step from k_t is k_t - 1, which the model passes on. Source: arXiv 2305.11089 and that program.
    """

    dropout: ClassVar[bool] = True

    def numbers(self, schedule: Schedule, k_t: int, k_s: int) -> tuple[float, ...]:
        return schedule.bridge(k_t, k_s)

    def step(self, x: Tensor, numbers: tuple[Any, ...], out: tuple[Tensor, Tensor] | None, **arguments: Any) -> Stepped:
        births = arguments.pop("births", None)
        if births is None:
            births, gain = softplus(arguments.pop("logits").float()), arguments.pop("gain")
            births = births * (gain.view(-1, *[1] * (x.ndim - 1)) if isinstance(gain, torch.Tensor) else gain)
        arguments |= {"births": torch.round(births), "rounding": "nearest"}  # which keeps whole numbers
        return bridge_step(x, step=Prob(*numbers), out=None if out is None else Stepped(*out), **arguments)


def load_rule(sampler: str) -> type[Rule]:
    rule: type[Rule] = globals()[SAMPLERS[sampler]]
    return rule


def rule_of(sampler: Any, rounding: Any, attrition: Any, head: Head) -> Rule:
    """The rule of that name for models with that head, with the options that are not at their defaults."""
    check_name("sample", "sampler", sampler, tuple(SAMPLERS))
    check_name("sample", "rounding", rounding, ROUNDINGS)
    if not is_number(attrition):
        raise TypeError(f"sample: attrition: must be a number, got {attrition!r}")
    options: dict[str, Any] = {} if rounding == "stochastic" else {"rounding": rounding}
    if attrition != 0:
        options["attrition"] = attrition

    def takes(name: str) -> bool:
        return options.keys() <= {field.name for field in fields(load_rule(name))}

    if not takes(sampler):
        takers = ", ".join(filter(takes, SAMPLERS))
        named, got = ", ".join(options), ", ".join(str(value) for value in options.values())
        rule = f"must be left at the default but with sampler {takers}"
        raise ValueError(f"sample: {named}: {rule}, got {got} with {sampler}")
    if not 0 <= attrition <= 1:
        raise ValueError(f"sample: attrition: must be in [0, 1], got {attrition}")
    if head.gives_law:
        why = f"for head {head.name!r}, whose law gives whole births"
        if sampler != "bridge":
            raise ValueError(f"sample: sampler: must be bridge {why}, got {sampler}")
        for name, value in options.items():
            raise ValueError(f"sample: {name}: must be left at its default {why}, got {value}")
    return load_rule(sampler)(**options)


def last_rule_of(last_step: str, rule: Rule) -> Rule:
    """The rule of the step to time 0."""
    return rule if last_step == "draw" else Expected()
