"""The reverse step of the authors' program (lanl/Blackout-Diffusion, 2023), to compare with: `--compat lanl-2023`.

Their notebooks *-generate-by-binomialBridge do, for the indices i = T - 1 .. 0 of the times t_1 < ... < t_T:
    t, s = t_{i+1}, t_i (t_0 = 0)
    dn = softplus(network(x - max_count / 2 exp(-t), i)), the network in training mode, so with its dropout
    N = clip(round(dn), 0, max_count - x), halves to the even number
    x = x + Binomial(N, (exp(-s) - exp(-t)) / (1 - exp(-t)))
The time i of the step from k_t is k_t - 1, which the model passes on. Source: arXiv 2305.11089 and that program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn.functional import softplus

from ...ops import Stepped, bridge_step
from ...probability import Prob
from .rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from ...schedule.schedule import Schedule


@dataclass(frozen=True)
class Lanl2023(Rule):
    """x <- x + Binomial(N, q) with the authors' N, and dropout left on."""

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
