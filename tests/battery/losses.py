"""Losses of heads and their slopes beside sums over all states, by mpmath, and what bounds take from heads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np
import torch
from mpmath import exp, log, loggamma, mpf

import fastblackout as fb
from battery import birth_laws
from battery.draws import seed_of
from battery.results import Greatest, Row
from fastblackout.heads import head_named

MOSTS = (1, 3, 20, 60, 255)
ROUNDED = 2.0**-24 * 1.0001  # of a float32
OURS = 1e-9  # where nothing is promised: the logarithms that bounds are made of
Numbers = Sequence[Any]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + exp(-x))


def clamp(x: Any, low: float, high: float) -> Any:
    return min(max(x, mpf(low)), mpf(high))


def log_choices(v: int, x: int) -> Any:
    return loggamma(v + 1) - loggamma(x + 1) - loggamma(v - x + 1)


def beta_binomial(head: Numbers, x: int, n: int, most: int, offset: Any) -> Any:
    room, size = most - x, exp(clamp(head[1] + 1, -5, 7))
    a, b = sigmoid(head[0] + offset) * size, sigmoid(-head[0] - offset) * size
    rising = loggamma(n + a) - loggamma(a) + loggamma(room - n + b) - loggamma(b) - loggamma(room + size)
    return -(log_choices(room, n) + rising + loggamma(size))


def by_weights(log_weights: Numbers, n: int) -> Any:
    return log(mpmath.fsum(exp(each) for each in log_weights)) - log_weights[n]


def bayes_logistic(head: Numbers, x: int, n: int, most: int, offset: Any) -> Any:
    parts = (len(head) + 1) // 3
    logits = [*head[2 * parts :], mpf(0)]
    found = []
    for v in range(x, most + 1):
        prior = mpf(0)
        for j in range(parts):
            mean = mpf(most) / 2 * (1 + head[j] + (j + 1 - mpf(parts + 1) / 2) * 6 / 10)
            width = mpf(most) / 32 * exp(clamp(head[parts + j], -5, 5))
            low = -mpmath.inf if v == 0 else (v - mpf(1) / 2 - mean) / width
            high = mpmath.inf if v == most else (v + mpf(1) / 2 - mean) / width
            if low > 0:  # where sigmoids are next to 1, the others
                low, high = -high, -low
            prior += exp(logits[j]) * (sigmoid(high) - sigmoid(low))
        found.append(log(prior) + log_choices(v, x) + (v - x) * offset)
    return by_weights(found, n)


def negative_binomial(head: Numbers, x: int, n: int, most: int, offset: Any) -> Any:
    mean = exp(clamp(log(mpf(most)) / 2 + head[0], -12, 36))
    size = exp(clamp(head[1] + 1, -7, 16))
    gone = exp(min(offset, mpf(0)))
    theta, a = gone * mean / (size + (1 - gone) * mean), size + x
    chosen = loggamma(a + n) - loggamma(a) - loggamma(n + 1)
    return -(chosen + n * log(theta / (1 + theta)) - a * log(1 + theta))


FAMILIES: dict[str, Callable[..., Any]] = {
    "beta-binomial": beta_binomial,
    "bayes-logistic": bayes_logistic,
    "negative-binomial": negative_binomial,
}


def promised(family: str, truth: float, room: int, mean: float) -> tuple[float, Callable[[float], float]]:
    """The error of a loss in float32, and the error of a slope."""
    loss: float
    slope: Callable[[float], float]
    if family == "beta-binomial":
        loss, slope = 1e-11, lambda exact: 1e-12 * (1 + room)
    elif family == "bayes-logistic":
        loss, slope = 2e-10, lambda exact: max(1e-8, 1e-5 * abs(exact))
    else:
        loss = 1e-11 + 1e-14 * mean
        slope = lambda exact: loss  # noqa: E731
    return loss + ROUNDED * abs(truth) + 1e-45, slope


def head_of(family: str, most: int, random: np.random.Generator) -> np.ndarray:
    """Of float32, of a usual size or beyond every clamp."""
    count = int(random.choice((2, 5, 8))) if family == "bayes-logistic" else 2
    return (random.normal(size=count) * random.choice((0.5, 2.0, 6.0))).astype(np.float32).astype(np.float64)


def measure(family: str, random: np.random.Generator, loss_at: Greatest, slope_at: Greatest, head_at: Greatest) -> None:
    """One element, its loss, the slopes of that, and the law that bounds take."""
    most = int(random.choice(MOSTS[:4] if family == "bayes-logistic" else MOSTS))
    x = int(random.integers(most + 1)) if random.random() < 0.7 else 0
    n = int(random.integers(most - x + 1))
    head, offset = head_of(family, most, random), float(np.float32(-(10.0 ** random.uniform(-3, 1))))
    given = [torch.tensor([[each]]) for each in head]
    leaves = [each.clone().requires_grad_() for each in given]
    how = {"family": family, "offset": offset, "max_count": most}
    counts = (torch.tensor([[each]]) for each in (x, n))
    loss = fb.posterior_loss(tuple(leaves), *counts, 1.0, **how)
    slopes = torch.cat([each.reshape(-1) for each in torch.autograd.grad(loss.sum(), leaves)]).tolist()
    place = f"{family} {head.tolist()} x_t {x} births {n} of {most} offset {offset}"

    def truth_at(values: Numbers) -> Any:
        return FAMILIES[family](values, x, n, most, mpf(offset))

    exact = [mpf(each) for each in head.tolist()]
    truth = truth_at(exact)
    mean = 0.0
    if family == "negative-binomial":
        mean = birth_laws.negative_binomial_numbers(head.tolist(), x, most, offset)[1]
    elif x == most:
        truth = mpf(0)
    bound, slope_bound = promised(family, float(truth), most - x, mean)
    loss_at.add(loss.item(), truth, bound, place)
    for at in random.choice(len(exact), min(len(exact), 4), replace=False).tolist():
        step = mpf(10) ** -18
        beside = [[*exact[:at], exact[at] + side * step, *exact[at + 1 :]] for side in (1, -1)]
        slope = (truth_at(beside[0]) - truth_at(beside[1])) / (2 * step) if truth else mpf(0)
        slope = mpf(0) if abs(slope) < mpf(10) ** -28 else slope
        slope_at.add(slopes[at], slope, slope_bound(float(slope)) + ROUNDED * abs(float(slope)), f"{place}, by {at}")
    # What `fb.bits_per_dim` asks of the head.
    room, shift = torch.tensor([[float(most - x)]], dtype=torch.float64), torch.tensor([[offset]], dtype=torch.float64)
    asked = given, room, shift, most
    log_law = head_named(family).log_law(*asked)[0]
    if family != "negative-binomial" or n < most - x:  # whose last state holds all beyond
        head_at.add(log_law[n].item(), -truth, OURS * (1 + abs(float(truth))), f"log_law of {place}")
    head_at.add(torch.logsumexp(log_law, 0).item(), 0.0, OURS, f"sum of log_law of {place}")
    if family != "negative-binomial" and most > x:
        found = head_named(family).log_expected(given, room, shift[:, 0], most).item()
        mean = float(torch.logsumexp(log_law + torch.log(torch.arange(most + 1, dtype=torch.float64)), 0))
        head_at.add(found, mean, OURS * (1 + abs(mean)), f"log_expected of {place}")


def births_of_mean(random: np.random.Generator, at: Greatest) -> None:
    """fb.birth_loss of one element: 8 units in the last place of its terms."""
    logit, gain = float(np.float32(random.normal() * 10)), float(np.float32(10.0 ** random.uniform(-3, 3)))
    born = int(10.0 ** random.uniform(0, 5)) - 1
    got = fb.birth_loss(np.array([[logit]], np.float32), np.array([[born]]), 1.0, gain=gain).item()
    y = log(1 + exp(mpf(logit)))
    sizes = gain * y + born * (abs(log(mpf(gain))) + abs(log(y)))
    y *= gain
    at.add(got, y - born * log(y), 2.0**-21 * float(sizes), f"logit {logit} gain {gain} births {born}")


def energy(random: np.random.Generator, at: Greatest) -> None:
    """fb.energy_loss of a sample of 8: within 2^-20 of the norms, which float32 leaves."""
    draws, size, most = int(random.integers(2, 9)), 8, 255
    x = random.integers(0, most + 1, size)
    born, offset = random.integers(0, most - x + 1), float(np.float32(-(10.0 ** random.uniform(-3, 0.5))))
    logits = (random.normal(size=(draws, size)) * 2).astype(np.float32)
    how = {"offset": offset, "max_count": most}
    got = fb.energy_loss(logits[:, None], x[None], born[None], 1.0, **how).item()
    y = [
        [(most - int(r)) * sigmoid(2 * mpf(float(o)) + mpf(offset)) for r, o in zip(x, one, strict=True)]
        for one in logits
    ]

    def distance(a: Numbers, b: Numbers) -> Any:
        return mpmath.sqrt(mpmath.fsum((p - q) ** 2 for p, q in zip(a, b, strict=True)))

    first = mpmath.fsum(distance(one, born.tolist()) for one in y) / draws
    second = mpmath.fsum(distance(a, b) for a in y for b in y) / (draws * (draws - 1))
    # A difference of two numbers of size R in float32 is off by a share of R.
    at.add(got, first - second / 2, 2.0**-20 * float(first + second + most), f"{draws} draws, offset {offset}")


def check(seed: int, rounds: int, deadline: float) -> list[Row]:
    """Rows of every family, and of the losses of the heads "mean" and "implicit"."""
    random, done = np.random.default_rng(seed_of(seed, "losses")), 0
    rows: dict[str, list[Greatest]] = {
        family: [Greatest(f"{kind} {family}") for kind in ("loss", "slopes", "law of head")] for family in FAMILIES
    }
    mean, implicit = Greatest("birth_loss"), Greatest("energy_loss")
    while done < rounds and (done == 0 or time.monotonic() < deadline):
        with mpmath.workdps(60):
            for family, found in rows.items():
                started = time.monotonic()
                measure(family, random, *found)
                for each in found:
                    each.seconds += (time.monotonic() - started) / len(found)
            for one, of in ((births_of_mean, mean), (energy, implicit)):
                started = time.monotonic()
                one(random, of)
                of.seconds += time.monotonic() - started
        done += 1
    return [each.row() for each in [*(each for found in rows.values() for each in found), mean, implicit]]
