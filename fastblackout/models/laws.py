"""What a head that gives a law says of the births of a pixel: the law, their mean, and the law of a step's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import logsigmoid

from ..ops import beta_binomial_log_prob, binomial_log_prob
from ..probability import Prob
from . import negative_binomial_law as negative_binomial
from .interface import arrays_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

CELLS = 1 << 20  # the most terms of the sums at once, 8 MiB of float64


def rows_of(value: Tensor, like: Tensor) -> Tensor:
    """Numbers (B,) beside arrays (B, ...)."""
    return value.view(-1, *[1] * (like.ndim - 1)) if value.ndim else value


def log_law_mean(head: str, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
    """log E[births], -inf where there is no room. arrays: float64, those of the head; offset: (B,) or ()."""
    if head == "beta-binomial":
        return torch.log(room) + logsigmoid(arrays[0] + rows_of(offset, room))
    if head == "negative-binomial":
        return negative_binomial.log_mean(arrays, room, rows_of(offset, room), most)
    n = torch.arange(most + 1, dtype=torch.float64, device=room.device)
    return _by_parts(head, arrays, room, offset, most, lambda part, law: torch.logsumexp(law + torch.log(n), 1))


def _by_parts(
    head: str, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int, of_law: Callable[..., Tensor]
) -> Tensor:
    """of_law(part, log Pr(N = 0..most) of the elements of a part, a row for each) for all elements, in room's shape."""
    shift = rows_of(offset, room).expand(room.shape).reshape(-1)
    flat = room.reshape(-1)
    rows = [
        each.reshape(len(flat), *each.shape[room.ndim :] or (1,)) for each in arrays
    ]  # of one number, or of all states
    total, some = torch.empty_like(flat), max(1, CELLS // (most + 1))
    for first in range(0, len(flat), some):
        part = slice(first, first + some)
        law = _LOG_LAWS[head]([each[part] for each in rows], flat[part, None], shift[part, None], most)
        total[part] = of_law(part, law)
    return total.view(room.shape)


def log_law(head: str, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
    """log Pr(the births that are left = 0..most), float64 (B, most + 1), -inf beyond the room.

    arrays: those of the head, (B, 1) each or (B, states); room: max_count - x_t, (B, 1); offset: log(1 - p), (B, 1).
    """
    if head != "negative-binomial":
        return _LOG_LAWS[head](list(arrays), room, offset, most)
    n = torch.arange(most + 1, dtype=torch.float64, device=room.device)
    size, mean = negative_binomial.size_and_mean(arrays, room, offset, most)
    births, *whole = torch.broadcast_tensors(torch.minimum(n, room), size, mean, room)
    return torch.where(n <= room, negative_binomial.log_law(births, *whole), -torch.inf)


def _log_beta_binomial(arrays: list[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
    n = torch.arange(most + 1, dtype=torch.float64, device=room.device)
    return beta_binomial_log_prob(n, room, *beta_of(arrays, offset))  # -inf beyond the room


def _log_bayes_logistic(arrays: list[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
    n, x = torch.arange(most + 1, dtype=torch.float64, device=room.device), most - room
    v, components = x + n, (len(arrays) + 1) // 3
    logits = [*arrays[2 * components :], torch.zeros_like(arrays[0])]
    parts = []
    for j in range(components):
        mean = most / 2 * ((1 + arrays[j]) + 0.6 * (j - (components - 1) / 2))
        narrow = 32 / most * torch.exp(-arrays[components + j].clamp(-5, 5))  # 1 over the scale
        low, high = ((v - 0.5) - mean) * narrow, ((v + 0.5) - mean) * narrow
        inner = logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(-narrow))
        mass = torch.where(v == 0, logsigmoid(high), torch.where(v == most, logsigmoid(-low), inner))
        parts.append(logits[j] + mass)
    likelihood = (torch.lgamma(v + 1) - torch.lgamma(n + 1)) + n * offset
    logs = torch.where(n <= room, torch.logsumexp(torch.stack(parts), 0) + likelihood, -torch.inf)
    return torch.log_softmax(logs, 1)


def _log_categorical(arrays: list[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
    """Of the logits of all states, of which n = 0..room are the last ones."""
    (logits,) = arrays
    n = torch.arange(most + 1, dtype=torch.float64, device=room.device)
    state = (most - room + n).clamp(max=most).long()
    return torch.log_softmax(torch.where(n <= room, logits.gather(1, state), -torch.inf), 1)


def _log_bayes_categorical(arrays: list[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
    (logits,) = arrays
    v = torch.arange(most + 1, dtype=torch.float64, device=room.device)
    n = (v - (most - room)).clamp(min=0)
    known = (torch.lgamma(v + 1) - torch.lgamma(n + 1)) + n * offset
    return _log_categorical([logits + known], room, offset, most)


_LOG_LAWS = {
    "beta-binomial": _log_beta_binomial,
    "bayes-logistic": _log_bayes_logistic,
    "categorical": _log_categorical,
    "bayes-categorical": _log_bayes_categorical,
}


def beta_of(arrays: Sequence[Tensor], offset: Tensor) -> tuple[Tensor, Tensor]:
    """(a, b) of the beta law of the share of the room that is born, as fb.posterior_loss has them."""
    first, second = arrays
    z, size = first + offset, torch.exp((second + 1).clamp(-5, 7))
    least = 1e-300  # so that a law with all its weight at an end stays one
    return (torch.sigmoid(z) * size).clamp(min=least), (torch.sigmoid(-z) * size).clamp(min=least)


def log_law_of_step(
    head: str, outputs: Tensor, room: Tensor, offset: Tensor, born: Tensor, step: Prob, most: int
) -> Tensor:
    """log Pr(births of a step = born), float64: of the births N of the law each is born in the step with step.p.

        Pr(k) = sum over n = k..room of Pr(N = n) Binomial(n, step.p) at k

    born, room: counts of one shape; step: p and q = 1 - p of a shape that broadcasts to it; most: max_count.
    """
    p, q = (side.expand(room.shape).reshape(-1, 1) for side in step)
    n, k = torch.arange(most + 1, dtype=torch.float64, device=room.device), born.reshape(-1, 1)

    def of_law(part: slice, law: Tensor) -> Tensor:
        return torch.logsumexp(law + binomial_log_prob(k[part], n, Prob(p[part], q[part])), 1)  # -inf for n below k

    return _by_parts(head, arrays_of(head, outputs, room), room, offset, most, of_law)
