"""The head "negative-binomial": two arrays of each pixel."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..ops import binomial_log_prob, negative_binomial_log_prob
from ..philox import Philox
from ..probability import Prob
from .head import Predicted, StepProbs, moments, rows_of
from .law import CELLS, FamilyLaw

MOST = 2.0**52  # the largest size and mean of a law that fb.negative_binomial_log_prob takes
ROUNDS = 100_000  # the most of the continued fraction, which takes about the square root of the larger count


class NegativeBinomial(FamilyLaw):
    """A law of counts without a bound (single cells, photons), cut at the room. The law of a step is closed."""

    unbounded: ClassVar[int | None] = (1 << 31) - 1  # the largest int32

    def start(self, model: Any, x_0: Tensor, numbers: int) -> Tensor:
        max_count = model.max_count
        mean, variance = moments(x_0)
        return torch.stack((torch.log(mean) - 0.5 * math.log(max_count), size_output(mean**2, variance - mean))).float()

    def masked(
        self, arrays: Sequence[Tensor], x_t: Tensor, births: Tensor, mask: Tensor, max_count: int
    ) -> tuple[Sequence[Tensor], Tensor, Tensor]:
        """The law goes on beyond the room, so here it is the one of the least mean, of which the loss is below 7e-6."""
        least = [torch.where(mask, each, other) for each, other in zip(arrays, (-1e4, 0.0), strict=True)]
        return least, torch.where(mask, x_t, 0), torch.where(mask, births, 0)

    def log_law(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        n = torch.arange(most + 1, dtype=torch.float64, device=room.device)
        size, mean = size_and_mean(arrays, room, offset, most)
        births, *whole = torch.broadcast_tensors(torch.minimum(n, room), size, mean, room)
        return torch.where(n <= room, log_mass(births, *whole), -torch.inf)

    def log_expected(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        """What a sampler of very short steps, cut at the room, draws by."""
        mean = size_and_mean(arrays, room, rows_of(offset, room), most)[1]
        return torch.where(room > 0, torch.log(mean), -torch.inf)

    def step_divergence(self, at: Predicted, step: StepProbs, key: Philox) -> Tensor:
        """With nothing drawn: by sums over the births of the step, of which Bernstein's inequality leaves less than
        2 exp(-40) of the law outside."""
        births, (true, assumed) = at.births, step.beside(at.births)
        arrays, offset = self.arrays(at.outputs, births), rows_of(at.number, births)
        size, mean = size_and_mean(arrays, at.room, offset, at.max_count)
        given = births, size, mean * assumed.p, at.room, true.p, true.q
        a, size, mean, room, f, g = (each.expand(births.shape).reshape(-1) for each in given)
        total = torch.empty_like(a)
        none, some = (a == 0).nonzero()[:, 0], (a > 0).nonzero()[:, 0]
        total[none] = -log_mass(a[none], size[none], mean[none], room[none])  # here the births are 0 for certain
        reach = 9 * torch.sqrt(a * f * g) + 27
        low = (a * f - reach).floor().clamp(min=0)
        width = torch.minimum(a, (a * f + reach).ceil()) - low + 1
        some = some[torch.argsort(width[some])]  # so that the rows of a part are about as long
        while len(some):
            longest = width[some[: max(1, int(CELLS // width[some[0]]))]]
            rows = max(1, int((longest * torch.arange(1, len(longest) + 1, device=a.device) <= CELLS).sum()))
            part, some = some[:rows], some[rows:]
            b = low[part, None] + torch.arange(int(longest[rows - 1]), dtype=a.dtype, device=a.device)
            left, *alive = (each[part, None].expand(b.shape) for each in (a, f, g))
            log_true = binomial_log_prob(b, left, Prob(*alive))  # -inf beyond the births
            inside = log_true > -torch.inf
            law = _log_run(b, size[part], mean[part], room[part])
            total[part] = torch.where(inside, torch.exp(log_true) * (log_true - law), 0.0).sum(1)
        return total.view(births.shape)


def size_output(mean_square: Tensor, beyond: Tensor) -> Tensor:
    """The second output, of a law of this squared mean, and of this variance beyond a Poisson law's, or multiples."""
    return torch.log((mean_square / beyond.clamp(min=1e-3)).clamp(0.05, 50)) - 1


def size_and_mean(arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Size and mean of the law of all births left, as fb.posterior_loss has it; all float64, and broadcast."""
    log_m = (0.5 * math.log(most) + arrays[0]).clamp(-12, 36)
    log_r = (arrays[1] + 1).clamp(-7, 16)
    gone = offset.clamp(max=0)
    size = torch.exp(log_r) + (most - room)
    return size.clamp(max=MOST), size * (torch.exp(gone) / (torch.exp(log_r - log_m) - torch.expm1(gone)))


def log_mass(births: Tensor, size: Tensor, mean: Tensor, room: Tensor) -> Tensor:
    """log Pr(min(K, room) = births), K negative binomial; all float64 and of one shape."""
    mean = mean.clamp(max=MOST)
    law = negative_binomial_log_prob(births, size, mean)
    full = (births == room) & (room > 0)
    law = torch.where((births == room) & (room == 0), 0.0, law)
    if full.any():
        law[full] += _log_beyond(room[full], size[full], mean[full], law[full])
    return law


def _log_run(births: Tensor, size: Tensor, mean: Tensor, room: Tensor) -> Tensor:
    """log_mass of rows of numbers that follow one another, by the ratios Pr(b + 1) / Pr(b) = share (size + b) / (b + 1)
    from the first of a row on; anything beyond the room. births: (B, N); the others: (B,)."""
    share = mean.clamp(max=MOST)
    share = (share / (size + share))[:, None]
    ratios = share * (size[:, None] + births[:, :-1]) / (births[:, :-1] + 1)
    logs = torch.cat((log_mass(births[:, 0], size, mean, room)[:, None], torch.log(ratios)), 1).cumsum(1)
    row, column = (births == room[:, None]).nonzero(as_tuple=True)  # whose chance is all that is left
    logs[row, column] = log_mass(room[row], size[row], mean[row], room[row])
    return logs


def _log_beyond(room: Tensor, size: Tensor, mean: Tensor, log_mass: Tensor) -> Tensor:
    """log(Pr(K >= room) / Pr(K = room)), room >= 1. Pr(K >= room) is the incomplete beta function I_x(room, size),
    x = mean / (size + mean), and Pr(K = room) the factor of its continued fraction, which is taken on the side where it
    converges fast."""
    x, y = mean / (size + mean), size / (size + mean)
    direct = x < (room + 1) / (room + size + 2)
    a, b, at = torch.where(direct, room, size), torch.where(direct, size, room), torch.where(direct, x, y)
    fraction = _continued(a, b, at)
    below = torch.exp(log_mass) * (room / size) * fraction  # Pr(K < room) on the other side
    return torch.where(direct, torch.log(fraction), torch.log1p(-below.clamp(max=1 - 1e-16)) - log_mass)


def _continued(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """I_x(a, b) a B(a, b) / (x^a (1 - x)^b), by Lentz's way of the continued fraction (DLMF 8.17.22)."""
    c, d = torch.ones_like(x), 1 / (1 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, ROUNDS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / (1 + term * d), 1 + term / c
            total = total * (change := c * d)
        if bool((change - 1).abs().max() < 1e-14):
            break
    return total
