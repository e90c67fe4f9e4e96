"""The two integrands of bits per dimension: over the line of lambda = logit p, and over the steps of a sampler."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..heads import head_of
from ..heads.head import Head, Predicted
from ..heads.poisson_births import StepProbs
from ..ops import thin
from ..probability import Prob
from ..processes.rate_loss import rate_divergence

if TYPE_CHECKING:
    from torch import Tensor

    from ..philox import Philox
    from ..schedule.schedule import Schedule

# Beyond the trained range lambda is drawn as TAIL_LENGTH times a standard exponential away from its end, with a density
# that joins that inside. The integrand falls like exp(-distance) times its logarithm, so that any length above 1 keeps
# the variance finite, with nothing cut off.
TAIL_LENGTH = 2.0


class Line:
    """The whole line of lambda, from u in (0, 1): the trained range between two tails."""

    def __init__(self, schedule: Schedule, device: Any, noises: int = 1) -> None:
        p, q, self.noises = schedule.p, schedule.q, noises
        inner = p[1:] > 0  # p = 0, where the image is black, has no logit
        # A schedule of a single step to p = 0 has no logit at all: then its trained range is the point 0.
        logits = np.log(p[1:][inner] / q[1:][inner]) if inner.any() else np.zeros(1)
        self.high, self.low = float(logits[0]), float(logits[-1])
        # Growing angles from p = 1; the middles between neighbours, from k = 1, say which k is nearest.
        angle = np.arctan2(np.sqrt(q[1:]), np.sqrt(p[1:]))
        self.middles = torch.tensor((angle[1:] + angle[:-1]) / 2, device=device)
        self.schedule = schedule

    def at(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """(lambda, d lambda / d u)."""
        # One density inside, 1 / slope, which is the density of both tails where they begin.
        slope = self.high - self.low + 2 * TAIL_LENGTH
        share = TAIL_LENGTH / slope
        to_edge = torch.minimum(u, 1 - u).clamp(min=2.0**-54) / share  # in the tails this is below 1
        distance = -TAIL_LENGTH * torch.log(to_edge)
        tail = torch.where(u < 0.5, self.low - distance, self.high + distance)
        within = self.low + (u - share) * slope
        return torch.where(to_edge < 1, tail, within), slope / to_edge.clamp(max=1)

    def cost(self, model: Any, x_0: Tensor, u: Tensor, labels: Tensor | None, key: Philox) -> Tensor:
        """The integrand over u (B,), in nats."""
        lam, slope = self.at(u)
        alive = Prob(torch.sigmoid(lam), torch.sigmoid(-lam))
        k = 1 + torch.searchsorted(self.middles, torch.atan2(alive.q.sqrt(), alive.p.sqrt()))
        head, at = _predict(model, x_0, alive, k, labels, key, self.noises)
        log_y = head.log_mean(at, (alive.q, self.schedule.survival(k).q))
        return slope * alive.p * rate_divergence(at.births, log_model_rate=log_y).flatten(1).sum(1)


class Steps:
    """The steps of a sampler, one picked by u in (0, 1)."""

    def __init__(self, schedule: Schedule, times: Any, device: Any, noises: int = 1) -> None:
        self.noises = noises
        pairs = list(pairwise(int(k) for k in times))
        black = Prob(0.0, 1.0)
        self.k = torch.tensor([k_t for k_t, _ in pairs], device=device)
        # `start` and `true` are what the forward process does; its first step counts as one from p = 0, since the
        # sampler starts at black. `assumed` is what the sampler takes the steps to be.
        start = [black] + [schedule.survival(k_t) for k_t, _ in pairs[1:]]
        true = [schedule.survival(pairs[0][1])] + [schedule.bridge(*pair) for pair in pairs[1:]]
        assumed = [schedule.bridge(*pair) for pair in pairs]
        self.start, self.true, self.assumed = (
            Prob(*torch.tensor([tuple(pair) for pair in values], dtype=torch.float64, device=device).T)
            for values in (start, true, assumed)
        )

    def cost(self, model: Any, x_0: Tensor, u: Tensor, labels: Tensor | None, key: Philox) -> Tensor:
        """The number of steps times the cost (B,) of the step picked, in nats."""
        n = (u * len(self.k)).long()
        alive = Prob(self.start.p[n].contiguous(), self.start.q[n].contiguous())
        head, at = _predict(model, x_0, alive, self.k[n], labels, key, self.noises)
        cost = head.step_divergence(at, StepProbs(n, self.true, self.assumed), key)
        return len(self.k) * cost.flatten(1).sum(1)


def _predict(
    model: Any, x_0: Tensor, alive: Prob, k: Tensor, labels: Tensor | None, key: Philox, noises: int
) -> tuple[Head, Predicted]:
    """What the model says at k of an x_t drawn at `alive`."""
    noised = thin(x_0, alive, rng=key, max_count=model.max_count, center=model.center(k), scale=model.scale(k))
    head = head_of(model)
    outputs = head.predict(model, (noised.model_input, k, labels), key, noises).double()
    room, number = (model.max_count - noised.x_t).double(), head.number(model, k)
    return head, Predicted(noised.births.double(), room, outputs, number, model.max_count)
