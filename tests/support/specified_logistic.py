"""docs/draw.md as a program: the law "bayes-logistic" of posterior_step (see specified_words.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from support.specified_counts import element_draw
from support.specified_floats import exp, log, log_factorial
from support.specified_words import Element, zero


@dataclass
class Place:
    """What all components of an element share."""

    x: int
    room: int
    most: int
    offset: float

    def __post_init__(self) -> None:
        self.first, self.last = int(self.x == 0), self.room - 1
        self.between = self.last >= self.first

    def likelihood(self, n: int) -> float:
        return (log_factorial(float(self.x + n)) - log_factorial(float(n))) + n * self.offset


def fall(t: float) -> float:
    return 0.0 if abs(t) > 40 else exp(-abs(t))


def share_below(t: float) -> float:
    return 1 / (1 + fall(t))


class Component:
    def __init__(self, at: Place, place: float, mean: float, width: float, logit: float) -> None:
        self.at = at
        mu = (0.5 * at.most) * ((1 + mean) + place)
        self.d = (32 * exp(-min(max(width, -5.0), 5.0))) / at.most
        r = exp(-self.d)
        self.drop = 1 - r if self.d > 1 else (1 - r) * (self.d / -log(r))
        self.centre = (mu - at.x) + 0.5
        wide = ((at.x - 0.5) - mu) * self.d
        self.t_0 = min(max(wide, -64 - at.room * self.d), 64.0)
        up, down = max(wide - self.t_0, 0.0), max(-(wide - self.t_0), 0.0)
        self.at_most, self.at_zero = logit - up, logit - down
        self.inner = self.at_most - down
        self.middle = math.floor(min(max(self.centre, -1.0), at.room) + 2) - 2
        self.n_0 = self._likeliest() if at.between else 0

    def edge(self, k: int) -> float:
        return self.t_0 + k * self.d

    def ratio(self, sign: int, k: int) -> float:
        step = self.d if k > self.middle + 1 else min(max(self.edge(k), -self.d), self.d)
        return exp(sign * (self.at.offset - (-self.d if k < self.middle else step)))

    def _likeliest(self) -> int:
        x, first, last = self.at.x, self.at.first, self.at.last
        right, left = (
            (x * y) / (1 - y) if y < 1 else 1e300 for y in (exp(self.at.offset - self.d), exp(self.at.offset + self.d))
        )
        n = math.floor(max(min(max(right, min(self.centre, left), first), last), 0))
        if ((x + n) + 1) * self.ratio(1, n + 1) > n + 1 and n < last:
            return n + 1
        return n - 1 if (x + n) * self.ratio(1, n) < n and n > first else n

    def weights(self, base_top: float) -> tuple[float, float, float]:
        """s, s_most, s_zero."""
        at, none = self.at, -math.inf
        low, high = self.edge(self.n_0), self.edge(self.n_0 + 1)
        over = max(low, 0.0) + max(-high, 0.0)
        s = (self.inner - base_top) + (at.likelihood(self.n_0) - over) if at.between else none
        s_most = (self.at_most - base_top) + (at.likelihood(at.room) - max(self.edge(at.room), 0.0))
        s_zero = (self.at_zero - base_top) - max(-self.edge(1), 0.0) if at.x == 0 else none
        return s, s_most, s_zero

    def walk(self, sign: int, goal: float = math.inf) -> tuple[float, int]:
        """The sum and the n where it stops."""
        x, n, h, total = self.at.x, self.n_0, 1.0, 0.0
        inverse = share_below(self.edge(n))
        if not self.at.between:
            return 0.0, n
        if sign < 0:
            if n == self.at.first:
                return 0.0, n
            g = fall(self.edge(n))
            share = 1 / ((1 + g) * (x + n))
            h = (n * (share * (1 + g))) * self.ratio(-1, n)
            if h < 2.0**-84:
                return 0.0, n
            n -= 1
        while True:
            above, below, k = ((x + n) + 1, n + 1, n + 1) if sign > 0 else (n, x + n, n)
            one = 1 + fall(self.edge(k))
            share = 1 / (one * below)
            total = total + (h * inverse) * (share * below)
            h = (h * (above * (share * one))) * self.ratio(sign, k)
            inverse = share * below
            if h < 2.0**-84 or n == (self.at.last if sign > 0 else self.at.first) or total > goal:
                return total, n
            n += sign


def drawn_births_left(u: float, at: Place, head: list[float]) -> int:
    """N."""
    k = (len(head) + 1) // 3
    logits = [*head[2 * k :], 0.0]
    parts = [Component(at, 0.6 * (j - (k - 1) * 0.5), head[j], head[k + j], logits[j]) for j in range(k)]
    base_top = max(max(c.at_most, c.at_zero) if at.x == 0 else c.at_most for c in parts)
    logs = [c.weights(base_top) for c in parts]
    top = max(max(each) for each in logs)
    factors = [exp(s - top) * c.drop for c, (s, _, _) in zip(parts, logs, strict=True)]
    total, most = 0.0, 0.0
    for c, (_, s_most, s_zero) in zip(parts, logs, strict=True):
        total = total + exp(s_zero - top) * share_below(c.edge(1))
        most = most + exp(s_most - top) * share_below(c.edge(at.room))
    totals, walks = [total], []
    for c, factor in zip(parts, factors, strict=True):
        for sign in (1, -1):
            walks.append((c, sign, factor))
            totals.append(totals[-1] + factor * c.walk(sign)[0])
    target = u * (totals[-1] + most)
    part = sum(each <= target for each in totals)
    if part == 0 or part == len(totals):
        return at.room if part else 0
    c, sign, factor = walks[part - 1]
    return c.walk(sign, (target - totals[part - 1]) / factor)[1]


def births(at: Element, head: list[float], offset: float, x_t: int, most: int, pair: tuple[float, float]) -> int:
    u = zero(at.word("POSTERIOR_STATE"), at.word("POSTERIOR_STATE_REFINE"))
    n = drawn_births_left(u, Place(x_t, most - x_t, most, offset), head)
    return element_draw(at, n, *pair, "POSTERIOR_ELEMENT")
