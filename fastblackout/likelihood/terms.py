"""The two integrands of bits per dimension: over the line of lambda = logit p, and over the steps of a sampler."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import logsigmoid, softplus

from ..models import negative_binomial_law as negative_binomial
from ..models.interface import LAWS, arrays_of, draw_keys, head_of
from ..models.laws import log_law_mean, log_law_of_step, rows_of
from ..ops import binomial, binomial_log_prob, thin
from ..probability import Prob
from ..processes.reverse.divergence import rate_divergence

if TYPE_CHECKING:
    from torch import Tensor

    from ..philox import Philox
    from ..schedule.schedule import Schedule

# Beyond the trained range lambda is drawn as TAIL_LENGTH times a standard exponential away from its end, with a density
# that joins that inside. The integrand falls like exp(-distance) times its logarithm, so that any length above 1 keeps
# the variance finite, with nothing cut off.
TAIL_LENGTH = 2.0
CELLS = 1 << 21  # the most elements of an array in `negative_entropy`: 16 MiB of float64


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
        # One density inside, 1 / slope, which is that of both tails where they begin.
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
        x_t, births, outputs = _predict(model, x_0, alive, k, labels, key, self.noises)
        room, log_q = (model.max_count - x_t).double(), torch.log(alive.q)
        # Outputs of other heads are beside log(1 - p), so that any p will do.
        if (head := head_of(model)) in LAWS:
            log_y = log_law_mean(head, arrays_of(head, outputs, room), room, log_q, model.max_count)
        elif head == "implicit":
            log_y = _log_drawn_mean(outputs, room, log_q)
        else:
            log_y = _log_mean(model, outputs, k)
            log_y = log_y + rows_of(torch.log(alive.q / self.schedule.survival(k).q), log_y)
        return slope * alive.p * rate_divergence(births, log_model_rate=log_y).flatten(1).sum(1)


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
        x_t, births, outputs = _predict(model, x_0, alive, self.k[n], labels, key, self.noises)
        if (head := head_of(model)) == "negative-binomial":
            true, assumed = (Prob(*(rows_of(s[n], births) for s in pair)) for pair in (self.true, self.assumed))
            room, offset = (model.max_count - x_t).double(), rows_of(model.offset(self.k[n]), births)
            arrays = arrays_of(head, outputs, births)
            cost = negative_binomial.step_divergence(arrays, room, offset, births, true, assumed, model.max_count)
            return len(self.k) * cost.flatten(1).sum(1)
        if head in LAWS:
            born = binomial(births, Prob(*(rows_of(side[n], births).expand_as(births) for side in self.true)), rng=key)
            law = Prob(*(rows_of(side[n], births) for side in self.assumed))
            log_true = binomial_log_prob(born, births, Prob(*(rows_of(side[n], births) for side in self.true)))
            room, offset = (model.max_count - x_t).double(), model.offset(self.k[n])
            cost = log_true - log_law_of_step(head, outputs, room, offset, born, law, model.max_count)
            return len(self.k) * cost.flatten(1).sum(1)
        if head == "implicit":
            log_mean = _log_drawn_mean(outputs, (model.max_count - x_t).double(), model.offset(self.k[n]))
        else:
            log_mean = _log_mean(model, outputs, self.k[n])
        log_mean = log_mean + rows_of(torch.log(self.assumed.p[n]), log_mean)
        known = negative_entropy(births, self.true, n, model.max_count)
        mean_births = births * rows_of(self.true.p[n], births)
        cost = known - torch.where(births > 0, mean_births * log_mean, 0.0) + torch.exp(log_mean)
        return len(self.k) * cost.flatten(1).sum(1)


def _predict(
    model: Any, x_0: Tensor, alive: Prob, k: Tensor, labels: Tensor | None, key: Philox, noises: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(x_t, births x_0 - x_t, the model's outputs at k), the last two float64, of an x_t drawn at `alive`.

    Of an implicit head the outputs are those for several noises, (noises, B, ...).
    """
    noised = thin(x_0, alive, rng=key, max_count=model.max_count, center=model.center(k), scale=model.scale(k))
    given = noised.model_input, k, labels
    if head_of(model) == "implicit":
        each = [model(*given, model.draw_noise(given[0], one)) for one in draw_keys(key, noises)]
        outputs = torch.stack(each)
    else:
        outputs = model(*given)
    return noised.x_t, noised.births.double(), outputs.double()


def _log_drawn_mean(outputs: Tensor, room: Tensor, offset: Tensor) -> Tensor:
    """log of the mean over the noises of an implicit head's draws, -inf where there is no room."""
    shares = logsigmoid(2 * outputs + rows_of(offset, room))
    return torch.log(room) + torch.logsumexp(shares, 0) - math.log(len(outputs))


def _log_mean(model: Any, logits: Tensor, k: Tensor) -> Tensor:
    """log y of head "mean"."""
    # softplus(x) = exp(x) (1 - exp(x) / 2 + ...): below -36 its logarithm is x to the last bit, and never log(0).
    log_softplus = torch.where(logits < -36, logits, torch.log(softplus(logits.clamp(min=-36))))
    gain = torch.as_tensor(model.gain(k), dtype=torch.float64, device=logits.device)
    return log_softplus + rows_of(torch.log(gain), logits)


def negative_entropy(births: Tensor, step: Prob, n: Tensor, max_count: int) -> Tensor:
    """E[ log Binomial(b; a, f) + log b! ] over b ~ Binomial(a, f): the part of the KL without the model in it.

    It is log a! - E[ log m! ] + a f log f + a (1 - f) log(1 - f), m ~ Binomial(a, 1 - f), computed once for each pair
    of a count a = births and a step n that occurs.
    """
    pairs, inverse = torch.unique(births.long() + rows_of(n, births) * (max_count + 1), return_inverse=True)
    a, which = pairs % (max_count + 1), pairs // (max_count + 1)
    f, g = step.p[which], step.q[which]
    mean, spread = a * f, torch.sqrt(a * f * g)
    # Bernstein's inequality: less than 2 exp(-40) of the law lies further out.
    reach = 9.0 * spread + 27.0
    low = (mean - reach).floor().clamp(min=0).long()
    width = int(torch.minimum(a, (mean + reach).ceil().long()).sub(low).max()) + 1 if len(a) else 1
    total = torch.empty(len(a), dtype=torch.float64, device=a.device)
    log_f, log_g = torch.log(f), torch.log(g)
    offsets = torch.arange(width, device=a.device)
    rows = max(1, CELLS // width)
    for first in range(0, len(a), rows):
        part = slice(first, first + rows)
        b = (low[part, None] + offsets).double()
        top = a[part, None].double()
        m = (top - b).clamp(min=0)
        fallen = torch.lgamma(top + 1.0) - torch.lgamma(m + 1.0)  # log a! / (a - b)!
        log_pmf = fallen - torch.lgamma(b + 1.0)
        log_pmf = log_pmf + torch.where(b == 0, 0.0, b * log_f[part, None])
        log_pmf = log_pmf + torch.where(m == 0, 0.0, m * log_g[part, None])
        total[part] = torch.where(b <= top, torch.exp(log_pmf) * fallen, 0.0).sum(1)
    total += torch.xlogy(a * f, f) + torch.xlogy(a * g, g)
    return total[inverse]
