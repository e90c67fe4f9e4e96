"""A last step without noise: the births that the model expects, not a draw of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bridge import Bridge

if TYPE_CHECKING:
    from ...schedule.schedule import Schedule
    from ...typing import Rounding


@dataclass(frozen=True)
class Expected(Bridge):
    """x <- x + E[x_0 - x_t | x_t], rounded to the nearest number, halves up: a step to time 0 for any head."""

    rounding: Rounding = "nearest"
    expected: ClassVar[bool] = True

    def numbers(self, schedule: Schedule, k_t: int, k_s: int) -> tuple[float, ...]:
        return 1.0, 0.0  # all births that are left come
