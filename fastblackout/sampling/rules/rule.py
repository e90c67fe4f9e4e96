"""What a sampler must say: the numbers that it needs of the schedule, and its step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from ...schedule.schedule import Schedule


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
