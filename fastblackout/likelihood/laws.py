"""What a head that gives a law says of the births of a pixel: their mean, and the law of a step's, by finite sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid

from ..models.interface import arrays_of
from ..ops import beta_binomial_log_prob, binomial_log_prob
from ..probability import Prob

if TYPE_CHECKING:
    from torch import Tensor

CELLS = 1 << 20  # the most terms of the sums at once, 8 MiB of float64


def rows_of(value: Tensor, like: Tensor) -> Tensor:
    """Numbers (B,) beside arrays (B, ...)."""
    return value.view(-1, *[1] * (like.ndim - 1)) if value.ndim else value


def log_law_mean(head: str, outputs: Tensor, room: Tensor, offset: Tensor) -> Tensor:
    """log E[births], -inf where there is no room. outputs: float64, of all arrays of the head; offset: (B,)."""
    first, _ = arrays_of(head, outputs)
    return torch.log(room) + logsigmoid(first + rows_of(offset, first))


def beta_of(head: str, outputs: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """(a, b) of the beta law of the share of the room that is born, as fb.posterior_loss has them."""
    first, second = arrays_of(head, outputs)
    z, size = first + rows_of(offset, first), torch.exp((second + 1).clamp(-5, 7))
    least = 1e-300  # so that a law with all its weight at an end stays one
    return (torch.sigmoid(z) * size).clamp(min=least), (torch.sigmoid(-z) * size).clamp(min=least)


def log_law_of_step(head: str, outputs: Tensor, room: Tensor, offset: Tensor, born: Tensor, step: Prob) -> Tensor:
    """log Pr(births of a step = born), float64: of the births N of the law each is born in the step with step.p.

        Pr(k) = sum over n = k..room of Pr(N = n) Binomial(n, step.p) at k

    born, room: counts of one shape; step: p and q = 1 - p of a shape that broadcasts to it.
    """
    a, b = beta_of(head, outputs, offset)
    shape = room.shape
    p, q = (side.expand(shape).reshape(-1) for side in step)
    room, born, a, b = (value.reshape(-1) for value in (room, born, a, b))
    most = int(room.max()) if room.numel() else 0
    n = torch.arange(most + 1, dtype=torch.float64, device=room.device)
    total = torch.empty_like(room)
    some = max(1, CELLS // (most + 1))
    for first in range(0, len(room), some):
        part = slice(first, first + some)
        r, k = room[part, None], born[part, None]
        law = beta_binomial_log_prob(n, r, a[part, None], b[part, None])  # -inf beyond the room
        thinned = binomial_log_prob(k, n, Prob(p[part, None], q[part, None]))  # and where n is below k
        total[part] = torch.logsumexp(law + thinned, 1)
    return total.view(shape)
