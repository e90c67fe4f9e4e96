"""What a model takes of its data, for each feature on its own: centre and scale of its input, start of its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..heads.moments import moments
from ..ops import thin
from ..philox import Philox
from ..probability import Prob

if TYPE_CHECKING:
    from ..schedule.schedule import Schedule

PLACES = 51  # times at which centre and scale are known; they are linear in k between them
LEAST = 0.1  # the least standard deviation: near p = 0 nearly all counts are 0
MOST = 1 << 22  # counts of the data that are thinned for the moments of log(1 + x_t): rows evenly spread over all,
LEAST_ROWS = 1024  # but so many at least
LOG1P = "log1p"
_KEY = Philox(seed=297)


class Fitted(nn.Module):
    """::

        input = (f(x_t) - center_k) / deviation_k,    f(x) = log(1 + x) or x
        outputs = network outputs + start

    All are buffers, so that they are saved, moved and copied with the weights. center, deviation: (places, C, ...), by
    time; start: (n C, ...), as the outputs are.
    """

    center: Tensor
    deviation: Tensor
    start: Tensor

    def __init__(self, steps: int, log1p: bool, center: Tensor, deviation: Tensor, start: Tensor) -> None:
        super().__init__()
        self.steps, self.log1p = steps, log1p
        for name, value in (("center", center), ("deviation", deviation), ("start", start)):
            self.register_buffer(name, value.float())

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        """The input of counts x (B, C, ...), as floats, at times k (B,)."""
        if x.shape[1:] != self.center.shape[1:]:
            rule = f"must have the shape (B, {', '.join(map(str, self.center.shape[1:]))}) of the data of fit_input"
            raise ValueError(f"BlackoutModel: model_input: {rule}, got {tuple(x.shape)}")
        last, x = len(self.center) - 1, x.float()
        place = k.float() * (last / self.steps)
        low = place.floor().clamp(max=last - 1).long()
        share = (place - low).view(-1, *[1] * (x.ndim - 1))
        tables = (table.float() for table in (self.center, self.deviation))
        center, deviation = (torch.lerp(table[low], table[low + 1], share) for table in tables)
        return ((torch.log1p(x) if self.log1p else x) - center) / deviation


def fit(schedule: Schedule, x_0: Tensor, log1p: bool, start: Tensor) -> Fitted:
    """The numbers of counts (N, C, ...)."""
    places = [round(i * schedule.steps / (PLACES - 1)) for i in range(PLACES)]
    mean, variance = moments(x_0)
    often = max(1, min(64, MOST // x_0.numel()))  # few data are thinned several times
    rows = max(LEAST_ROWS, MOST * len(x_0) // x_0.numel())
    thinned = x_0[:: -(-len(x_0) // rows)].repeat(often, *[1] * (x_0.ndim - 1))
    most = max(1, int(thinned.max()))
    centers, deviations = [], []
    for n, k in enumerate(places):
        p, q = float(schedule.p[k]), float(schedule.q[k])
        if log1p:
            x_t = thin(thinned, Prob(p, q), rng=_KEY.at(call=n), max_count=most, outputs=("x_t",)).x_t
            spread, center = torch.var_mean(torch.log1p(x_t.double()), 0, correction=0)
        else:
            center, spread = p * mean, p * p * variance + p * q * mean
        centers.append(center)
        deviations.append(spread.clamp(min=LEAST**2).sqrt())
    return Fitted(schedule.steps, log1p, torch.stack(centers), torch.stack(deviations), start)


def empty(steps: int, log1p: bool, table: tuple[int, ...], start: tuple[int, ...]) -> Fitted:
    """One to be filled by `load_state_dict`, whose tables and start have these shapes."""
    return Fitted(steps, log1p, torch.zeros(table), torch.ones(table), torch.zeros(start))
