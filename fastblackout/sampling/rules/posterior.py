"""The bridge of a law head, which "bridge" stands for there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...ops import Stepped, posterior_step
from ...probability import Prob
from .rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from ...schedule.schedule import Schedule


@dataclass(frozen=True)
class Posterior(Rule):
    """x <- x + births drawn of the head's law, thinned: see `fb.posterior_step`.

    The arguments of its step are those of the op: head, family and offset instead of logits and gain.
    """

    def numbers(self, schedule: Schedule, k_t: int, k_s: int) -> tuple[float, ...]:
        return schedule.bridge(k_t, k_s)

    def step(self, x: Tensor, numbers: tuple[Any, ...], out: tuple[Tensor, Tensor] | None, **arguments: Any) -> Stepped:
        return posterior_step(x, step=Prob(*numbers), out=None if out is None else Stepped(*out), **arguments)
