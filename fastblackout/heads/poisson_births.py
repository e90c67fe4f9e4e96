"""The cost of a step whose births a sampler takes to be Poisson numbers."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..probability import Prob

CELLS = 1 << 21  # the most elements of an array in `negative_entropy`: 16 MiB of float64


def rows_of(value: Tensor, like: Tensor) -> Tensor:
    """Numbers (B,) beside arrays (B, ...)."""
    return value.view(-1, *[1] * (like.ndim - 1)) if value.ndim else value


def held(log_y: Tensor, between: tuple[Tensor, Tensor] | None) -> Tensor:
    """The mean births of one time, at another one: y / (1 - p) is the same. between: as of `Head.log_mean`."""
    return log_y if between is None else log_y + rows_of(torch.log(between[0] / between[1]), log_y)


class StepProbs(NamedTuple):
    """With which probability each of the births that are left comes in a step, of all steps (S,): as the forward
    process has it, and as the sampler does; and which step it is of each sample, n (B,)."""

    n: Tensor
    true: Prob
    assumed: Prob

    def beside(self, like: Tensor) -> tuple[Prob, Prob]:
        """(true, assumed) of each sample."""
        true, assumed = (Prob(*(rows_of(side[self.n], like) for side in pair)) for pair in (self.true, self.assumed))
        return true, assumed


def divergence(births: Tensor, log_mean: Tensor, step: StepProbs, max_count: int) -> Tensor:
    """KL(Binomial(births, true) || Poisson(assumed exp(log_mean)))."""
    log_mean = log_mean + rows_of(torch.log(step.assumed.p[step.n]), log_mean)
    known = negative_entropy(births, step.true, step.n, max_count)
    mean_births = births * rows_of(step.true.p[step.n], births)
    return known - torch.where(births > 0, mean_births * log_mean, 0.0) + torch.exp(log_mean)


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
