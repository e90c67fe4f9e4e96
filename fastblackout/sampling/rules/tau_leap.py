"""Tau-leaping: births are Poisson numbers, with the mean of the bridge, or the rate times the elapsed time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...ops import Leaped, tau_leap_step
from .rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from ...schedule.schedule import Schedule
    from ...typing import Leap


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
