"""The binomial bridge, with attrition or without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...ops import Stepped, bridge_step, posterior_step
from ...probability import Prob
from .rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from ...schedule.schedule import Schedule
    from ...typing import Rounding


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
