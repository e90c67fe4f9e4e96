"""The log-probabilities of log_probs.py of tensors that need a gradient, are traced or lie on a device."""

from __future__ import annotations

import torch
from torch import Tensor

from ..reference.log_prob import Functions, skellam_log_pmf
from ..reference.portfloat import STIRLING


def binomial(x: Tensor, n: Tensor, p: Tensor, q: Tensor | None = None) -> Tensor:
    q = 1.0 - p if q is None else q
    inside, k = _whole(x, n)
    body = _log_chosen(n, k) + times_log(k, p) + times_log(n - k, q)
    return torch.where(inside, body, -torch.inf)


def beta_binomial(x: Tensor, n: Tensor, a: Tensor, b: Tensor) -> Tensor:
    inside, k = _whole(x, n)
    body = _log_chosen(n, k) + _log_rising(a, k) + _log_rising(b, n - k) - _log_rising(a + b, n)
    return torch.where(inside, body, -torch.inf)


def gamma(x: Tensor, shape: Tensor, scale: Tensor) -> Tensor:
    inside = (x >= 0) & (x / scale < torch.inf)
    y = torch.where(inside, x, scale) / scale
    body = torch.xlogy(shape - 1, y) - y - torch.lgamma(shape) - torch.log(scale)
    return torch.where(torch.isnan(x), torch.nan, torch.where(inside, body, -torch.inf))


def beta(a: Tensor, b: Tensor, x: Tensor, q: Tensor | None = None) -> Tensor:
    q = 1.0 - x if q is None else q
    inside = (x >= 0) & (q >= 0)
    k, rest = torch.where(inside, x, 0.5), torch.where(inside, q, 0.5)
    body = torch.xlogy(a - 1, k) + torch.xlogy(b - 1, rest) + torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    return torch.where(torch.isnan(x), torch.nan, torch.where(inside, body, -torch.inf))


def negative_binomial(x: Tensor, r: Tensor, mean: Tensor) -> Tensor:
    inside = (x >= 0) & (x < torch.inf) & (x == x.floor())
    k = torch.where(inside, x, 0.0)
    body = torch.lgamma(k + r) - torch.lgamma(k + 1) - torch.lgamma(r)
    body = body - r * torch.log1p(mean / r) + times_log(k, mean / (r + mean))
    return torch.where(inside, body, -torch.inf)


def multinomial(x: Tensor, probs: Tensor) -> Tensor:
    inside = (x >= 0) & (x <= 2.0**53) & (x == x.floor())
    k = torch.where(inside, x, 0.0)
    n = k.sum(-1)
    body = torch.lgamma(n + 1) - torch.lgamma(k + 1).sum(-1) + times_log(k, probs).sum(-1) - n * probs.sum(-1).log()
    return torch.where(inside.all(-1), body, -torch.inf)


def hypergeometric(x: Tensor, good: Tensor, bad: Tensor, draws: Tensor) -> Tensor:
    inside, k = _whole(x, torch.minimum(good, draws))
    inside = inside & (draws - k <= bad)
    k = torch.where(inside, k, (draws - bad).clamp(min=0))
    body = _log_chosen(good, k) + _log_chosen(bad, draws - k) - _log_chosen(good + bad, draws)
    return torch.where(inside, body, -torch.inf)


def times_log(k: Tensor, p: Tensor) -> Tensor:
    """k log p. Where k = 0 the value and its gradient are 0, also at p = 0, where torch.xlogy has a gradient of NaN."""
    return k * torch.log(torch.where(k > 0, p, 1.0))


def skellam(x: Tensor, rate_1: Tensor, rate_2: Tensor) -> Tensor:
    how = Functions(torch.where, torch.sqrt, torch.floor, torch.log, torch.log1p, lambda k: torch.lgamma(k + 1))
    return skellam_log_pmf(x, rate_1, rate_2, how)


def bessel(x: Tensor, order: Tensor, argument: Tensor) -> Tensor:
    inside = (x >= 0) & (x <= 2.0**53) & (x == x.floor())
    k, half = torch.where(inside, x, 0.0), 0.5 * argument
    powers, factorials = 2 * k + order, torch.lgamma(k + 1) + torch.lgamma(k + order + 1)
    logs = torch.where(powers > 0, half, 1.0).log()
    body = powers * logs - factorials - argument - skellam(order, half, half)
    return torch.where(inside, torch.where(argument > 0, body, torch.where(k > 0, -torch.inf, 0.0)), -torch.inf)


def _whole(x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Which elements of x are whole numbers in 0..n, and x with 0 elsewhere."""
    inside = (x >= 0) & (x <= n) & (x == x.floor())
    return inside, torch.where(inside, x, 0.0)


def _log_chosen(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def _log_rising(x: Tensor, n: Tensor) -> Tensor:
    """log x (x + 1) .. (x + n - 1) of tensors, as portfloat.rising has it."""

    def factors(y: Tensor) -> Tensor:
        t = y * (y + 7)
        return (t * (t + 6)) * ((t + 10) * (t + 12))

    def stirling(y: Tensor) -> Tensor:
        z, total = y * y, torch.zeros_like(y)
        for coefficient in STIRLING:
            total = total * z + coefficient
        return y * total

    some = n.clamp(min=1)
    d, w = some - 1, x + 9
    series = stirling(1 / (w + d)) - stirling(1 / w)
    later = d * torch.log(w) + ((w + d - 0.5) * torch.log1p(d / w) - d) + series
    return torch.where(n > 0, torch.log(x) + later - torch.log(factors(x + some) / factors(x + 1)), 0.0)
