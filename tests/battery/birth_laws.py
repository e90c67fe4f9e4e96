"""The laws of the births that heads give, summed by float64 over all states, from docs/theory.md alone."""

from __future__ import annotations

import numpy as np
from scipy import special, stats


def binomials(p: float, most: int) -> np.ndarray:
    """Pr(Binomial(n, p) = k), a row for each n in 0..most."""
    k = np.arange(most + 1)
    return np.nan_to_num(stats.binom.pmf(k, k[:, None], p))


def normalised(logs: np.ndarray) -> np.ndarray:
    found = np.exp(logs - logs.max())
    return found / found.sum()


def log_choices(x: int, room: int) -> np.ndarray:
    """log C(x + n, x) for n = 0..room."""
    n = np.arange(room + 1)
    return special.gammaln(x + n + 1) - special.gammaln(n + 1) - special.gammaln(x + 1)


def beta_binomial(head: list[float], x: int, most: int, offset: float) -> np.ndarray:
    concentration = np.exp(np.clip(head[1] + 1, -5, 7))
    a, b = (special.expit(side * (head[0] + offset)) * concentration for side in (1, -1))
    room = most - x
    return stats.betabinom.pmf(np.arange(room + 1), room, a, b)


def bayes_logistic(head: list[float], x: int, most: int, offset: float) -> np.ndarray:
    parts = (len(head) + 1) // 3
    shares = special.log_softmax([*head[2 * parts :], 0.0])
    v = np.arange(x, most + 1)
    prior = np.zeros(len(v))
    for j in range(parts):
        mean = most / 2 * (1 + head[j] + 0.6 * (j + 1 - (parts + 1) / 2))
        width = most / 32 * np.exp(np.clip(head[parts + j], -5, 5))
        low = np.where(v == 0, -np.inf, (v - 0.5 - mean) / width)
        high = np.where(v == most, np.inf, (v + 0.5 - mean) / width)
        inner = np.where(low > 0, special.expit(-low) - special.expit(-high), special.expit(high) - special.expit(low))
        prior += np.exp(shares[j]) * inner
    with np.errstate(divide="ignore"):
        return normalised(np.log(prior) + log_choices(x, most - x) + np.arange(most - x + 1) * offset)


def negative_binomial_numbers(head: list[float], x: int, most: int, offset: float) -> tuple[float, float]:
    """Size and mean of all births left, without a bound."""
    mean = np.exp(np.clip(np.log(most) / 2 + head[0], -12, 36))
    size = np.exp(np.clip(head[1] + 1, -7, 16))
    gone = np.exp(min(offset, 0.0))
    theta = gone * mean / (size + (1 - gone) * mean)
    return size + x, (size + x) * theta


def cut(law: stats.rv_discrete, room: int) -> np.ndarray:
    """Of min(K, room)."""
    return np.append(law.pmf(np.arange(room)), law.sf(room - 1))


FAMILIES = {
    "beta-binomial": beta_binomial,
    "bayes-logistic": bayes_logistic,
}


def births_of_step(family: str, head: list[float], x: int, most: int, offset: float, step: float) -> np.ndarray:
    """Pr(births of a step = 0..most - x)."""
    if family == "negative-binomial":
        size, mean = negative_binomial_numbers(head, x, most, offset)
        mean = max(step * mean, 1e-300)
        return cut(stats.nbinom(size, size / (size + mean)), most - x)
    whole = FAMILIES[family](head, x, most, offset)
    return whole @ binomials(step, most - x)
