"""A last step without noise: the births that the model expects, not a draw of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from ...heads import head_named
from ...heads.law import Law
from ...ops import Stepped, bridge_step
from ...probability import Prob
from .rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from ...schedule.schedule import Schedule

_ALL = Prob(1.0, 0.0)  # of the births that are left, all come


@dataclass(frozen=True)
class Expected(Rule):
    """x <- x + E[x_0 - x_t | x_t], rounded to the nearest number, halves up: a step to time 0 for any head.

    Of a law the mean is that of `fb.posterior_step`; of an implicit head the draw of its network is taken as it is.
    """

    def numbers(self, schedule: Schedule, k_t: int, k_s: int) -> tuple[float, ...]:
        return ()

    def step(self, x: Tensor, numbers: tuple[Any, ...], out: tuple[Tensor, Tensor] | None, **arguments: Any) -> Stepped:
        if "family" in arguments:
            family, head, offset = (arguments.pop(name) for name in ("family", "head", "offset"))
            law, most = cast(Law, head_named(family)), arguments["max_count"]
            offset = torch.as_tensor(offset, dtype=torch.float64, device=x.device)
            arrays = [array.double() for array in head]
            arguments["births"] = law.log_expected(arrays, most - x.double(), offset, most).exp()
        return bridge_step(x, step=_ALL, rounding="nearest", out=None if out is None else Stepped(*out), **arguments)
